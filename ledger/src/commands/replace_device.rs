//! Replaces a device by a new one of the same outlet, which still has to be activated.

use super::register_device::{
    claim_number_space, device_key, device_unknown, find_device, number_space, put_device,
    refuse_new_device, wrong_transition,
};
use super::{Context, no_authority};
use crate::apply::ApplyError;
use crate::facts::{DeviceFact, DeviceState};
use crate::hash::Hash32;
use crate::outcome::Outcome;
use crate::state::Id;
use crate::state::registry::Activation;
use crate::state::working::Reads;

/// Takes one device out of service and registers its successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplaceDevice {
    /// The device that leaves.
    pub device_id: Id,
    /// The device that comes.
    pub replacement_id: Id,
    /// BLAKE3 of the new device's activation code.
    pub activation_hash: Hash32,
}

impl ReplaceDevice {
    pub(super) fn read(&self, reads: &mut Reads) {
        reads.documents.insert(device_key(&self.device_id));
        reads.documents.insert(device_key(&self.replacement_id));
        reads.activations.insert(self.activation_hash);
        reads.number_spaces.extend(number_space(&self.replacement_id));
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        let Some((mut fact, version)) = find_device(cx, &self.device_id)? else {
            return Ok(device_unknown(&self.device_id));
        };
        if !matches!(fact.state, DeviceState::Registered | DeviceState::Active) {
            return Ok(wrong_transition(&fact));
        }
        if let Some(refusal) = refuse_new_device(cx, &self.replacement_id, &self.activation_hash)? {
            return Ok(refusal);
        }
        if cx.state.group.chain_authority().is_none() {
            return Ok(no_authority());
        }
        let unused = Activation { device_id: self.replacement_id.clone(), used: false };
        cx.state.activations.put(self.activation_hash, unused);
        claim_number_space(cx, &self.replacement_id, &fact.outlet_id);
        let replacement = DeviceFact {
            device_id: self.replacement_id.clone(),
            outlet_id: fact.outlet_id.clone(),
            state: DeviceState::Registered,
            public_key: Vec::new(),
        };
        fact.state = DeviceState::Replaced { by: self.replacement_id.clone() };
        put_device(cx, fact, version + 1);
        Ok(put_device(cx, replacement, 1))
    }
}
