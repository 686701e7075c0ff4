//! The state and the batches that the benchmarks run on.
//!
//! Everything is built through `apply` itself, so a batch meets the rows that a running group has:
//! registered outlets, open shifts, tallies in two currencies, remembered submissions.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::apply::{Applied, Entry, apply_entry};
use fiscus_ledger::commands::{
    ActivateAuthority, CheckpointCut, DirectoryFact, GroupCommand, OpenShift, PrepareAuthority,
    Seal, Submitted, SystemCommand, authority_proof_hash,
};
use fiscus_ledger::facts::{Environment, Fact, OutletFact, OutletStatus, SigningMode};
use fiscus_ledger::hash::{Hash32, payload_hash};
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::outcome::Outcome;
use fiscus_ledger::seal;
use fiscus_ledger::state::group::Group;
use fiscus_ledger::time::UnixMs;

/// Noon of 21 November 2026, UTC.
pub const NOON_MS: u64 = 1_795_262_400_000;
/// How many seals a batch has.
pub const BATCH_SEALS: usize = 1_000;

const TERMINAL: &str = "POS-0001";
const MERCHANT: &str = "A0712345B";

/// A way in which the seals of a batch fall on outlets.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Its name in reports.
    pub name: &'static str,
    /// How many outlets the batch touches, each as often as any other.
    pub outlets: usize,
}

/// The shapes that are measured.
pub const SHAPES: [Shape; 3] = [
    Shape { name: "1 outlet", outlets: 1 },
    Shape { name: "100 outlets", outlets: 100 },
    Shape { name: "1000 outlets", outlets: 1_000 },
];

/// A group with its rows, as a node keeps them.
#[derive(Debug, Clone)]
pub struct Replica {
    /// What is always at hand.
    pub group: Group,
    /// The stored rows.
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The key that signs.
#[must_use]
pub fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// A replica whose outlets have an open shift and have sold in two currencies, and the batch that is
/// measured on it: `BATCH_SEALS` invoices of three lines and about 1 KiB.
#[must_use]
pub fn warmed(shape: Shape) -> (Replica, Entry<GroupCommand>) {
    let mut replica = Replica { group: Group::new("bench", 1), rows: BTreeMap::new() };
    replica.run(authority());
    replica.run(registrations(shape.outlets));
    replica.run((0..shape.outlets).map(open_shift).collect());
    for (round, currency) in [(0, "CDF"), (1, "USD")] {
        let sales = (0..shape.outlets).map(|outlet| sale(outlet, round, currency));
        replica.run(sales.collect());
    }
    let cut = CheckpointCut { demand_heads: true };
    replica.run(vec![GroupCommand::System(SystemCommand::CheckpointCut(cut))]);
    let commands =
        (0..BATCH_SEALS).map(|index| sale(index % shape.outlets, 2 + index, "CDF")).collect();
    let entry = replica.entry(commands);
    (replica, entry)
}

impl Replica {
    /// Applies an entry and leaves the replica as it was; the group is taken, not copied.
    #[must_use]
    pub fn apply(&self, group: Group, entry: &Entry<GroupCommand>) -> Applied {
        apply_entry(entry, group, |key| self.rows.get(key).cloned()).expect("the rows are whole")
    }

    fn entry(&self, commands: Vec<GroupCommand>) -> Entry<GroupCommand> {
        let log_index = self.group.log_index + 1;
        Entry { log_index, apply_version: 1, stamp: UnixMs::new(NOON_MS), seed: [9; 32], commands }
    }

    fn run(&mut self, commands: Vec<GroupCommand>) {
        let entry = self.entry(commands);
        let applied = self.apply(self.group.clone(), &entry);
        for outcome in &applied.outcomes {
            assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        }
        for (key, row) in applied.effects.rows.iter() {
            match row {
                Some(row) => self.rows.insert(key.to_vec(), row.to_vec()),
                None => self.rows.remove(key),
            };
        }
        self.group = applied.state.group;
    }
}

fn outlet_id(outlet: usize) -> String {
    format!("KIN-GOMBE-{outlet:05}")
}

fn authority() -> Vec<GroupCommand> {
    let key = signing_key();
    let public_key = key.verifying_key().to_bytes();
    let authority_id = seal::authority_id("bench", &public_key);
    let proof = authority_proof_hash("bench", 1, 1, &authority_id);
    let prepare = PrepareAuthority {
        name: "bench".into(),
        public_key,
        environment: Environment::Live,
        proofs: vec![(1, key.sign(&proof).to_bytes())],
    };
    let activate = ActivateAuthority { authority_id: authority_id.into() };
    vec![
        GroupCommand::System(SystemCommand::PrepareAuthority(prepare)),
        GroupCommand::System(SystemCommand::ActivateAuthority(activate)),
    ]
}

fn registrations(outlets: usize) -> Vec<GroupCommand> {
    let manifest = fact(&Fact::Manifest(Manifest::builtin()));
    let outlets = (0..outlets).map(|outlet| {
        fact(&Fact::Outlet(OutletFact {
            outlet_id: outlet_id(outlet).into(),
            merchant_nif: MERCHANT.into(),
            prefix: "CDKIN".into(),
            code: format!("G{outlet:05}").into(),
            group: 1,
            status: OutletStatus::Active,
            environment: Environment::Live,
            signing_mode: SigningMode::Cluster,
        }))
    });
    std::iter::once(manifest).chain(outlets).collect()
}

fn fact(fact: &Fact) -> GroupCommand {
    let (kind, id, bytes) = (fact.kind(), fact.id(), fact.encode());
    GroupCommand::DirectoryFact(DirectoryFact { kind, id, version: 1, bytes })
}

fn submitted(outlet: usize, what: &str, fingerprint: Hash32) -> Submitted {
    let hash = payload_hash(what.as_bytes());
    let key = *hash.first_chunk().expect("a hash has 32 bytes");
    Submitted { outlet_id: outlet_id(outlet).into(), key, fingerprint }
}

fn open_shift(outlet: usize) -> GroupCommand {
    GroupCommand::OpenShift(OpenShift {
        submitted: submitted(outlet, "shift", [0; 32]),
        terminal_id: TERMINAL.into(),
        shift_id: "SHIFT-1".into(),
        cashier_id: "CASHIER-7".into(),
    })
}

/// The seal of one sale; `round` makes it unlike the others of its outlet.
fn sale(outlet: usize, round: usize, currency: &str) -> GroupCommand {
    let payload = payload(outlet, round, currency);
    GroupCommand::Seal(Seal {
        submitted: submitted(outlet, &format!("sale {round}"), payload_hash(&payload)),
        terminal_id: TERMINAL.into(),
        device_id: None,
        payload,
    })
}

/// An invoice of three lines as a till in Kinshasa sends it, in canonical bytes.
#[must_use]
pub fn payload(outlet: usize, round: usize, currency: &str) -> Vec<u8> {
    let manifest = Manifest::builtin();
    let text = lenient_text(outlet, round, currency);
    let now = UnixMs::new(NOON_MS);
    let parsed = parse_lenient(text.as_bytes(), &manifest, now).expect("the sample is valid");
    parsed.invoice.canonical_bytes().to_vec()
}

/// The same invoice as an API client writes it, without what the ledger computes.
#[must_use]
pub fn lenient_text(outlet: usize, round: usize, currency: &str) -> String {
    let fx = match currency {
        "CDF" => "",
        _ => r#""fx": {"rate": 2850.5, "reporting_currency": "CDF"},"#,
    };
    let outlet_id = outlet_id(outlet);
    format!(
        r#"{{"merchant_nif": "{MERCHANT}", "outlet_id": "{outlet_id}", "pos_terminal_id": "{TERMINAL}",
  "cashier_id": "CASHIER-7", "invoice_type": "sale", "timestamp": "2026-11-21T11:59:30Z",
  "client": {{"name": "Kabongo", "nif": "", "classification": "individual"}},
  "items": [
    {{"code": "6001", "description": "Farine de maïs 5 kg", "quantity": 2, "unit_price": 12500,
     "tax_group": "TG02", "taxable_unit": "piece"}},
    {{"code": "6002", "description": "Huile végétale 1 L", "quantity": 1.5, "unit_price": "8900.50",
     "discount": 100, "tax_group": "TG02", "taxable_unit": "l"}},
    {{"code": "9100", "description": "Livraison", "quantity": 1, "unit_price": {price},
     "tax_group": "TG02", "taxable_unit": "unit"}}],
  "payments": [{{"method": "cash", "amount": 44370.87}}],
  {fx} "currency": "{currency}"}}"#,
        price = 3_000 + round,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seal_of_a_measured_batch_is_recorded() {
        for shape in SHAPES {
            let (replica, entry) = warmed(shape);
            let applied = replica.apply(replica.group.clone(), &entry);
            let recorded = |outcome: &&Outcome| matches!(outcome, Outcome::Recorded(_));
            let count = applied.outcomes.iter().filter(recorded).count();
            assert_eq!(count, BATCH_SEALS, "{}", shape.name);
        }
    }

    #[test]
    fn the_measured_invoice_is_about_a_kibibyte() {
        let bytes = payload(0, 2, "CDF").len();
        assert!((960..=1_200).contains(&bytes), "{bytes} bytes");
    }
}
