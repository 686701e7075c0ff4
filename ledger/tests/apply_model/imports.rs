//! What real devices seal, made and modelled.

use std::rc::Rc;

use fiscus_ledger::commands::{GroupCommand, ImportDeviceSeal, Submitted};
use fiscus_ledger::device_seal::{DeviceSeal, entry_hash, journal_origin};
use fiscus_ledger::facts::DeviceState;
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::invoice::parse_strict;
use fiscus_ledger::state::Id;
use fiscus_ledger::time::UnixMs;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};

use crate::answer::{Answer, Step};
use crate::generate::{DEVICES, Generator};
use crate::model::{Checked, Model, refuse};

/// A device's key, and another one of nobody.
fn key(device: &str) -> SigningKey {
    let seed = device.bytes().last().unwrap();
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

/// A device's public key as the directory tells it.
pub(crate) fn public_key(device: &str) -> Vec<u8> {
    key(device).verifying_key().to_sec1_point(device == DEVICES[1]).as_bytes().to_vec()
}

impl Generator {
    /// Lets a device seal once more and imports it, now and then wrongly, or again.
    pub(crate) fn import(&mut self, model: &Model) -> Step<GroupCommand> {
        if !self.imports.is_empty() && self.random.percent(20) {
            return self.random.pick(&self.imports).clone();
        }
        let (outlet_id, terminal) = (self.outlet(), self.terminal());
        let device_id = Id::from(*self.random.pick(&DEVICES));
        let time = model.system.time;
        let (plan, invoice) = self.plan(model, &outlet_id, &terminal, time);
        let before: &[Hash32] =
            model.shop(&outlet_id).map_or(&[], |shop| shop.imported(&device_id));
        let seal = DeviceSeal {
            device_id: device_id.clone(),
            sequence: u64::try_from(before.len()).unwrap() + 1,
            // A device's clock is anything.
            timestamp: UnixMs::new(self.random.below(2 * time)),
            prev_hash: before.last().copied().unwrap_or_else(|| journal_origin(&device_id)),
            signature: [0; 64],
            invoice,
        };
        let command = GroupCommand::ImportDeviceSeal(ImportDeviceSeal { outlet_id, seal });
        let mut step = Step { plan: Some(Rc::new(plan)), ..Step::plain(command) };
        let spoiled = self.random.below(24);
        let GroupCommand::ImportDeviceSeal(command) = &mut step.command else { return step };
        match spoiled {
            0 => command.seal.sequence += 1,
            1 => command.seal.sequence = command.seal.sequence.saturating_sub(1),
            2 => command.seal.prev_hash = [7; 32],
            _ => {}
        }
        self.sign_import(&mut step, spoiled);
        self.imports.push(step.clone());
        step
    }

    fn sign_import(&self, step: &mut Step<GroupCommand>, spoiled: u64) {
        let plan = step.plan.clone().unwrap();
        let manifests = self.manifests();
        let manifest = manifests.iter().find(|known| *known.version() == *plan.manifest.0);
        let GroupCommand::ImportDeviceSeal(command) = &mut step.command else { return };
        let seal = &mut command.seal;
        let Ok(invoice) = parse_strict(&seal.invoice, manifest.unwrap()) else { return };
        let entry = seal.entry(&invoice);
        step.hash = entry_hash(&entry);
        let signer = if spoiled == 3 { "nobody" } else { &seal.device_id };
        let signature: Signature = key(signer).sign(entry.as_bytes());
        seal.signature.copy_from_slice(&signature.to_bytes());
        match spoiled {
            3 => step.genuine = false,
            4 => {
                seal.signature[40] ^= 1;
                step.genuine = false;
            }
            5 => {
                seal.timestamp = UnixMs::new(seal.timestamp.get() + 1);
                step.genuine = false;
            }
            _ => {}
        }
    }
}

impl Model {
    pub(crate) fn import(
        &mut self,
        command: &ImportDeviceSeal,
        step: &Step<GroupCommand>,
    ) -> Checked<Answer> {
        let (seal, plan) = (&command.seal, step.plan.as_ref().unwrap());
        let outlet_id = &command.outlet_id;
        let shop = self.known(outlet_id)?;
        let submitted =
            Submitted { outlet_id: outlet_id.clone(), key: seal.key(), fingerprint: seal.digest() };
        self.not_submitted("import", &submitted).map_err(|answer| match answer {
            Answer::Refused(_) => Answer::Refused("DEVICE_SEAL_CONFLICT"),
            same => same,
        })?;
        let known = |(_, fact): &&(u64, _)| {
            let fact: &fiscus_ledger::facts::DeviceFact = fact;
            fact.device_id == seal.device_id && fact.outlet_id == *outlet_id
        };
        let Some((_, device)) = self.devices.iter().find(known) else {
            return refuse("DEVICE_UNKNOWN");
        };
        match device.state {
            DeviceState::Registered => return refuse("DEVICE_NOT_ACTIVE"),
            DeviceState::Revoked => return refuse("DEVICE_REVOKED"),
            DeviceState::Active | DeviceState::Replaced { .. } => {}
        }
        let before = self.shops[shop].imported(&seal.device_id);
        if usize::try_from(seal.sequence).unwrap() != before.len() + 1 {
            return refuse("DEVICE_SEAL_OUT_OF_ORDER");
        }
        let origin = journal_origin(&seal.device_id);
        if seal.prev_hash != *before.last().unwrap_or(&origin) {
            return refuse("DEVICE_SEAL_LINK_BROKEN");
        }
        if seal.device_id.chars().any(char::is_lowercase) {
            return refuse("DEVICE_SERIES_INVALID");
        }
        if device.public_key != public_key(&seal.device_id) {
            return refuse("DEVICE_KEY_INVALID");
        }
        self.authority(shop)?;
        if let Some(problem) = plan.problem(self.system.named_before(&plan.manifest.0)) {
            return refuse(problem);
        }
        if !step.genuine {
            return refuse("DEVICE_SEAL_SIGNATURE_INVALID");
        }
        self.same_identity(shop, plan, &plan.terminal)?;
        self.fits_original(shop, plan)?;
        let number = format!("{}-{}", seal.device_id, seal.sequence);
        let kind = format!("def_{}", plan.kind.as_str());
        let answer = self.write(shop, &kind, Some((number, plan.clone())))?;
        self.shops[shop].note_import(&seal.device_id, step.hash);
        self.submit("import", &submitted, shop);
        Ok(answer)
    }
}
