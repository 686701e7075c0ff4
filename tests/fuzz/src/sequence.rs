//! Commands made from bytes, and the replica that they run on.
//!
//! The bytes choose among few outlets, keys, terminals, credentials and times, so that duplicates,
//! conflicts and right follow-ups are as likely as nonsense.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::apply::{Entry, Prepared, apply_entry};
use fiscus_ledger::commands::{
    ActivateAuthority, AttachSignatures, CheckpointCut, CloseBlock, CloseDay, CloseShift,
    DirectoryFact, GrantBlock, GroupCommand, OpenShift, PrepareAuthority, ReconcileOffline,
    RecordPayment, RecordUpload, RecoveryGap, Seal, Submitted, SystemCommand, Tick, UploadItem,
    UploadVerdict, authority_proof_hash,
};
use fiscus_ledger::facts::{
    Environment, Fact, OutletFact, OutletStatus, SigningMode, TerminalFact,
};
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::invoice::{Currency, parse_lenient, parse_strict};
use fiscus_ledger::money::Amount;
use fiscus_ledger::offline::OfflineSeal;
use fiscus_ledger::outcome::Outcome;
use fiscus_ledger::record::Record;
use fiscus_ledger::seal;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::CloseReason;
use fiscus_ledger::state::group::Group;
use fiscus_ledger::state::rows::PaymentStatus;
use fiscus_ledger::state::working::{KnownRows, WorkingSet};
use fiscus_ledger::time::UnixMs;

use crate::{NOON_MS, manifest};

const ENTRIES_MAX: usize = 32;
const HOUR_MS: u64 = 3_600_000;

/// A group with its rows, and what the next commands may refer to.
#[derive(Debug)]
pub struct Replica {
    group: Group,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    known_rows: KnownRows,
    /// The last position of each outlet's journal.
    positions: BTreeMap<String, u64>,
    /// Every leaf: what an offline seal may link to.
    hashes: Vec<Hash32>,
    stamp: u64,
}

/// Bytes that choose; zeros when they have run out.
#[derive(Debug)]
pub struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[usize::from(self.next()) % all.len()]
    }
}

/// Founds a group and runs the entries that the bytes make.
pub fn run(data: &[u8]) {
    let mut replica = Replica::founded();
    let mut choices = Choices(data);
    for _ in 0..ENTRIES_MAX {
        if choices.0.is_empty() {
            break;
        }
        let count = 1 + choices.next() % 4;
        // The leader's clock may stand still or jump back.
        let step = *choices.of(&[1_000, 0, 24 * HOUR_MS, HOUR_MS]);
        replica.stamp = if choices.next() == 255 { NOON_MS } else { replica.stamp + step };
        let commands = (0..count).map(|_| replica.command(&mut choices)).collect();
        replica.apply(commands);
    }
}

impl Replica {
    fn founded() -> Self {
        let mut replica = Self {
            group: Group::new("fuzz", 1),
            rows: BTreeMap::new(),
            known_rows: KnownRows::default(),
            positions: BTreeMap::new(),
            hashes: Vec::new(),
            stamp: NOON_MS,
        };
        let key = SigningKey::from_bytes(&[7; 32]);
        let public_key = key.verifying_key().to_bytes();
        let authority_id = seal::authority_id("fuzz", &public_key);
        let proof = authority_proof_hash("fuzz", 1, 1, &authority_id);
        let prepare = PrepareAuthority {
            name: "fuzz".into(),
            public_key,
            environment: Environment::Live,
            proofs: vec![(1, key.sign(&proof).to_bytes())],
        };
        let activate = ActivateAuthority { authority_id: authority_id.into() };
        replica.apply(vec![
            GroupCommand::System(SystemCommand::PrepareAuthority(prepare)),
            GroupCommand::System(SystemCommand::ActivateAuthority(activate)),
        ]);
        replica.apply(vec![
            fact(&Fact::Manifest(manifest().clone()), 1),
            outlet("A", OutletStatus::Active, 1),
            outlet("B", OutletStatus::Active, 1),
        ]);
        replica
    }

    /// Applies an entry twice, compares, checks what must always hold, and keeps the result.
    fn apply(&mut self, commands: Vec<GroupCommand>) {
        let log_index = self.group.log_index + 1;
        let stamp = UnixMs::new(self.stamp);
        let entry = Entry { log_index, apply_version: 1, stamp, seed: [9; 32], commands };
        let fetch = |key: &[u8]| self.rows.get(key).cloned();
        let once = apply_entry(&entry, self.group.clone(), fetch).expect("apply never fails");
        let twice = Prepared::new(&entry, &self.group).expect("apply never fails");
        let group = self.group.clone();
        let known = WorkingSet::load_with(group, twice.reads(), &mut self.known_rows, fetch);
        let twice = twice.apply(known.expect("every row is whole")).expect("apply never fails");
        assert_eq!(once.effects, twice.effects, "two replicas differ, one of which knows its rows");
        let _group = twice.state.leave(&mut self.known_rows);
        assert_eq!(once.outcomes.len(), entry.commands.len());
        if once.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Refused(_))) {
            assert!(once.effects.leaves.is_empty(), "a refused command made a record");
            assert!(once.effects.rows.is_empty(), "a refused command changed a row");
        }
        for leaf in &once.effects.leaves {
            self.hashes.push(leaf.hash);
            let Some((start, end)) = leaf.record else { continue };
            let record = Record::decode(&once.effects.records[start..end]).expect("it was encoded");
            assert_eq!(record.entry_hash, leaf.hash);
            let last = self.positions.entry(record.outlet_id.to_owned()).or_default();
            assert_eq!(record.position, *last + 1, "positions are dense");
            *last = record.position;
        }
        for (id, outlet) in once.state.outlets() {
            assert!(outlet.series.is_accounted_for(), "outlet {id}: {:?}", outlet.series);
            let last = self.positions.get(&**id).copied().unwrap_or_default();
            assert_eq!(outlet.chain.last_position, last);
        }
        for (key, row) in once.effects.rows.iter() {
            match row {
                Some(row) => self.rows.insert(key.to_vec(), row.to_vec()),
                None => self.rows.remove(key),
            };
        }
        self.group = once.state.group;
    }

    fn command(&self, from: &mut Choices<'_>) -> GroupCommand {
        let outlet_id: &str = *from.of(&["A", "B", "A", "unknown"]);
        match from.next() % 16 {
            0..4 => sale(outlet_id, from),
            4 => {
                let submitted = submitted(outlet_id, from);
                let (terminal_id, shift_id) =
                    ("T".into(), from.of(&["S1", "S2"]).to_string().into());
                let cashier_id = "C".into();
                GroupCommand::OpenShift(OpenShift { submitted, terminal_id, shift_id, cashier_id })
            }
            5 => {
                let submitted = submitted(outlet_id, from);
                let (terminal_id, shift_id) =
                    ("T".into(), from.of(&["S1", "S2"]).to_string().into());
                let cashier_id = "C".into();
                GroupCommand::CloseShift(CloseShift {
                    submitted,
                    terminal_id,
                    shift_id,
                    cashier_id,
                })
            }
            6 => {
                let submitted = submitted(outlet_id, from);
                GroupCommand::CloseDay(CloseDay { submitted, operator: "O".into() })
            }
            7 | 8 => GroupCommand::GrantBlock(GrantBlock {
                submitted: submitted(outlet_id, from),
                credential_id: credential(from),
                terminal_id: "T".into(),
                terminal_key: terminal_key().verifying_key().to_bytes(),
                numbers: *from.of(&[3, 1, 500, 501]),
                validity_ms: *from.of(&[12 * HOUR_MS, HOUR_MS, 73 * HOUR_MS]),
            }),
            9 | 10 => self.offline(outlet_id, from),
            11 => GroupCommand::CloseBlock(CloseBlock {
                outlet_id: outlet_id.into(),
                credential_id: credential(from),
                reason: *from.of(&[
                    CloseReason::Returned,
                    CloseReason::Expired,
                    CloseReason::UsedUp,
                    CloseReason::Revoked,
                ]),
            }),
            12 => payment(outlet_id, from),
            13 => self.directory_fact(outlet_id, from),
            14 => GroupCommand::RecoveryGap(RecoveryGap {
                outlet_id: outlet_id.into(),
                last_issued: from.next().into(),
                evidence: "E".into(),
                operator: "O".into(),
            }),
            15 => upload(outlet_id, from),
            _ => GroupCommand::System(self.system(from)),
        }
    }

    fn directory_fact(&self, outlet_id: &str, from: &mut Choices<'_>) -> GroupCommand {
        let version = u64::from(from.next() % 8);
        match from.next() % 3 {
            0 => outlet(
                outlet_id,
                *from.of(&[OutletStatus::Active, OutletStatus::Suspended]),
                version,
            ),
            1 => {
                let (outlet_id, terminal_id) = (outlet_id.into(), "T".into());
                let blocked = from.next() & 1 == 1;
                fact(&Fact::Terminal(TerminalFact { outlet_id, terminal_id, blocked }), version)
            }
            _ => GroupCommand::DirectoryFact(DirectoryFact {
                kind: fiscus_ledger::facts::FactKind::Device,
                id: "D".into(),
                version,
                bytes: (0..from.next() % 32).map(|_| from.next()).collect(),
            }),
        }
    }

    fn system(&self, from: &mut Choices<'_>) -> SystemCommand {
        match from.next() % 3 {
            0 => SystemCommand::Tick(Tick),
            1 => SystemCommand::CheckpointCut(CheckpointCut { demand_heads: from.next() & 1 == 1 }),
            _ => SystemCommand::AttachSignatures(AttachSignatures {
                first_leaf: self.group.signed_leaves,
                signatures: vec![[1; 64]; usize::from(from.next() % 4)],
            }),
        }
    }

    /// A seal of a terminal; whether it links, fits its block and is signed is for the bytes to say.
    fn offline(&self, outlet_id: &str, from: &mut Choices<'_>) -> GroupCommand {
        let place = u64::from(1 + from.next() % 4);
        let back = usize::from(from.next()) % self.hashes.len().max(1);
        let mut seal = OfflineSeal {
            credential_id: credential(from),
            place,
            timestamp: UnixMs::new(self.stamp.saturating_sub(u64::from(from.next() % 8) * 500)),
            blind: [from.next() % 2; 32],
            prev_hash: self.hashes.iter().rev().nth(back).copied().unwrap_or_default(),
            signature: [0; 64],
            invoice: payload(outlet_id, from),
        };
        // Which number the place has is in the block's row; the bytes guess it.
        let number = format!("CD-{outlet_id}-{}", 1 + from.next() % 8);
        if let Ok(invoice) = parse_strict(&seal.invoice, manifest()) {
            let hash = seal.entry_hash(outlet_id, &number, &invoice);
            seal.signature = terminal_key().sign(&hash).to_bytes();
        }
        GroupCommand::ReconcileOffline(ReconcileOffline { outlet_id: outlet_id.into(), seal })
    }
}

fn terminal_key() -> SigningKey {
    SigningKey::from_bytes(&[8; 32])
}

fn credential(from: &mut Choices<'_>) -> Id {
    Id::from(*from.of(&["cred-1", "cred-2", "cred-3"]))
}

fn submitted(outlet_id: &str, from: &mut Choices<'_>) -> Submitted {
    let key = [from.next() % 32; 16];
    // Now and then the same key comes back with another request.
    Submitted { outlet_id: outlet_id.into(), key, fingerprint: [from.next() / 250; 32] }
}

fn sale(outlet_id: &str, from: &mut Choices<'_>) -> GroupCommand {
    GroupCommand::Seal(Seal {
        submitted: submitted(outlet_id, from),
        terminal_id: "T".into(),
        device_id: (from.next() > 250).then(|| "D".into()),
        payload: payload(outlet_id, from),
    })
}

fn payment(outlet_id: &str, from: &mut Choices<'_>) -> GroupCommand {
    GroupCommand::RecordPayment(RecordPayment {
        outlet_id: outlet_id.into(),
        provider: "mpesa".into(),
        reference: Id::from(*from.of(&["P1", "P2"])),
        status: *from.of(&PaymentStatus::ALL),
        amount: Amount::from_minor(i64::from(from.next() % 4)).expect("it is small"),
        currency: Currency::CDF,
        fiscal_number: (from.next() & 1 == 1).then(|| format!("CD-{outlet_id}-1").into()),
    })
}

fn upload(outlet_id: &str, from: &mut Choices<'_>) -> GroupCommand {
    let verdict = *from.of(&UploadVerdict::ALL);
    let refuses = matches!(verdict, UploadVerdict::Rejected | UploadVerdict::Failed);
    let first = u64::from(from.next() % 4);
    let items = (first..first + 1 + u64::from(from.next() % 3)).map(|number| UploadItem {
        fiscal_number: format!("CD-{outlet_id}-{number}").into(),
        code: if refuses { "NIF" } else { "" }.into(),
        reason: "".into(),
    });
    GroupCommand::RecordUpload(RecordUpload {
        outlet_id: outlet_id.into(),
        verdict,
        destination: "dgi".into(),
        batch_id: "B".into(),
        receipt: "".into(),
        items: items.collect(),
        after: u64::from(from.next() % 8),
        through: u64::from(from.next() % 16),
    })
}

/// A canonical invoice of one line, now and then with a byte that is not right.
fn payload(outlet_id: &str, from: &mut Choices<'_>) -> Vec<u8> {
    let kind = *from.of(&["sale", "sale", "credit_note", "advance", "export"]);
    let original = match kind {
        "credit_note" => {
            format!(r#""original_fiscal_number":"CD-{outlet_id}-{}","#, 1 + from.next() % 8)
        }
        _ => String::new(),
    };
    let currency = *from.of(&["CDF", "CDF", "USD"]);
    let fx = if currency == "USD" { r#""fx":{"rate":"2850.5"},"# } else { "" };
    let (group, references) = match kind {
        "export" => ("TG07", r#","references":{"export_certificate":"X"}"#),
        _ => (*from.of(&["TG02", "TG03", "TG01"]), ""),
    };
    let price = u32::from(from.next()) * 100;
    let text = format!(
        r#"{{"merchant_nif":"M","outlet_id":"{outlet_id}","pos_terminal_id":"T","invoice_type":"{kind}",{original}"client":{{"classification":"individual"}},"items":[{{"description":"x","quantity":1,"unit_price":{price},"tax_group":"{group}"{references}}}],"currency":"{currency}",{fx}"payments":[{{"method":"cash","amount":{price}}}]}}"#
    );
    let now = UnixMs::new(NOON_MS);
    let parsed = parse_lenient(text.as_bytes(), manifest(), now).expect("the sample is valid");
    let mut bytes = parsed.invoice.canonical_bytes().to_vec();
    if from.next() > 240 {
        let at = usize::from(from.next()) % bytes.len();
        bytes[at] = from.next();
    }
    bytes
}

fn outlet(outlet_id: &str, status: OutletStatus, version: u64) -> GroupCommand {
    let registration = OutletFact {
        outlet_id: outlet_id.into(),
        merchant_nif: "M".into(),
        prefix: "CD".into(),
        code: outlet_id.to_uppercase().into(),
        group: 1,
        status,
        environment: Environment::Live,
        signing_mode: SigningMode::Cluster,
    };
    fact(&Fact::Outlet(registration), version)
}

fn fact(fact: &Fact, version: u64) -> GroupCommand {
    let (kind, id, bytes) = (fact.kind(), fact.id(), fact.encode());
    GroupCommand::DirectoryFact(DirectoryFact { kind, id, version, bytes })
}
