//! Devices' lives, in the directory's own journal: a device begins its first one when it is activated, in version 2 of its
//! document, and each further one with the tax authority's leave for just that one.
//!
//! A leave is checked with the key that its record names. Whether that is the tax authority's, only the auditor knows: a
//! policy may say so.

use std::collections::BTreeMap;

use ed25519_dalek::VerifyingKey;

use crate::batch::is_signed;
use crate::encoding::from_base64;
use crate::failure::{Failure, Kind};
use crate::policy::Policy;
use crate::value::Value;

/// The version in which a device is activated.
const ACTIVATED: u64 = 2;

fn failure(kind: Kind, detail: impl Into<String>) -> Failure {
    Failure::new(kind, "device leave", detail)
}

/// Checks the event of a device as it stands in the directory's own journal, alone.
pub(crate) fn check(event: &Value, policy: &Policy) -> Result<(), Failure> {
    let unreadable = || failure(Kind::Format, "it tells of no device's life");
    let device = event.text("device_id").ok_or_else(unreadable)?;
    let version = event.count("version").filter(|version| *version > 0).ok_or_else(unreadable)?;
    let active = event.text("state").ok_or_else(unreadable)? == "active";
    let names = ["event", "life", "leave"];
    if names.iter().all(|name| event.member(name).is_none()) {
        if active && version != ACTIVATED {
            let detail = format!("{device} begins life {} without a leave for it", version - 1);
            return Err(failure(Kind::Signature, detail));
        }
        return Ok(());
    }
    let leave = event.member("leave").ok_or_else(unreadable)?;
    let life = event.count("life").ok_or_else(unreadable)?;
    if event.text("event") != Some("reset") || !active || version <= ACTIVATED {
        return Err(unreadable());
    }
    if life != version - 1 {
        let detail = format!("version {version} of {device} is not its life {life}");
        return Err(failure(Kind::Chain, detail));
    }
    let key = leave.text("public_key").and_then(key).ok_or_else(unreadable)?;
    let signature = leave.text("signature").and_then(from_base64);
    let signature = signature.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
    let signature = signature.ok_or_else(unreadable)?;
    if !policy.lets_devices_begin(&key) {
        let detail = format!(
            "the leave for life {life} of {device} is by a key that the policy does not name"
        );
        return Err(failure(Kind::Signature, detail));
    }
    let message = format!("ADM|RESET|{device}|{life}");
    if !is_signed(&key, message.as_bytes(), &signature) {
        let detail = format!("the leave for life {life} of {device} is not signed with its key");
        return Err(failure(Kind::Signature, detail));
    }
    Ok(())
}

/// A key of the tax authority in base64.
pub(crate) fn key(text: &str) -> Option<VerifyingKey> {
    let bytes: [u8; 32] = from_base64(text)?.try_into().ok()?;
    VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak())
}

/// The versions of devices' documents, one after the other: a life begins once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lives {
    versions: BTreeMap<String, u64>,
}

impl Lives {
    /// Takes the next event of the directory's own journal.
    pub(crate) fn goes_on(&mut self, event: &Value, complete: bool) -> Result<(), Failure> {
        let names = event.text("device_id").zip(event.count("version"));
        let (device, version) =
            names.ok_or_else(|| failure(Kind::Format, "it tells of no device's life"))?;
        let before = self.versions.insert(device.to_owned(), version);
        // In a journal that begins in the middle, the first word of a device is of any version.
        let Some(next) = before.or(complete.then_some(0)).map(|before| before.saturating_add(1))
        else {
            return Ok(());
        };
        if version == next {
            return Ok(());
        }
        let kind = if version < next { Kind::Duplicate } else { Kind::Gap };
        Err(failure(kind, format!("version {version} of {device} comes where {next} should")))
    }
}
