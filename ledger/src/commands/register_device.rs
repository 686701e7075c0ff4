//! Registers a fiscal device for an outlet, with a single-use activation code.

use super::directory_fact::{append_to_group, device_payload};
use super::{Context, field_invalid, no_authority, outlet_unknown};
use crate::apply::ApplyError;
use crate::facts::{DeviceFact, DeviceState, Fact, FactKind, is_code, is_identifier};
use crate::hash::Hash32;
use crate::outcome::{Outcome, RefusalCode};
use crate::record::RecordKind;
use crate::state::Id;
use crate::state::registry::{Activation, Document, DocumentKey, NumberSpace, NumberSpaceKey};
use crate::state::working::Reads;

/// Registers one device. Only the code's hash ever reaches the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterDevice {
    /// The device.
    pub device_id: Id,
    /// The one outlet that it will serve.
    pub outlet_id: Id,
    /// BLAKE3 of the activation code.
    pub activation_hash: Hash32,
}

impl RegisterDevice {
    pub(super) fn read(&self, reads: &mut Reads) {
        reads.documents.insert(device_key(&self.device_id));
        reads.documents.insert(("outlet".into(), self.outlet_id.clone()));
        reads.activations.insert(self.activation_hash);
        reads.number_spaces.extend(number_space(&self.device_id));
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        if let Some(refusal) = refuse_new_device(cx, &self.device_id, &self.activation_hash)? {
            return Ok(refusal);
        }
        if cx.state.documents.get(&("outlet".into(), self.outlet_id.clone()))?.is_none() {
            return Ok(outlet_unknown(&self.outlet_id));
        }
        if cx.state.group.chain_authority().is_none() {
            return Ok(no_authority());
        }
        let used = Activation { device_id: self.device_id.clone(), used: false };
        cx.state.activations.put(self.activation_hash, used);
        claim_number_space(cx, &self.device_id, &self.outlet_id);
        let fact = DeviceFact {
            device_id: self.device_id.clone(),
            outlet_id: self.outlet_id.clone(),
            state: DeviceState::Registered,
            public_key: Vec::new(),
        };
        Ok(put_device(cx, fact, 1))
    }
}

/// Whether a new device's id and code can be used.
pub(super) fn refuse_new_device(
    cx: &Context<'_>,
    device_id: &Id,
    activation_hash: &Hash32,
) -> Result<Option<Outcome>, ApplyError> {
    if !is_identifier(device_id) {
        return Ok(Some(field_invalid("device_id", "must have 1 to 64 printable bytes")));
    }
    if cx.state.documents.get(&device_key(device_id))?.is_some() {
        let detail = format!("device {device_id} is registered already");
        return Ok(Some(Outcome::refused(RefusalCode::DeviceExists, detail)));
    }
    if cx.state.activations.get(activation_hash)?.is_some() {
        let detail = "this activation code was given out before; make a new one";
        return Ok(Some(Outcome::refused(RefusalCode::ActivationInvalid, detail)));
    }
    if let Some(space) = number_space(device_id)
        && let Some(taken) = cx.state.number_spaces.get(&space)?
    {
        let detail = format!(
            "numbers that begin with {device_id} belong to outlet {}; give the device another id",
            taken.outlet_id
        );
        return Ok(Some(Outcome::refused(RefusalCode::NumberSpaceTaken, detail)));
    }
    Ok(None)
}

/// The prefix and the code that a device's series would look like, if it looks like an outlet's at all.
pub(super) fn number_space(device_id: &str) -> Option<NumberSpaceKey> {
    let (prefix, code) = device_id.split_once('-')?;
    (is_code(prefix) && is_code(code)).then(|| (Id::from(prefix), Id::from(code)))
}

/// No outlet will ever have numbers that look like this device's. The caller has checked that none has.
pub(super) fn claim_number_space(cx: &mut Context<'_>, device_id: &Id, outlet_id: &Id) {
    if let Some(space) = number_space(device_id) {
        cx.state.number_spaces.put(space, NumberSpace { outlet_id: outlet_id.clone() });
    }
}

pub(super) fn device_key(device_id: &Id) -> DocumentKey {
    ("device".into(), device_id.clone())
}

/// A device's document and its version.
pub(super) fn find_device(
    cx: &Context<'_>,
    device_id: &Id,
) -> Result<Option<(DeviceFact, u64)>, ApplyError> {
    let Some(document) = cx.state.documents.get(&device_key(device_id))? else { return Ok(None) };
    match Fact::decode(FactKind::Device, &document.bytes) {
        Ok(Fact::Device(fact)) => Ok(Some((fact, document.version))),
        _ => Err(ApplyError::DamagedDocument { kind: "device", id: device_id.clone() }),
    }
}

pub(super) fn device_unknown(device_id: &str) -> Outcome {
    let detail = format!("device {device_id} is not registered");
    Outcome::refused(RefusalCode::DeviceUnknown, detail)
}

pub(super) fn wrong_transition(fact: &DeviceFact) -> Outcome {
    let detail = format!("device {} is {} already", fact.device_id, fact.state.as_str());
    Outcome::refused(RefusalCode::DeviceTransition, detail)
}

/// Writes a device's document and its record. The caller has checked that an authority is active.
pub(super) fn put_device(cx: &mut Context<'_>, fact: DeviceFact, version: u64) -> Outcome {
    let authority = cx.state.group.chain_authority().expect("the caller has checked it");
    let authority_id = authority.id.clone();
    let payload = device_payload(&fact, version);
    let key = device_key(&fact.device_id);
    cx.state.documents.put(key, Document { version, bytes: Fact::Device(fact).encode() });
    append_to_group(cx, RecordKind::Device, &authority_id, &payload)
}
