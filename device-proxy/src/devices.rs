//! The devices of this proxy, as the directory has them, and the tax authority's key, which is registered nowhere else.
//!
//! ```text
//! nodes ── WatchDocuments ──► follow ──► standing of each device ──► hosts look, before each command
//! ```
//!
//! A proxy that hears nothing goes on with what it knows: without the cluster nothing is sealed anyway, and
//! every replica checks the device once more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use fiscus_ledger::commands::{
    TAX_AUTHORITY_KEY_ID, TAX_AUTHORITY_KEY_KIND, read_tax_authority_key,
};
use fiscus_ledger::facts::{DeviceFact, DeviceState, Fact, FactKind};
use fiscus_proto::client::ClusterClient;
use fiscus_proto::ledger::Document;
use fiscus_proto::ledger::document_event::Event;
use futures_util::StreamExt;
use tokio::time::{Instant, sleep};

use crate::config::DeviceSection;
use crate::protocol::Standing;

/// The kind of document.
pub(crate) const DEVICE: &str = "device";
/// Before the directory is asked again when it ended.
const PAUSE: Duration = Duration::from_millis(200);

/// What is known of the devices.
#[derive(Debug)]
pub(crate) struct Devices {
    /// By id: the version and the fact of those that are registered. Held to look or to note, never while
    /// waiting.
    known: Mutex<BTreeMap<String, Option<(u64, DeviceFact)>>>,
    /// The version of the tax authority's key, and the key when it is one. Held the same way.
    authority: Mutex<(u64, Option<VerifyingKey>)>,
    heard: AtomicBool,
    began: Instant,
    /// Milliseconds from `began` to when the directory was last heard of fresh.
    heard_ms: AtomicU64,
}

impl Devices {
    pub(crate) fn new(devices: &[DeviceSection]) -> Self {
        let known = devices.iter().map(|device| (device.device_id.clone(), None));
        Self {
            known: Mutex::new(known.collect()),
            authority: Mutex::default(),
            heard: AtomicBool::new(false),
            began: Instant::now(),
            heard_ms: AtomicU64::new(0),
        }
    }

    /// How a device stands now.
    pub(crate) fn standing(&self, device_id: &str) -> Standing {
        match self.fact(device_id) {
            Some(fact) => standing_of(&fact),
            None if self.heard.load(Ordering::Acquire) => Standing::Unregistered,
            None => Standing::Unheard,
        }
    }

    /// A device's registration.
    pub(crate) fn fact(&self, device_id: &str) -> Option<DeviceFact> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(device_id)?.as_ref().map(|(_, fact)| fact.clone())
    }

    /// The tax authority's key, as it was heard last.
    pub(crate) fn authority_key(&self) -> Option<VerifyingKey> {
        self.authority.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Whether the directory was heard of once, and since when not any more.
    pub(crate) fn age(&self) -> Option<Duration> {
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        let since = self.began.elapsed().saturating_sub(heard);
        self.heard.load(Ordering::Acquire).then_some(since)
    }

    /// Takes a document in; an older version is passed over.
    pub(crate) fn note(&self, document: &Document) {
        if document.kind == TAX_AUTHORITY_KEY_KIND && document.id == TAX_AUTHORITY_KEY_ID {
            return self.note_authority(document);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(device) = known.get_mut(&document.id).filter(|_| document.kind == DEVICE) else {
            return;
        };
        match Fact::decode(FactKind::Device, &document.bytes) {
            Ok(Fact::Device(fact)) => {
                if device.as_ref().is_none_or(|(version, _)| *version < document.version) {
                    let (id, state) = (&document.id, fact.state.as_str());
                    tracing::info!(device_id = id, state, "a device stands so");
                    *device = Some((document.version, fact));
                }
            }
            _ => tracing::error!(id = document.id, "a device's document cannot be read"),
        }
    }

    fn note_authority(&self, document: &Document) {
        let mut known = self.authority.lock().unwrap_or_else(PoisonError::into_inner);
        if document.version > known.0 {
            *known = (document.version, read_tax_authority_key(&document.bytes));
            if known.1.is_none() {
                tracing::error!("the tax authority's key in the directory is none");
            }
        }
    }

    /// Follows the directory for as long as it is polled.
    pub(crate) async fn follow(&self, cluster: &ClusterClient) {
        loop {
            let kinds = [DEVICE, TAX_AUTHORITY_KEY_KIND].map(str::to_owned).to_vec();
            let mut events = Box::pin(cluster.watch_documents(kinds));
            while let Some(event) = events.next().await {
                match event.map(|event| event.event) {
                    Ok(Some(Event::Document(document))) => self.note(&document),
                    Ok(Some(Event::Current(current))) => {
                        if current.fresh {
                            let since = u64::try_from(self.began.elapsed().as_millis());
                            self.heard_ms.store(since.unwrap_or(u64::MAX), Ordering::Relaxed);
                        }
                        self.heard.store(true, Ordering::Release);
                    }
                    // Documents are never taken away: what was known stays until it is told anew.
                    Ok(Some(Event::Reset(_)) | None) => {}
                    Err(error) => tracing::warn!(%error, "the directory is not heard of"),
                }
            }
            sleep(PAUSE).await;
        }
    }
}

fn standing_of(fact: &DeviceFact) -> Standing {
    match fact.state {
        DeviceState::Registered => Standing::Registered,
        DeviceState::Active => Standing::Active,
        DeviceState::Replaced { .. } | DeviceState::Revoked => Standing::Revoked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(version: u64, state: DeviceState) -> Document {
        let fact = DeviceFact {
            device_id: "def-1".into(),
            outlet_id: "outlet-gombe".into(),
            state,
            public_key: Vec::new(),
        };
        let bytes = Fact::Device(fact).encode().into();
        Document { kind: DEVICE.to_owned(), id: "def-1".to_owned(), version, bytes }
    }

    #[test]
    fn a_node_that_lags_brings_no_revoked_device_back() {
        let section = DeviceSection {
            device_id: "def-1".into(),
            listen: None,
            serial: vec![],
            attach: None,
            offline: None,
        };
        let devices = Devices::new(&[section]);
        assert_eq!(devices.standing("def-1"), Standing::Unheard);
        devices.note(&document(3, DeviceState::Revoked));
        devices.note(&document(2, DeviceState::Active));
        assert_eq!(devices.standing("def-1"), Standing::Revoked);
    }

    #[test]
    fn the_latest_key_of_the_tax_authority_counts() {
        let devices = Devices::new(&[]);
        let key = |byte| ed25519_dalek::SigningKey::from_bytes(&[byte; 32]).verifying_key();
        let note = |version, text: &str| {
            devices.note(&Document {
                kind: TAX_AUTHORITY_KEY_KIND.to_owned(),
                id: TAX_AUTHORITY_KEY_ID.to_owned(),
                version,
                bytes: text.as_bytes().to_vec().into(),
            });
            devices.authority_key()
        };
        let text =
            |byte| format!("\"{}\"", fiscus_ledger::base64::encode_standard(key(byte).as_bytes()));
        assert_eq!(devices.authority_key(), None);
        assert_eq!(note(2, &text(2)), Some(key(2)));
        assert_eq!(note(1, &text(1)), Some(key(2)), "a replica that lags");
        assert_eq!(note(3, "\"AAAA\""), None, "what takes its place is no key");
    }
}
