//! The real rules of the ledger over a map: what a group would make of what a till delivers.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use fiscus_ledger::apply::{Entry, apply_entry};
use fiscus_ledger::commands::{
    ActivateAuthority, CloseBlock, DirectoryFact, GrantBlock, GroupCommand, PrepareAuthority,
    ReconcileOffline, Seal, Submitted, SystemCommand, Tick, authority_proof_hash,
};
use fiscus_ledger::credential::Credential;
use fiscus_ledger::facts::{Environment, Fact, OutletFact, OutletStatus, SigningMode};
use fiscus_ledger::hash::payload_hash;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::offline::OfflineSeal;
use fiscus_ledger::outcome::{Event, Outcome};
use fiscus_ledger::record::Record;
use fiscus_ledger::seal::authority_id;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::{Block, CloseReason};
use fiscus_ledger::state::group::Group;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::time::UnixMs;

use super::super::entry::{Asked, Facts};
use super::{NIF, OUTLET, START_MS};
use crate::protocol::nonce::{Prepared, seal_key};

const CLUSTER: &str = "demo.fiscus.example";

pub(super) struct Ledger {
    group: Group,
    authority: SigningKey,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The payload hashes of invoices by number.
    pub(super) invoices: BTreeMap<String, [u8; 32]>,
    pub(super) events: Vec<Event>,
    manifests: Vec<Manifest>,
    now_ms: u64,
}

impl Ledger {
    pub(super) fn new() -> Self {
        let authority = SigningKey::from_bytes(&[5; 32]);
        let mut ledger = Self {
            group: Group::new(CLUSTER, 1),
            authority: authority.clone(),
            rows: BTreeMap::new(),
            invoices: BTreeMap::new(),
            events: Vec::new(),
            manifests: vec![Manifest::builtin()],
            now_ms: START_MS,
        };
        let id = Id::from(authority_id("demo", &authority.verifying_key().to_bytes()));
        let proof = authority.sign(&authority_proof_hash(CLUSTER, 1, 1, &id)).to_bytes();
        let prepare = PrepareAuthority {
            name: Id::from("demo"),
            public_key: authority.verifying_key().to_bytes(),
            environment: Environment::Live,
            proofs: vec![(1, proof)],
        };
        ledger.system(SystemCommand::PrepareAuthority(prepare));
        ledger.system(SystemCommand::ActivateAuthority(ActivateAuthority { authority_id: id }));
        ledger.fact(&Fact::Manifest(Manifest::builtin()));
        ledger.fact(&Fact::Outlet(Self::outlet_fact()));
        ledger
    }

    pub(super) fn outlet_fact() -> OutletFact {
        OutletFact {
            outlet_id: Id::from(OUTLET),
            merchant_nif: Id::from(NIF),
            prefix: Id::from("KIN"),
            code: Id::from("GOMBE"),
            group: 1,
            status: OutletStatus::Active,
            environment: Environment::Live,
            signing_mode: SigningMode::Cluster,
        }
    }

    pub(super) fn facts(&self) -> Facts {
        let manifests = self.manifests.clone();
        Facts { outlet: Self::outlet_fact(), active: true, manifests }
    }

    pub(super) fn authority(&self) -> VerifyingKey {
        self.authority.verifying_key()
    }

    fn system(&mut self, command: SystemCommand) {
        self.commit(GroupCommand::System(command));
    }

    /// A manifest reaches the group, and is told to tills from then on.
    pub(super) fn publish(&mut self, manifest: Manifest) {
        self.fact(&Fact::Manifest(manifest.clone()));
        self.manifests.push(manifest);
    }

    fn fact(&mut self, fact: &Fact) {
        let command =
            DirectoryFact { kind: fact.kind(), id: fact.id(), version: 1, bytes: fact.encode() };
        self.commit(GroupCommand::DirectoryFact(command));
    }

    pub(super) fn commit(&mut self, command: GroupCommand) -> Outcome {
        let entry = Entry {
            log_index: self.group.log_index + 1,
            apply_version: self.group.apply_version,
            stamp: UnixMs::new(self.now_ms),
            seed: [3; 32],
            commands: vec![command],
        };
        let applied = apply_entry(&entry, self.group.clone(), |key| self.rows.get(key).cloned());
        let applied = applied.expect("the core applies");
        self.group = applied.state.group;
        for (key, row) in applied.effects.rows.iter() {
            match row {
                Some(row) => self.rows.insert(key.to_vec(), row.to_vec()),
                None => self.rows.remove(key),
            };
        }
        for leaf in &applied.effects.leaves {
            let Some((from, to)) = leaf.record else { continue };
            let record = Record::decode(&applied.effects.records[from..to]).expect("a record");
            let Some(_) = record.kind.invoice_type() else { continue };
            let invoice = OfflineSeal::invoice_in(record.payload).unwrap_or(record.payload);
            let number = record.fiscal_number.to_owned();
            let twice = self.invoices.insert(number, payload_hash(invoice));
            assert_eq!(twice, None, "no number twice");
        }
        self.events.extend(applied.effects.events);
        applied.outcomes.into_iter().next().expect("an answer")
    }

    /// Time goes on.
    pub(super) fn at(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.system(SystemCommand::Tick(Tick {}));
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.group.time.get()
    }

    pub(super) fn lend(&mut self, asked: &Asked, terminal_key: [u8; 32]) -> Credential {
        let id = Id::from(&*asked.credential_id);
        let key = *payload_hash(asked.credential_id.as_bytes()).first_chunk().expect("16 bytes");
        let grant = GrantBlock {
            submitted: Submitted { outlet_id: Id::from(OUTLET), key, fingerprint: [1; 32] },
            credential_id: id.clone(),
            terminal_id: Id::from(&*asked.terminal_id),
            terminal_key,
            numbers: asked.numbers,
            validity_ms: asked.validity_ms,
        };
        let lent = self.commit(GroupCommand::GrantBlock(grant));
        assert!(matches!(lent, Outcome::Recorded(_) | Outcome::AlreadyRecorded { .. }), "{lent:?}");
        let terms = self.block(&id).credential_terms(&id, "KIN-GOMBE");
        let signature = self.authority.sign(&terms.signed_hash()).to_bytes();
        Credential::new(terms, signature).expect("a credential")
    }

    pub(super) fn block(&self, credential_id: &Id) -> Block {
        let row = self.rows.get(&Block::stored_key(credential_id)).expect("it was lent");
        Block::from_stored(row).expect("a block")
    }

    pub(super) fn outlet(&self) -> Outlet {
        let row = self.rows.get(&Outlet::stored_key(&Id::from(OUTLET))).expect("it is there");
        Outlet::from_stored(row).expect("an outlet")
    }

    pub(super) fn reconcile(&mut self, seal: OfflineSeal) -> Outcome {
        let command = ReconcileOffline { outlet_id: Id::from(OUTLET), seal };
        self.commit(GroupCommand::ReconcileOffline(command))
    }

    pub(super) fn close(&mut self, credential_id: &str, reason: CloseReason) -> Outcome {
        let (outlet_id, credential_id) = (Id::from(OUTLET), Id::from(credential_id));
        self.commit(GroupCommand::CloseBlock(CloseBlock { outlet_id, credential_id, reason }))
    }

    /// Seals online; the number.
    pub(super) fn seal(&mut self, prepared: &Prepared) -> Outcome {
        let hash = payload_hash(&prepared.payload);
        let (outlet_id, key) = (Id::from(OUTLET), seal_key(&hash));
        self.commit(GroupCommand::Seal(Seal {
            submitted: Submitted { outlet_id, key, fingerprint: hash },
            terminal_id: Id::from(&*prepared.terminal_id),
            device_id: None,
            payload: prepared.payload.clone(),
        }))
    }

    pub(super) fn alerts(&self) -> Vec<&'static str> {
        let alert = |event: &Event| match event {
            Event::SecurityAlert { code, .. } => Some(code.as_str()),
            _ => None,
        };
        self.events.iter().filter_map(alert).collect()
    }
}
