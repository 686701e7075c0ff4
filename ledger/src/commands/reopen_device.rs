//! Opens a device's next life (`ADM|RESET`): the tax authority has to have given leave for just this one.
//!
//! A device's life is its document's version less one: it is registered in version 1, begins its first life when it is
//! activated, in version 2, and nothing but a leave makes another version in which it is active. So a leave names a life
//! that comes once. Numbers are the outlet's, and no life of a device begins them anew.

use ed25519_dalek::{Signature, VerifyingKey};

use super::Context;
use super::directory_fact::{append_to_group, device_object};
use super::no_authority;
use super::register_device::{device_key, device_unknown, find_device};
use crate::apply::ApplyError;
use crate::base64::{decode_standard, encode_standard};
use crate::facts::{DeviceState, Fact};
use crate::outcome::{Outcome, RefusalCode};
use crate::payload::Object;
use crate::record::RecordKind;
use crate::state::Id;
use crate::state::registry::{Document, DocumentKey};
use crate::state::working::Reads;

/// The kind of the document that holds the tax authority's key for devices: a JSON string, its base64.
pub const TAX_AUTHORITY_KEY_KIND: &str = "tax_authority_key";
/// The id of that document.
pub const TAX_AUTHORITY_KEY_ID: &str = "devices";

/// A device's next life, and the leave for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReopenDevice {
    /// The device.
    pub device_id: Id,
    /// The tax authority's Ed25519 signature over [`leave_message`].
    pub leave: [u8; 64],
}

/// What the tax authority signs to let a device begin a life.
#[must_use]
pub fn leave_message(device_id: &str, life: u64) -> String {
    format!("ADM|RESET|{device_id}|{life}")
}

/// The life that an active device is in, by its document's version.
#[must_use]
pub fn life_of(version: u64) -> u64 {
    version.saturating_sub(1)
}

/// The key in a document that holds the tax authority's.
#[must_use]
pub fn read_tax_authority_key(document: &[u8]) -> Option<VerifyingKey> {
    let text = std::str::from_utf8(document).ok()?;
    let key = decode_standard(text.strip_prefix('"')?.strip_suffix('"')?)?;
    VerifyingKey::from_bytes(&key.try_into().ok()?).ok()
}

impl ReopenDevice {
    pub(super) fn read(&self, reads: &mut Reads) {
        reads.documents.insert(device_key(&self.device_id));
        reads.documents.insert(key_document());
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        let Some((fact, version)) = find_device(cx, &self.device_id)? else {
            return Ok(device_unknown(&self.device_id));
        };
        let refused = |code, detail: String| Ok(Outcome::refused(code, detail));
        match fact.state {
            DeviceState::Active => {}
            DeviceState::Registered => {
                let detail = format!("device {} has no life yet; activate it", self.device_id);
                return refused(RefusalCode::DeviceNotActive, detail);
            }
            DeviceState::Replaced { .. } | DeviceState::Revoked => {
                let detail = format!("device {} is {}", self.device_id, fact.state.as_str());
                return refused(RefusalCode::DeviceRevoked, detail);
            }
        }
        let document = cx.state.documents.get(&key_document())?;
        let Some(key) = document.and_then(|document| read_tax_authority_key(&document.bytes))
        else {
            let detail = "no key of the tax authority is registered that could give leave for this";
            return refused(RefusalCode::DeviceLeaveInvalid, detail.to_owned());
        };
        let life = life_of(version);
        if life > 1 && self.is_for(life, &key) {
            return Ok(Outcome::Unchanged);
        }
        if !self.is_for(life + 1, &key) {
            let detail = format!(
                "this is no leave of the tax authority for life {} of device {}",
                life + 1,
                self.device_id
            );
            return refused(RefusalCode::DeviceLeaveInvalid, detail);
        }
        let Some(authority) = cx.state.group.chain_authority() else { return Ok(no_authority()) };
        let authority_id = authority.id.clone();
        let leave = Object::new()
            .text("public_key", &encode_standard(key.as_bytes()))
            .text("signature", &encode_standard(&self.leave))
            .finish();
        let object = device_object(&fact, Some("reset"), version + 1);
        let payload = object.count("life", life + 1).json("leave", &leave).finish();
        let bytes = Fact::Device(fact).encode();
        let document = Document { version: version + 1, bytes };
        cx.state.documents.put(device_key(&self.device_id), document);
        Ok(append_to_group(cx, RecordKind::Device, &authority_id, &payload))
    }

    fn is_for(&self, life: u64, key: &VerifyingKey) -> bool {
        let message = leave_message(&self.device_id, life);
        key.verify_strict(message.as_bytes(), &Signature::from_bytes(&self.leave)).is_ok()
    }
}

fn key_document() -> DocumentKey {
    (TAX_AUTHORITY_KEY_KIND.into(), TAX_AUTHORITY_KEY_ID.into())
}
