//! Revokes a device for good.

use super::register_device::{
    device_key, device_unknown, find_device, put_device, wrong_transition,
};
use super::{Context, no_authority};
use crate::apply::ApplyError;
use crate::facts::DeviceState;
use crate::outcome::Outcome;
use crate::state::Id;
use crate::state::working::Reads;

/// Revokes one device. A registered one loses its activation code with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeDevice {
    /// The device.
    pub device_id: Id,
}

impl RevokeDevice {
    pub(super) fn read(&self, reads: &mut Reads) {
        reads.documents.insert(device_key(&self.device_id));
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        let Some((mut fact, version)) = find_device(cx, &self.device_id)? else {
            return Ok(device_unknown(&self.device_id));
        };
        if !matches!(fact.state, DeviceState::Registered | DeviceState::Active) {
            return Ok(wrong_transition(&fact));
        }
        if cx.state.group.chain_authority().is_none() {
            return Ok(no_authority());
        }
        fact.state = DeviceState::Revoked;
        Ok(put_device(cx, fact, version + 1))
    }
}
