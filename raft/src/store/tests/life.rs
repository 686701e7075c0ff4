//! The log of a small group, as Raft would hand it over, and how it is fed to a replica.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
#[cfg(feature = "next-apply-version")]
use fiscus_ledger::commands::RaiseApplyVersion;
use fiscus_ledger::commands::{
    ActivateAuthority, AttachSignatures, CheckpointCut, CheckpointDecided, DirectoryFact,
    GroupCommand, OpenShift, PrepareAuthority, Seal, Submitted, SystemCommand,
    authority_proof_hash,
};
use fiscus_ledger::facts::{Environment, Fact, OutletFact, OutletStatus, SigningMode};
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::outcome::Outcome;
use fiscus_ledger::seal::authority_id;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::group::CheckpointTuple;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::peer;

use crate::disk::{Disk as _, SimulatedDisk};
use crate::entry::{encode_entry, to_proto_data};
use crate::store::replica::{io_error, to_log_id};
use crate::store::{ApplyReply, Replica, ReplicaOptions, StoreError};
use crate::wal::LogId;

pub(crate) const CLUSTER: &str = "crash";
pub(crate) const GROUP: u64 = 1;
pub(crate) const DIR: &str = "/data/groups/1";
/// 2026-11-20T08:00:00Z.
pub(super) const OPENING: u64 = 1_795_161_600_000;
/// So many outlets that the first node of height 8 is complete after a few seals.
const OUTLETS: usize = 249;
pub(crate) const ENTRIES: u64 = 12;

/// What stands in the log.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Membership(peer::Membership),
    Blank,
    Normal(Bytes),
}

pub(crate) type Log = Vec<(LogId, Item)>;

/// As in production but for tiny files, so that they are sealed.
pub(crate) fn options() -> ReplicaOptions {
    ReplicaOptions {
        journal_file_bytes: 8 << 10,
        side_file_entries: 6,
        ..ReplicaOptions::new(CLUSTER, GROUP, 1 << 20)
    }
}

/// Opens the replica as a node does, in a data directory that its owner made durable.
pub(crate) fn open(disk: &SimulatedDisk, options: ReplicaOptions) -> Result<Replica, StoreError> {
    let data = Path::new("/data");
    disk.create_dir_all(data).map_err(io_error("make", data))?;
    disk.sync_dir(Path::new("/")).map_err(io_error("sync", data))?;
    Replica::open(Arc::new(disk.clone()), Path::new(DIR), options)
}

pub(crate) fn last(log: &Log) -> Option<LogId> {
    log.last().map(|(id, _)| *id)
}

pub(crate) fn applied(replica: &Replica) -> u64 {
    replica.applied_state().applied.map_or(0, |id| to_log_id(id).index)
}

pub(crate) fn apply(replica: &Replica, id: LogId, item: &Item) -> Result<(), StoreError> {
    match item {
        Item::Blank => replica.apply_internal(id, None),
        Item::Membership(membership) => replica.apply_internal(id, Some(membership.clone())),
        Item::Normal(bytes) => replica.apply_normal(id, bytes).map(drop),
    }
}

/// Applies what the log has after the replica's last entry, up to `to`.
pub(crate) fn replay(replica: &Replica, log: &Log, to: u64) -> Result<(), StoreError> {
    let from = applied(replica);
    for (id, item) in log.iter().filter(|(id, _)| id.index > from && id.index <= to) {
        apply(replica, *id, item)?;
    }
    Ok(())
}

fn membership(voters: &[u64]) -> peer::Membership {
    let node = |id: &u64| peer::NodeInfo {
        id: *id,
        rpc: format!("n{id}:7000"),
        region: "kin".to_owned(),
        ..peer::NodeInfo::default()
    };
    peer::Membership {
        configs: vec![peer::VoterSet { voters: voters.to_vec() }],
        nodes: voters.iter().map(node).collect(),
    }
}

fn outlet(number: usize) -> OutletFact {
    OutletFact {
        outlet_id: format!("o{number}").into(),
        merchant_nif: "A1234567B".into(),
        prefix: "KIN".into(),
        code: format!("C{number}").into(),
        group: GROUP,
        status: OutletStatus::Active,
        environment: Environment::Live,
        signing_mode: SigningMode::Cluster,
    }
}

fn fact(fact: &Fact) -> GroupCommand {
    let (kind, id, bytes) = (fact.kind(), fact.id(), fact.encode());
    GroupCommand::DirectoryFact(DirectoryFact { kind, id, version: 1, bytes })
}

fn opening(outlets: usize) -> Vec<GroupCommand> {
    let key = SigningKey::from_bytes(&[100; 32]);
    let public_key = key.verifying_key().to_bytes();
    let id = Id::from(authority_id("node", &public_key));
    let hash = authority_proof_hash(CLUSTER, GROUP, 1, &id);
    let proofs = vec![(1, key.sign(&hash).to_bytes())];
    let environment = Environment::Live;
    let prepare = PrepareAuthority { name: "node".into(), public_key, environment, proofs };
    let mut commands = vec![
        GroupCommand::System(SystemCommand::PrepareAuthority(prepare)),
        GroupCommand::System(SystemCommand::ActivateAuthority(ActivateAuthority {
            authority_id: id,
        })),
        fact(&Fact::Manifest(Manifest::builtin())),
    ];
    commands.extend((1..=outlets).map(|number| fact(&Fact::Outlet(outlet(number)))));
    commands
}

pub(super) fn submitted(outlet_id: &str, key: u8) -> Submitted {
    Submitted { outlet_id: outlet_id.into(), key: [key; 16], fingerprint: [key; 32] }
}

pub(super) fn seal(key: u8) -> GroupCommand {
    let outlet_id = format!("o{}", 1 + key % 2);
    let json = format!(
        r#"{{"merchant_nif":"A1234567B","outlet_id":"{outlet_id}","pos_terminal_id":"t1","invoice_type":"sale","currency":"CDF","client":{{"classification":"individual"}},"items":[{{"code":"A","description":"Ciment 50 kg","quantity":{key},"unit_price":"99.99","tax_group":"TG02"}}],"payments":[]}}"#
    );
    let parsed = parse_lenient(json.as_bytes(), &Manifest::builtin(), UnixMs::new(OPENING))
        .unwrap_or_else(|problem| panic!("{problem:?} in {json}"));
    GroupCommand::Seal(Seal {
        submitted: submitted(&outlet_id, key),
        terminal_id: "t1".into(),
        device_id: None,
        payload: parsed.invoice.canonical_text().as_bytes().to_vec(),
    })
}

fn shift(key: u8, terminal: &str, id: &str) -> GroupCommand {
    GroupCommand::OpenShift(OpenShift {
        submitted: submitted("o1", key),
        terminal_id: terminal.into(),
        shift_id: id.into(),
        cashier_id: "k1".into(),
    })
}

pub(super) fn cut() -> GroupCommand {
    GroupCommand::System(SystemCommand::CheckpointCut(CheckpointCut { demand_heads: true }))
}

pub(super) fn decided(tuple: CheckpointTuple) -> GroupCommand {
    GroupCommand::System(SystemCommand::CheckpointDecided(CheckpointDecided { tuple }))
}

/// A log in the making, with the replica that says what the next entry can be about.
pub(super) struct Scribe {
    pub(super) replica: Replica,
    log: Log,
}

impl Scribe {
    /// Signatures of everything that is committed.
    fn signatures(&self) -> GroupCommand {
        let progress = self.replica.progress().borrow().clone();
        let signed = progress.signed_leaves..progress.leaves;
        let signature = |leaf: u64| [u8::try_from(leaf % 255).expect("below 255") + 1; 64];
        let signatures = signed.clone().map(signature).collect();
        let attach = AttachSignatures { first_leaf: signed.start, signatures };
        GroupCommand::System(SystemCommand::AttachSignatures(attach))
    }

    fn push(&mut self, item: Item) -> LogId {
        let index = self.log.len() as u64 + 1;
        let id = LogId { term: 1 + index / 8, index };
        self.log.push((id, item));
        id
    }

    fn internal(&mut self, item: &Item) {
        let id = self.push(item.clone());
        apply(&self.replica, id, item).expect("apply");
    }

    /// What was written so far.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// No command of the log is refused: a log of refusals would show nothing.
    fn commands(&mut self, commands: &[GroupCommand]) {
        let index = self.log.len() as u64 + 1;
        self.commands_at(UnixMs::new(OPENING + index * 1_000), commands);
    }

    pub(super) fn commands_at(&mut self, stamp: UnixMs, commands: &[GroupCommand]) {
        let index = self.log.len() as u64 + 1;
        let commands: Vec<_> = commands.iter().map(to_proto_data).collect();
        let seed = [u8::try_from(index).expect("a short log"); 32];
        let version = self.replica.progress().borrow().apply_version;
        let bytes = encode_entry(version, stamp, &seed, &commands);
        let id = self.push(Item::Normal(bytes.clone().into()));
        match self.replica.apply_normal(id, &bytes).expect("apply") {
            ApplyReply::Applied(applied) => {
                let refused = |outcome: &&Outcome| matches!(outcome, Outcome::Refused(_));
                let refused = applied.outcomes.iter().find(refused);
                assert!(refused.is_none(), "entry {index}: {refused:?}");
            }
            other => panic!("entry {index}: {other:?}"),
        }
    }
}

/// A log with everything that a group's life has: members, outlets, seals, signatures, cuts, heads.
pub(crate) fn log() -> Log {
    let log = log_of(OUTLETS);
    assert_eq!(log.len() as u64, ENTRIES);
    log
}

/// The same with another number of outlets.
pub(crate) fn log_of(outlets: usize) -> Log {
    let mut scribe = opened(outlets);
    scribe.commands(&[seal(1), shift(2, "t1", "s1")]);
    scribe.commands(&[seal(3), scribe.signatures()]);
    scribe.internal(&Item::Membership(membership(&[1, 2, 3])));
    scribe.commands(&[scribe.signatures(), seal(5)]);
    scribe.commands(&[cut()]);
    let tuple = scribe.replica.progress().borrow().last_cut.clone().expect("it was cut");
    scribe.commands(&[decided(tuple), seal(6), seal(7)]);
    scribe.internal(&Item::Blank);
    scribe.commands(&[scribe.signatures(), seal(8)]);
    scribe.commands(&[seal(9), seal(10), seal(11), cut()]);
    scribe.log
}

/// A group with its first member, its authority, its manifest and its outlets.
pub(super) fn opened(outlets: usize) -> Scribe {
    let disk = SimulatedDisk::new();
    let replica = open(&disk, options()).expect("open");
    let mut scribe = Scribe { replica, log: Log::new() };
    scribe.internal(&Item::Membership(membership(&[1])));
    scribe.internal(&Item::Blank);
    scribe.commands(&opening(outlets));
    scribe
}

/// A log that goes on from [`log`] by the rules of version 2: with a shift that version 1 refuses.
#[cfg(feature = "next-apply-version")]
pub(crate) fn log_by_version_2() -> Log {
    let disk = SimulatedDisk::new();
    let mut scribe = Scribe { replica: open(&disk, options()).expect("open"), log: log() };
    replay(&scribe.replica, &scribe.log, ENTRIES).expect("apply");
    let raise = SystemCommand::RaiseApplyVersion(RaiseApplyVersion { to: 2 });
    scribe.commands(&[GroupCommand::System(raise)]);
    scribe.commands(&[shift(12, "t2", &"s".repeat(100)), seal(13), scribe.signatures()]);
    scribe.commands(&[cut()]);
    scribe.log
}
