//! Activates a device with its code: the code is used up and the device's key is bound for good.

use super::register_device::{device_unknown, find_device, put_device, wrong_transition};
use super::{Context, field_invalid, no_authority};
use crate::apply::ApplyError;
use crate::facts::{DEVICE_KEY_BYTES_MAX, DeviceState};
use crate::hash::Hash32;
use crate::outcome::{Outcome, RefusalCode};
use crate::state::working::Reads;

/// Activates the device that the code was given out for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivateDevice {
    /// BLAKE3 of the activation code.
    pub activation_hash: Hash32,
    /// The device's public key.
    pub public_key: Vec<u8>,
}

impl ActivateDevice {
    pub(super) fn read(&self, reads: &mut Reads) {
        reads.activations.insert(self.activation_hash);
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        if !(1..=DEVICE_KEY_BYTES_MAX).contains(&self.public_key.len()) {
            return Ok(field_invalid("public_key", "must have 1 to 96 bytes"));
        }
        let activation = cx.state.activations.get(&self.activation_hash)?;
        let Some(activation) = activation.filter(|activation| !activation.used).cloned() else {
            let detail =
                "this activation code is unknown or was used; ask the operator for a new one";
            return Ok(Outcome::refused(RefusalCode::ActivationInvalid, detail));
        };
        let Some((mut fact, version)) = find_device(cx, &activation.device_id)? else {
            return Ok(device_unknown(&activation.device_id));
        };
        if fact.state != DeviceState::Registered {
            return Ok(wrong_transition(&fact));
        }
        if cx.state.group.chain_authority().is_none() {
            return Ok(no_authority());
        }
        let row = cx.state.activations.get_mut(&self.activation_hash)?;
        row.expect("it was there above").used = true;
        fact.state = DeviceState::Active;
        fact.public_key.clone_from(&self.public_key);
        Ok(put_device(cx, fact, version + 1))
    }
}
