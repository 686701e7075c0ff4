//! The named invariants of `docs/INVARIANTS.md` that only apply can break, one plain scenario each.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::apply::{Applied, ApplyError, Entry, apply_entry};
use fiscus_ledger::commands::{
    ActivateAuthority, AttachSignatures, CheckpointCut, CheckpointDecided, CloseBlock, CloseDay,
    Command, DirectoryCommand, DirectoryFact, GrantBlock, GroupCommand, PrepareAuthority,
    RegisterOutlet, Seal, Submitted, SystemCommand, Tick, authority_proof_hash,
};
use fiscus_ledger::facts::{Environment, Fact, OutletFact, OutletStatus, SigningMode};
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::outcome::{Event, Outcome};
use fiscus_ledger::record::Record;
use fiscus_ledger::reports::Fold;
use fiscus_ledger::seal::authority_id;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::CloseReason;
use fiscus_ledger::state::group::Group;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::time::UnixMs;

const CLUSTER: &str = "test.example";
const OUTLET: &str = "outlet-gombe";
const SALE: &str = include_str!("../../docs/samples/sale.json");
const CREDIT_NOTE: &str = include_str!("../../docs/samples/credit_note.json");
/// 2026-11-20T08:00:00Z.
const OPENING: u64 = 1_795_161_600_000;

/// A group with its store.
#[derive(Clone)]
struct World {
    group: Group,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    records: Vec<Vec<u8>>,
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn outlet_fact() -> OutletFact {
    OutletFact {
        outlet_id: Id::from(OUTLET),
        merchant_nif: Id::from("A1234567B"),
        prefix: Id::from("KIN"),
        code: Id::from("GOMBE"),
        group: 1,
        status: OutletStatus::Active,
        environment: Environment::Live,
        signing_mode: SigningMode::Cluster,
    }
}

fn fact(fact: &Fact) -> GroupCommand {
    let (kind, id, bytes) = (fact.kind(), fact.id(), fact.encode());
    GroupCommand::DirectoryFact(DirectoryFact { kind, id, version: 1, bytes })
}

fn authority(group: u64) -> [SystemCommand; 2] {
    let public_key = key().verifying_key().to_bytes();
    let authority_id = Id::from(authority_id("test", &public_key));
    let hash = authority_proof_hash(CLUSTER, group, 1, &authority_id);
    let prepare = PrepareAuthority {
        name: Id::from("test"),
        public_key,
        environment: Environment::Live,
        proofs: vec![(1, key().sign(&hash).to_bytes())],
    };
    let activate = ActivateAuthority { authority_id };
    [SystemCommand::PrepareAuthority(prepare), SystemCommand::ActivateAuthority(activate)]
}

impl World {
    fn empty(number: u64) -> Self {
        let group = Group::new(CLUSTER, number);
        Self { group, rows: BTreeMap::new(), records: Vec::new() }
    }

    /// A data group with its key, the first manifest and one outlet.
    fn open() -> Self {
        let mut world = Self::empty(1);
        let mut commands: Vec<_> = authority(1).map(GroupCommand::System).into();
        commands.push(fact(&Fact::Manifest(Manifest::builtin())));
        commands.push(fact(&Fact::Outlet(outlet_fact())));
        for outcome in world.commit(0, commands).outcomes {
            assert!(matches!(outcome, Outcome::Recorded(_)), "{outcome:?}");
        }
        world
    }

    fn entry<C>(&self, seconds: u64, commands: Vec<C>) -> Entry<C> {
        Entry {
            log_index: self.group.log_index + 1,
            apply_version: self.group.apply_version,
            stamp: UnixMs::new(OPENING + seconds * 1_000),
            seed: [9; 32],
            commands,
        }
    }

    fn apply<C: Command>(&self, entry: &Entry<C>) -> Result<Applied, ApplyError> {
        apply_entry(entry, self.group.clone(), |key| self.rows.get(key).cloned())
    }

    fn commit<C: Command>(&mut self, seconds: u64, commands: Vec<C>) -> Applied {
        let applied = self.apply(&self.entry(seconds, commands)).unwrap();
        self.group = applied.state.group.clone();
        for (key, row) in applied.effects.rows.iter() {
            match row {
                Some(row) => self.rows.insert(key.to_vec(), row.to_vec()),
                None => self.rows.remove(key),
            };
        }
        let places = applied.effects.leaves.iter().filter_map(|leaf| leaf.record);
        let records = &applied.effects.records;
        self.records.extend(places.map(|(start, end)| records[start..end].to_vec()));
        applied
    }

    fn one(&mut self, seconds: u64, command: GroupCommand) -> Outcome {
        self.commit(seconds, vec![command]).outcomes.remove(0)
    }

    fn outlet(&self) -> Outlet {
        Outlet::from_stored(&self.rows[&Outlet::stored_key(&Id::from(OUTLET))]).unwrap()
    }

    /// Every chain of the journal, folded from its records.
    fn folds(&self) -> BTreeMap<String, Fold> {
        let manifest = Manifest::builtin();
        let mut folds: BTreeMap<String, Fold> = BTreeMap::new();
        for bytes in &self.records {
            let record = Record::decode(bytes).unwrap();
            let fold = folds.entry(record.outlet_id.to_owned()).or_default();
            fold.add(&record, &[&manifest]).unwrap();
        }
        folds
    }
}

fn submitted(key: u8) -> Submitted {
    Submitted { outlet_id: Id::from(OUTLET), key: [key; 16], fingerprint: [key; 32] }
}

fn seal(key: u8, text: &str) -> GroupCommand {
    let parsed = parse_lenient(text.as_bytes(), &Manifest::builtin(), UnixMs::new(0)).unwrap();
    GroupCommand::Seal(Seal {
        submitted: submitted(key),
        terminal_id: Id::from("till-1"),
        device_id: None,
        payload: parsed.invoice.canonical_bytes().to_vec(),
    })
}

fn close_day(key: u8) -> GroupCommand {
    let operator = Id::from("manager");
    GroupCommand::CloseDay(CloseDay { submitted: submitted(key), operator })
}

fn grant(key: u8, numbers: u64) -> GroupCommand {
    GroupCommand::GrantBlock(GrantBlock {
        submitted: submitted(key),
        credential_id: Id::from("credential"),
        terminal_id: Id::from("till-2"),
        terminal_key: key_of_a_terminal(),
        numbers,
        validity_ms: 3_600_000,
    })
}

fn key_of_a_terminal() -> [u8; 32] {
    SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes()
}

fn code(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Refused(refusal) => refusal.code(),
        Outcome::Recorded(_) => "recorded",
        Outcome::AlreadyRecorded { .. } => "already recorded",
        Outcome::Waiting => "waiting",
        Outcome::Done => "done",
        Outcome::Unchanged => "unchanged",
    }
}

fn codes(outcomes: &[Outcome]) -> Vec<&str> {
    outcomes.iter().map(code).collect()
}

#[test]
fn every_chain_folds_from_its_records_alone() {
    let mut world = World::open();
    world.commit(1, vec![seal(1, SALE), seal(2, CREDIT_NOTE), seal(3, SALE)]);
    world.commit(2, vec![close_day(4), seal(5, SALE)]);
    let fold = &world.folds()[OUTLET];
    let outlet = world.outlet();
    assert_eq!((fold.position, fold.head), (outlet.chain.last_position, outlet.chain.head));
    assert_eq!(fold.perpetual, outlet.perpetual);
    assert_eq!(fold.since_z, outlet.period.tally);
    assert_eq!(fold.since_z.invoices(), 1);
    let closure = &fold.closures[0];
    assert_eq!((closure.tally.invoices(), closure.sealed.ranges()), (3, &[(1, 3)][..]));
}

#[test]
fn time_never_goes_back() {
    let mut world = World::open();
    let times: Vec<u64> = [(1, 100), (2, 50), (3, 101)]
        .into_iter()
        .map(|(key, seconds)| match world.one(seconds, seal(key, SALE)) {
            Outcome::Recorded(recorded) => (recorded.timestamp.get() - OPENING) / 1_000,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(times, [100, 100, 101]);
}

#[test]
fn every_number_is_accounted_for() {
    let mut world = World::open();
    world.commit(1, vec![seal(1, SALE), grant(2, 3), seal(3, SALE)]);
    let open = world.outlet().series;
    assert_eq!((open.last, open.sealed, open.reserved.ranges()), (5, 2, &[(2, 4)][..]));
    assert!(open.is_accounted_for());
    let close = CloseBlock {
        outlet_id: Id::from(OUTLET),
        credential_id: Id::from("credential"),
        reason: CloseReason::Returned,
    };
    world.one(2, GroupCommand::CloseBlock(close));
    let closed = world.outlet().series;
    assert_eq!((closed.reserved.count(), closed.missing.ranges()), (0, &[(2, 4)][..]));
    assert!(closed.is_accounted_for());
}

#[test]
fn a_refusal_changes_nothing() {
    let mut world = World::open();
    world.commit(1, vec![seal(1, SALE), seal(2, CREDIT_NOTE)]);
    let elsewhere = seal(9, &SALE.replace(OUTLET, "outlet-limete"));
    let table = [
        ("CREDIT_EXCEEDS_ORIGINAL", seal(3, CREDIT_NOTE)),
        ("ORIGINAL_NOT_FOUND", seal(3, &CREDIT_NOTE.replace("KIN-GOMBE-1", "KIN-GOMBE-7"))),
        ("IDENTITY_MISMATCH", elsewhere),
        ("BLOCK_LIMIT", grant(3, 501)),
        (
            "SCHEMA_INVALID",
            GroupCommand::Seal(Seal {
                submitted: submitted(3),
                terminal_id: Id::from("till-1"),
                device_id: None,
                payload: SALE.as_bytes().to_vec(),
            }),
        ),
    ];
    for (expected, command) in table {
        let before = world.outlet();
        let applied = world.commit(2, vec![command]);
        assert_eq!(codes(&applied.outcomes), [expected]);
        assert!(applied.effects.rows.is_empty(), "{expected}");
        assert!(applied.effects.leaves.is_empty(), "{expected}");
        assert_eq!(world.outlet(), before, "{expected}");
    }
}

#[test]
fn one_key_makes_one_record() {
    let mut world = World::open();
    let again = vec![seal(1, SALE), seal(1, SALE)];
    assert_eq!(codes(&world.commit(1, again).outcomes), ["recorded", "already recorded"]);
    let mut other = seal(1, CREDIT_NOTE);
    if let GroupCommand::Seal(seal) = &mut other {
        seal.submitted.fingerprint = [2; 32];
    }
    assert_eq!(code(&world.one(2, other)), "IDEMPOTENCY_CONFLICT");
    assert_eq!(code(&world.one(3, close_day(1))), "recorded", "another operation, another key");
    assert_eq!(world.outlet().series.last, 1);
}

#[test]
fn a_number_space_is_never_given_twice() {
    let mut world = World::empty(0);
    world.commit(0, authority(0).map(DirectoryCommand::System).into());
    let register = |outlet_id: &str, code: &str| {
        let fact = OutletFact { outlet_id: outlet_id.into(), code: code.into(), ..outlet_fact() };
        DirectoryCommand::RegisterOutlet(RegisterOutlet { fact })
    };
    let commands = vec![register("a", "GOMBE"), register("b", "GOMBE"), register("b", "LIMETE")];
    let outcomes = world.commit(1, commands).outcomes;
    assert_eq!(codes(&outcomes), ["recorded", "NUMBER_SPACE_TAKEN", "recorded"]);
    let later = world.commit(2, vec![register("c", "LIMETE")]).outcomes;
    assert_eq!(codes(&later), ["NUMBER_SPACE_TAKEN"]);
}

#[test]
fn credits_never_exceed_the_original() {
    let mut world = World::open();
    let half = CREDIT_NOTE.replace("\"quantity\": 2", "\"quantity\": 1");
    let commands = vec![seal(1, SALE), seal(2, &half), seal(3, CREDIT_NOTE), seal(4, &half)];
    let outcomes = world.commit(1, commands).outcomes;
    assert_eq!(codes(&outcomes), ["recorded", "recorded", "CREDIT_EXCEEDS_ORIGINAL", "recorded"]);
    assert_eq!(code(&world.one(2, seal(5, &half))), "CREDIT_EXCEEDS_ORIGINAL");
}

#[test]
fn the_manifest_in_force_is_chosen_by_time() {
    let mut world = World::open();
    let next = Manifest::builtin()
        .to_json()
        .replace("\"version\":\"2026-02-01\"", "\"version\":\"next\"")
        .replace("2026-02-01T00:00:00.000Z", "2026-11-20T08:01:00.000Z");
    world.one(1, fact(&Fact::Manifest(Manifest::parse(&next).unwrap())));
    assert_eq!(code(&world.one(59, seal(1, SALE))), "recorded");
    assert_eq!(code(&world.one(60, seal(2, SALE))), "MANIFEST_STALE");
}

#[test]
fn equal_entries_give_equal_bytes() {
    let mut one = World::open();
    let mut two = World::open();
    let commands = || vec![seal(1, SALE), close_day(2), seal(3, CREDIT_NOTE)];
    assert_eq!(one.commit(5, commands()).effects, two.commit(5, commands()).effects);
    assert_eq!(one.group.state_hash(), two.group.state_hash());
    one.commit(6, vec![seal(4, SALE)]);
    two.commit(7, vec![seal(4, SALE)]);
    assert_ne!(one.group.state_hash(), two.group.state_hash());
}

#[test]
fn entries_are_applied_once_and_in_order() {
    let world = World::open();
    let entry = world.entry(1, vec![GroupCommand::System(SystemCommand::Tick(Tick))]);
    assert!(world.apply(&entry).is_ok());
    let again = Entry { log_index: world.group.log_index, ..entry.clone() };
    assert!(matches!(world.apply(&again), Err(ApplyError::OutOfOrder { .. })));
    let unknown = Entry { apply_version: 2, ..entry.clone() };
    assert!(matches!(world.apply(&unknown), Err(ApplyError::UnknownVersion { .. })));
    let older = Entry { apply_version: 0, ..entry };
    assert!(matches!(world.apply(&older), Err(ApplyError::VersionMismatch { .. })));
}

#[test]
fn signatures_never_run_ahead() {
    let mut world = World::open();
    let leaves = world.group.tree.size();
    for (first_leaf, count, expected, signed) in [
        (0, leaves + 1, "unchanged", 0),
        (1, 1, "unchanged", 0),
        (0, 2, "done", 2),
        (0, 2, "unchanged", 2),
        (2, leaves - 2, "done", leaves),
        (u64::MAX, 1, "unchanged", leaves),
    ] {
        let signatures = vec![[1; 64]; usize::try_from(count).unwrap()];
        let attach = AttachSignatures { first_leaf, signatures };
        let command = GroupCommand::System(SystemCommand::AttachSignatures(attach));
        assert_eq!(code(&world.one(1, command)), expected, "{first_leaf} {count}");
        assert_eq!(world.group.signed_leaves, signed);
    }
    // The entry's own record cannot have been signed before the entry was committed.
    let attach = AttachSignatures { first_leaf: leaves, signatures: vec![[1; 64]] };
    let attach = || GroupCommand::System(SystemCommand::AttachSignatures(attach.clone()));
    let together = world.commit(2, vec![seal(1, SALE), attach()]);
    assert_eq!(codes(&together.outcomes), ["recorded", "unchanged"]);
    assert_eq!(code(&world.one(3, attach())), "done");
}

#[test]
fn one_size_has_one_root() {
    let mut world = World::open();
    let cut =
        || GroupCommand::System(SystemCommand::CheckpointCut(CheckpointCut { demand_heads: true }));
    assert_eq!(code(&world.one(1, cut())), "done");
    assert_eq!(code(&world.one(2, cut())), "unchanged");
    let own = world.group.cuts[0].clone();
    let mut forged = own.clone();
    forged.root[0] ^= 1;
    let decide =
        |tuple| GroupCommand::System(SystemCommand::CheckpointDecided(CheckpointDecided { tuple }));
    let applied = world.commit(3, vec![decide(forged.clone())]);
    assert_eq!(
        applied.effects.events,
        [Event::ReplicaDiverged { decided: forged, own: own.clone() }]
    );
    assert_eq!(world.group.decided, None);
    let applied = world.commit(4, vec![decide(own.clone()), decide(own.clone())]);
    assert_eq!(codes(&applied.outcomes), ["done", "unchanged"]);
    assert_eq!(applied.effects.events, [Event::CheckpointDecided(own.clone())]);
    assert_eq!(world.group.decided, Some(own));
}
