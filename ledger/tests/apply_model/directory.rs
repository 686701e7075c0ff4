//! Random commands to the directory, against a registry kept in plain lists.

use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::apply::Entry;
use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::commands::{
    ActivateAuthority, ActivateDevice, ChangeOutlet, DirectoryCommand, PublishManifest,
    PutDocument, PutDocuments, RecordCheckpoint, RegisterDevice, RegisterOutlet, ReopenDevice,
    ReplaceDevice, RevokeDevice, SystemCommand, TAX_AUTHORITY_KEY_ID, TAX_AUTHORITY_KEY_KIND,
    leave_message,
};
use fiscus_ledger::facts::{Environment, OutletFact, OutletStatus, SigningMode};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::outcome::Outcome;
use fiscus_ledger::state::Id;
use fiscus_ledger::time::UnixMs;

use crate::generate::prepare;
use crate::random::Random;
use crate::store::Store;

const START: u64 = 1_795_000_000_000;

/// The registry as a clerk would keep it.
#[derive(Default)]
struct Registry {
    outlets: Vec<(OutletFact, u64)>,
    notes: Vec<(Id, u64)>,
    devices: Vec<(Id, &'static str)>,
    /// Of which device which lives after the first were opened.
    lives: Vec<(Id, u64)>,
    codes: Vec<(u8, Id, bool)>,
    manifests: Vec<Id>,
    checkpoints: Vec<(u64, u64)>,
}

impl Registry {
    fn device(&mut self, id: &Id) -> Option<&mut (Id, &'static str)> {
        self.devices.iter_mut().find(|device| device.0 == *id)
    }

    /// A new device and its code, unless one of them is known.
    fn enlist(&mut self, id: &Id, code: u8) -> Result<(), &'static str> {
        if self.device(id).is_some() {
            return Err("DEVICE_EXISTS");
        }
        if self.codes.iter().any(|known| known.0 == code) {
            return Err("ACTIVATION_INVALID");
        }
        Ok(())
    }

    fn add(&mut self, id: &Id, code: u8) {
        self.codes.push((code, id.clone(), false));
        self.devices.push((id.clone(), "registered"));
    }

    /// The code of the refusal, or nothing.
    fn apply(&mut self, command: &DirectoryCommand, time: u64) -> Result<(), &'static str> {
        match command {
            DirectoryCommand::System(_) => Ok(()),
            DirectoryCommand::RegisterOutlet(command) => self.register_outlet(&command.fact),
            DirectoryCommand::ChangeOutlet(command) => self.change_outlet(command),
            DirectoryCommand::PutDocument(command) => self.put(command),
            DirectoryCommand::PutDocuments(command) => self.put_all(&command.puts),
            DirectoryCommand::PublishManifest(command) => self.publish(&command.json, time),
            DirectoryCommand::RegisterDevice(command) => {
                let code = command.activation_hash[0];
                self.enlist(&command.device_id, code)?;
                if !self.outlets.iter().any(|known| known.0.outlet_id == command.outlet_id) {
                    return Err("OUTLET_UNKNOWN");
                }
                self.add(&command.device_id, code);
                Ok(())
            }
            DirectoryCommand::ActivateDevice(command) => self.activate(command),
            DirectoryCommand::ReplaceDevice(command) => {
                let device = self.device(&command.device_id).ok_or("DEVICE_UNKNOWN")?;
                if !matches!(device.1, "registered" | "active") {
                    return Err("DEVICE_TRANSITION");
                }
                let code = command.activation_hash[0];
                self.enlist(&command.replacement_id, code)?;
                self.device(&command.device_id).unwrap().1 = "replaced";
                self.add(&command.replacement_id, code);
                Ok(())
            }
            DirectoryCommand::RecordCheckpoint(command) => {
                self.record_checkpoint(command.group, command.size)
            }
            DirectoryCommand::ReopenDevice(command) => self.reopen(command),
            DirectoryCommand::RevokeDevice(command) => {
                let device = self.device(&command.device_id).ok_or("DEVICE_UNKNOWN")?;
                if !matches!(device.1, "registered" | "active") {
                    return Err("DEVICE_TRANSITION");
                }
                device.1 = "revoked";
                Ok(())
            }
        }
    }

    fn register_outlet(&mut self, fact: &OutletFact) -> Result<(), &'static str> {
        if fact.prefix.chars().any(|letter| letter.is_ascii_lowercase()) || fact.group == 0 {
            return Err("FIELD_INVALID");
        }
        if self.outlets.iter().any(|known| known.0.outlet_id == fact.outlet_id) {
            return Err("OUTLET_EXISTS");
        }
        let space = |known: &OutletFact| (known.prefix.clone(), known.code.clone());
        if self.outlets.iter().any(|known| space(&known.0) == space(fact)) {
            return Err("NUMBER_SPACE_TAKEN");
        }
        self.outlets.push((fact.clone(), 1));
        Ok(())
    }

    fn change_outlet(&mut self, command: &ChangeOutlet) -> Result<(), &'static str> {
        let id = &command.fact.outlet_id;
        let known = self.outlets.iter_mut().find(|known| known.0.outlet_id == *id);
        let known = known.ok_or("OUTLET_UNKNOWN")?;
        if known.1 != command.expected_version {
            return Err("VERSION_CONFLICT");
        }
        let mut changeable = command.fact.clone();
        changeable.status = known.0.status;
        changeable.signing_mode = known.0.signing_mode;
        if changeable != known.0 || known.0.status == OutletStatus::Closed {
            return Err("OUTLET_IDENTITY_FIXED");
        }
        *known = (command.fact.clone(), known.1 + 1);
        Ok(())
    }

    fn put(&mut self, command: &PutDocument) -> Result<(), &'static str> {
        if !["note", TAX_AUTHORITY_KEY_KIND].contains(&&*command.kind) {
            return Err("DOCUMENT_KIND_RESERVED");
        }
        let known = self.notes.iter_mut().find(|known| known.0 == command.id);
        if known.as_ref().map_or(0, |known| known.1) != command.expected_version {
            return Err("VERSION_CONFLICT");
        }
        match known {
            Some(known) => known.1 += 1,
            None => self.notes.push((command.id.clone(), 1)),
        }
        Ok(())
    }

    /// On a copy that is thrown away when one of them fails.
    fn put_all(&mut self, puts: &[PutDocument]) -> Result<(), &'static str> {
        let long: usize = puts.iter().map(|put| put.bytes.len()).sum();
        let mut names: Vec<_> = puts.iter().map(|put| (&put.kind, &put.id)).collect();
        names.sort();
        names.dedup();
        if puts.is_empty() || puts.len() > 16 || names.len() < puts.len() || long > 512 * 1024 {
            return Err("FIELD_INVALID");
        }
        let before = self.notes.clone();
        for put in puts {
            if let Err(code) = self.put(put) {
                self.notes = before;
                return Err(code);
            }
        }
        Ok(())
    }

    fn record_checkpoint(&mut self, group: u64, size: u64) -> Result<(), &'static str> {
        if group == 0 {
            return Err("FIELD_INVALID");
        }
        let last = self.checkpoints.iter().rev().find(|known| known.0 == group);
        if last.map_or(0, |known| known.1) >= size {
            return Err("VERSION_CONFLICT");
        }
        self.checkpoints.push((group, size));
        Ok(())
    }

    fn publish(&mut self, json: &str, time: u64) -> Result<(), &'static str> {
        let manifest = Manifest::parse(json).map_err(|_| "DOCUMENT_INVALID")?;
        let version = Id::from(manifest.version());
        let late = !self.manifests.is_empty() && manifest.effective_from().get() <= time;
        if self.manifests.contains(&version) || late {
            return Err("MANIFEST_CONFLICT");
        }
        self.manifests.push(version);
        Ok(())
    }

    fn reopen(&mut self, command: &ReopenDevice) -> Result<(), &'static str> {
        match self.device(&command.device_id).ok_or("DEVICE_UNKNOWN")?.1 {
            "registered" => return Err("DEVICE_NOT_ACTIVE"),
            "replaced" | "revoked" => return Err("DEVICE_REVOKED"),
            _ => {}
        }
        if !self.notes.iter().any(|known| &*known.0 == TAX_AUTHORITY_KEY_ID) {
            return Err("DEVICE_LEAVE_INVALID");
        }
        let opened = self.lives.iter().filter(|known| known.0 == command.device_id).count();
        let next = 2 + u64::try_from(opened).unwrap();
        if next > 2 && command.leave == leave(&command.device_id, next - 1) {
            return Ok(());
        }
        if command.leave != leave(&command.device_id, next) {
            return Err("DEVICE_LEAVE_INVALID");
        }
        self.lives.push((command.device_id.clone(), next));
        Ok(())
    }

    fn activate(&mut self, command: &ActivateDevice) -> Result<(), &'static str> {
        if command.public_key.is_empty() {
            return Err("FIELD_INVALID");
        }
        let code = command.activation_hash[0];
        let known = self.codes.iter().position(|known| known.0 == code && !known.2);
        let known = known.ok_or("ACTIVATION_INVALID")?;
        let id = self.codes[known].1.clone();
        let device = self.device(&id).unwrap();
        if device.1 != "registered" {
            return Err("DEVICE_TRANSITION");
        }
        device.1 = "active";
        self.codes[known].2 = true;
        Ok(())
    }
}

fn tax_authority() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// The tax authority's leave for a life.
fn leave(device_id: &str, life: u64) -> [u8; 64] {
    tax_authority().sign(leave_message(device_id, life).as_bytes()).to_bytes()
}

fn fact(random: &mut Random) -> OutletFact {
    OutletFact {
        outlet_id: (*random.pick(&["o1", "o2", "o3"])).into(),
        merchant_nif: (*random.pick(&["M1", "M1", "M1", "M2"])).into(),
        prefix: (*random.pick(&["KIN", "KIN", "GOM", "kin"])).into(),
        code: (*random.pick(&["A", "B"])).into(),
        group: *random.pick(&[1, 1, 1, 1, 2, 0]),
        status: *random.pick(&[
            OutletStatus::Active,
            OutletStatus::Active,
            OutletStatus::Suspended,
            OutletStatus::Closed,
        ]),
        environment: Environment::Live,
        signing_mode: *random.pick(&[SigningMode::Cluster, SigningMode::Def]),
    }
}

fn put_document(random: &mut Random) -> PutDocument {
    PutDocument {
        kind: (*random.pick(&["note", "note", "note", "outlet", "device"])).into(),
        id: (*random.pick(&["n1", "n2", "n3", "n4"])).into(),
        expected_version: random.below(3),
        bytes: random.bytes().to_vec(),
    }
}

fn command(random: &mut Random, registry: &Registry) -> DirectoryCommand {
    let device = |random: &mut Random| Id::from(*random.pick(&["d1", "d2", "d3", "d4"]));
    let activation_hash = |random: &mut Random| [u8::try_from(random.below(6)).unwrap(); 32];
    match random.below(12) {
        0 => DirectoryCommand::RegisterOutlet(RegisterOutlet { fact: fact(random) }),
        1 => {
            let mut fact = fact(random);
            if !registry.outlets.is_empty() && random.percent(70) {
                let known = random.pick(&registry.outlets).0.clone();
                fact = OutletFact { status: fact.status, signing_mode: fact.signing_mode, ..known };
            }
            let expected_version = random.between(1, 3);
            DirectoryCommand::ChangeOutlet(ChangeOutlet { fact, expected_version })
        }
        2 => DirectoryCommand::PutDocument(put_document(random)),
        8 => {
            let most = if random.percent(5) { 18 } else { 3 };
            let count = random.below(most);
            let mut puts: Vec<_> = (0..count).map(|_| put_document(random)).collect();
            if random.percent(5) {
                for put in &mut puts {
                    put.bytes = vec![7; 256 * 1024];
                }
            }
            DirectoryCommand::PutDocuments(PutDocuments { puts })
        }
        3 => {
            let day = random.between(19, 23);
            let json = Manifest::builtin().to_json();
            let json =
                json.replace("\"version\":\"2026-02-01\"", &format!("\"version\":\"v{day}\""));
            let date = format!("2026-11-{day}T00:00:00.000Z");
            let mut json = json.replace("2026-02-01T00:00:00.000Z", &date);
            if random.percent(10) {
                json.push('x');
            }
            DirectoryCommand::PublishManifest(PublishManifest { json })
        }
        4 => DirectoryCommand::RegisterDevice(RegisterDevice {
            device_id: device(random),
            outlet_id: (*random.pick(&["o1", "o2", "o3"])).into(),
            activation_hash: activation_hash(random),
        }),
        5 => DirectoryCommand::ActivateDevice(ActivateDevice {
            activation_hash: activation_hash(random),
            public_key: vec![4; if random.percent(90) { 65 } else { 0 }],
        }),
        6 => DirectoryCommand::ReplaceDevice(ReplaceDevice {
            device_id: device(random),
            replacement_id: device(random),
            activation_hash: activation_hash(random),
        }),
        9 => DirectoryCommand::RecordCheckpoint(RecordCheckpoint {
            group: random.below(3),
            size: random.below(20),
            root: random.bytes(),
        }),
        10 | 11 => {
            let device_id = device(random);
            let leave = leave(&device_id, random.between(1, 4));
            DirectoryCommand::ReopenDevice(ReopenDevice { device_id, leave })
        }
        _ => DirectoryCommand::RevokeDevice(RevokeDevice { device_id: device(random) }),
    }
}

/// One random life of a directory, on a steady replica and on one that restarts after every entry.
pub(crate) fn directory_sequence(seed: u64) {
    let mut random = Random::new(seed);
    let mut registry = Registry::default();
    let (mut steady, mut restarting) = (Store::new(0), Store::new(0));
    let (announce, authority_id) = prepare(0, Environment::Live, 0);
    let mut commands = vec![
        DirectoryCommand::System(SystemCommand::PrepareAuthority(announce)),
        DirectoryCommand::System(SystemCommand::ActivateAuthority(ActivateAuthority {
            authority_id,
        })),
    ];
    if random.percent(80) {
        let key = encode_standard(tax_authority().verifying_key().as_bytes());
        commands.push(DirectoryCommand::PutDocument(PutDocument {
            kind: TAX_AUTHORITY_KEY_KIND.into(),
            id: TAX_AUTHORITY_KEY_ID.into(),
            expected_version: 0,
            bytes: format!("\"{key}\"").into_bytes(),
        }));
    }
    for log_index in 1..=random.between(6, 12) {
        let stamp = START + log_index * 20_000_000;
        let entry = Entry {
            log_index,
            apply_version: 1,
            stamp: UnixMs::new(stamp),
            seed: random.bytes(),
            commands: commands.clone(),
        };
        let expected: Vec<_> =
            commands.iter().map(|command| registry.apply(command, stamp)).collect();
        let (outcomes, effects) = steady.commit(&entry);
        let again = restarting.commit(&entry);
        assert_eq!((&outcomes, &effects), (&again.0, &again.1), "a restart changes the effects");
        restarting.restart();
        for ((outcome, expected), command) in outcomes.iter().zip(&expected).zip(&commands) {
            let told = match outcome {
                Outcome::Refused(refusal) => Err(refusal.code()),
                Outcome::Recorded(_) | Outcome::Done | Outcome::Unchanged => Ok(()),
                other => panic!("{other:?} to {command:?}"),
            };
            assert_eq!(told, *expected, "{command:?}");
        }
        let kept = |outcome: &Outcome| matches!(outcome, Outcome::Refused(_) | Outcome::Unchanged);
        if outcomes.iter().all(kept) {
            assert!(
                effects.rows.is_empty() && effects.leaves.is_empty(),
                "a refusal changes state"
            );
        }
        let count = random.between(1, 5);
        commands.clear();
        // A command is made for the registry as it stands before the entry.
        commands.extend((0..count).map(|_| command(&mut random, &registry)));
    }
}
