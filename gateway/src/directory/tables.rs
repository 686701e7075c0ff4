//! The documents by their ids, decoded, with the look-ups that requests need.

use std::collections::BTreeMap;
use std::sync::Arc;

use fiscus_ledger::facts::{DeviceFact, Fact, FactKind, OutletFact, TerminalFact};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::ledger::Document;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::documents::{
    ApiKey, Cashier, DeviceHealth, DeviceProfile, Idempotency, Merchant, Organisation,
    OutletProfile, Region, TerminalProfile, kind,
};
use super::uploads::{UploadControl, UploadProgress, upload_shard};
use super::webhooks::{DeliveryLog, Notices, WebhookEndpoint};
use crate::alerts::Alerts;
use crate::delivery::kept::{Presence, Shard};

/// A document with the version that a change must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The version.
    pub version: u64,
    /// The document.
    pub value: T,
}

/// Documents of a kind by id.
pub type Table<T> = BTreeMap<String, Arc<Versioned<T>>>;

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Tables {
    /// Tenants.
    pub organisations: Table<Organisation>,
    /// Regions by `{organisation}/{region}`.
    pub regions: Table<Region>,
    /// Merchants by tax number.
    pub merchants: Table<Merchant>,
    /// Outlets' fiscal parts.
    pub outlets: Table<OutletFact>,
    /// What else is known of outlets.
    pub outlet_profiles: Table<OutletProfile>,
    /// Terminals' fiscal parts, by `{outlet}/{terminal}`.
    pub terminals: Table<TerminalFact>,
    /// What else is known of terminals, by the same.
    pub terminal_profiles: Table<TerminalProfile>,
    /// Devices' fiscal parts.
    pub devices: Table<DeviceFact>,
    /// What else is known of devices.
    pub device_profiles: Table<DeviceProfile>,
    /// How they are.
    pub device_healths: Table<DeviceHealth>,
    /// Cashiers by `{outlet}/{cashier}`.
    pub cashiers: Table<Cashier>,
    /// Keys by id.
    pub api_keys: Table<ApiKey>,
    /// Endpoints by `{organisation}/{endpoint}`, those that were deleted included.
    pub webhooks: Table<WebhookEndpoint>,
    /// Notices by organisation.
    pub webhook_notices: Table<Notices>,
    /// Alerts by organisation.
    pub webhook_alerts: Table<Notices>,
    /// Parts of the destinations by their numbers.
    pub delivery_shards: Table<Shard>,
    /// Gateways that deliver, by their places.
    pub delivery_gateways: Table<Presence>,
    /// What is being uploaded, by parts of the outlets.
    pub upload_progress: Table<UploadProgress>,
    /// What operators have said of uploads.
    pub upload_control: Table<UploadControl>,
    /// What must be looked at, by organisation.
    pub(crate) delivery_alerts: Table<Alerts>,
    /// Manifests by the time from which they are in force.
    pub manifests: BTreeMap<(u64, String), Arc<Manifest>>,
    /// Outlets by `{prefix}-{code}`: unique for ever.
    numbers: BTreeMap<String, String>,
    /// How often an endpoint or a notice has changed here: whoever delivers looks at them again then.
    pub deliveries_changed: u64,
}

/// An outlet with its merchant, as a request sees them.
#[derive(Debug, Clone)]
pub struct OutletEntry {
    /// The fiscal part.
    pub fact: Arc<Versioned<OutletFact>>,
    /// The rest, when there is any.
    pub profile: Option<Arc<Versioned<OutletProfile>>>,
    /// The merchant.
    pub merchant: Arc<Versioned<Merchant>>,
}

impl OutletEntry {
    /// The outlet's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.fact.value.outlet_id
    }

    /// The group that it lives in.
    #[must_use]
    pub fn group(&self) -> u64 {
        self.fact.value.group
    }

    /// The region that keys can be limited to.
    #[must_use]
    pub fn region(&self) -> &str {
        self.profile.as_ref().map_or("", |profile| &profile.value.region)
    }
}

impl Tables {
    /// Takes a document in. An older version, as from a replica that lags, is passed over.
    pub fn put(&mut self, document: &Document) {
        let (id, version) = (&document.id, document.version);
        let told = [kind::WEBHOOK, kind::WEBHOOK_NOTICES, kind::WEBHOOK_ALERTS];
        if told.contains(&document.kind.as_str()) {
            self.deliveries_changed += 1;
        }
        match document.kind.as_str() {
            kind::ORGANISATION => put_json(&mut self.organisations, document),
            kind::REGION => put_json(&mut self.regions, document),
            kind::MERCHANT => put_json(&mut self.merchants, document),
            kind::OUTLET_PROFILE => put_json(&mut self.outlet_profiles, document),
            kind::TERMINAL_PROFILE => put_json(&mut self.terminal_profiles, document),
            kind::CASHIER => put_json(&mut self.cashiers, document),
            kind::DEVICE_PROFILE => put_json(&mut self.device_profiles, document),
            kind::DEVICE_HEALTH => put_json(&mut self.device_healths, document),
            kind::DEVICE => {
                if let Some(Fact::Device(fact)) = fact(FactKind::Device, document) {
                    put(&mut self.devices, id, version, fact);
                }
            }
            kind::API_KEY => put_json(&mut self.api_keys, document),
            kind::WEBHOOK => put_json(&mut self.webhooks, document),
            kind::WEBHOOK_NOTICES => put_json(&mut self.webhook_notices, document),
            kind::WEBHOOK_ALERTS => put_json(&mut self.webhook_alerts, document),
            kind::DELIVERY_SHARD => put_json(&mut self.delivery_shards, document),
            kind::DELIVERY_GATEWAY => put_json(&mut self.delivery_gateways, document),
            kind::UPLOAD_PROGRESS => put_json(&mut self.upload_progress, document),
            kind::UPLOAD_CONTROL => put_json(&mut self.upload_control, document),
            kind::DELIVERY_ALERTS => put_json(&mut self.delivery_alerts, document),
            kind::OUTLET => {
                if let Some(Fact::Outlet(fact)) = fact(FactKind::Outlet, document) {
                    let series = format!("{}-{}", fact.prefix, fact.code);
                    self.numbers.insert(series, id.clone());
                    put(&mut self.outlets, id, version, fact);
                }
            }
            kind::TERMINAL => {
                if let Some(Fact::Terminal(fact)) = fact(FactKind::Terminal, document) {
                    put(&mut self.terminals, id, version, fact);
                }
            }
            kind::MANIFEST => {
                if let Some(Fact::Manifest(manifest)) = fact(FactKind::Manifest, document) {
                    let key = (manifest.effective_from().get(), id.clone());
                    self.manifests.insert(key, Arc::new(manifest));
                }
            }
            other => tracing::debug!(other, "a document of a kind that was not asked for"),
        }
    }

    /// The version of a document that is known here; 0 when there is none.
    #[must_use]
    pub fn version(&self, kind: &str, id: &str) -> u64 {
        fn of<T>(table: &Table<T>, id: &str) -> u64 {
            table.get(id).map_or(0, |known| known.version)
        }
        match kind {
            kind::ORGANISATION => of(&self.organisations, id),
            kind::REGION => of(&self.regions, id),
            kind::MERCHANT => of(&self.merchants, id),
            kind::OUTLET => of(&self.outlets, id),
            kind::OUTLET_PROFILE => of(&self.outlet_profiles, id),
            kind::TERMINAL => of(&self.terminals, id),
            kind::TERMINAL_PROFILE => of(&self.terminal_profiles, id),
            kind::DEVICE => of(&self.devices, id),
            kind::DEVICE_PROFILE => of(&self.device_profiles, id),
            kind::DEVICE_HEALTH => of(&self.device_healths, id),
            kind::CASHIER => of(&self.cashiers, id),
            kind::API_KEY => of(&self.api_keys, id),
            kind::WEBHOOK => of(&self.webhooks, id),
            kind::WEBHOOK_NOTICES => of(&self.webhook_notices, id),
            kind::WEBHOOK_ALERTS => of(&self.webhook_alerts, id),
            kind::DELIVERY_SHARD => of(&self.delivery_shards, id),
            kind::DELIVERY_GATEWAY => of(&self.delivery_gateways, id),
            kind::UPLOAD_PROGRESS => of(&self.upload_progress, id),
            kind::UPLOAD_CONTROL => of(&self.upload_control, id),
            kind::DELIVERY_ALERTS => of(&self.delivery_alerts, id),
            _ => 0,
        }
    }

    /// Whether a gateway is sending the invoice at a position.
    #[must_use]
    pub fn is_uploading(&self, outlet_id: &str, position: u64) -> bool {
        let shard = self.upload_progress.get(&upload_shard(outlet_id).to_string());
        let sending = shard.and_then(|shard| shard.value.sending.get(outlet_id));
        sending.is_some_and(|sending| (sending.first..=sending.last).contains(&position))
    }

    /// An outlet with its merchant; none when either is not known.
    #[must_use]
    pub fn outlet(&self, outlet_id: &str) -> Option<OutletEntry> {
        let fact = self.outlets.get(outlet_id)?;
        let merchant = self.merchants.get(&*fact.value.merchant_nif)?;
        Some(OutletEntry {
            fact: Arc::clone(fact),
            profile: self.outlet_profiles.get(outlet_id).cloned(),
            merchant: Arc::clone(merchant),
        })
    }

    /// The outlet whose fiscal numbers begin with `{prefix}-{code}`.
    #[must_use]
    pub fn outlet_of_series(&self, series: &str) -> Option<OutletEntry> {
        self.outlet(self.numbers.get(series)?)
    }

    /// The fiscal part of the outlet whose fiscal numbers begin with `{prefix}-{code}`, whatever else is known of
    /// it.
    #[must_use]
    pub fn fact_of_series(&self, series: &str) -> Option<&OutletFact> {
        let fact = self.outlets.get(self.numbers.get(series)?)?;
        Some(&fact.value)
    }

    /// The manifest in force at a time.
    #[must_use]
    pub fn manifest_at(&self, time: UnixMs) -> Option<Arc<Manifest>> {
        let end = (time.get().saturating_add(1), String::new());
        self.manifests.range(..end).next_back().map(|(_, manifest)| Arc::clone(manifest))
    }

    /// A manifest by its version.
    #[must_use]
    pub fn manifest(&self, version: &str) -> Option<Arc<Manifest>> {
        self.manifests.values().find(|manifest| manifest.version() == version).cloned()
    }
}

fn fact(kind: FactKind, document: &Document) -> Option<Fact> {
    let read = Fact::decode(kind, &document.bytes);
    read.inspect_err(|error| unreadable(document, &error.to_string())).ok()
}

fn put_json<T: DeserializeOwned>(table: &mut Table<T>, document: &Document) {
    match serde_json::from_slice(&document.bytes) {
        Ok(value) => put(table, &document.id, document.version, value),
        Err(error) => unreadable(document, &error.to_string()),
    }
}

fn put<T>(table: &mut Table<T>, id: &str, version: u64, value: T) {
    if table.get(id).is_none_or(|known| known.version <= version) {
        table.insert(id.to_owned(), Arc::new(Versioned { version, value }));
    }
}

/// As from a newer gateway. What was known stays.
fn unreadable(document: &Document, error: &str) {
    tracing::error!(kind = document.kind, id = document.id, error, "a document cannot be read");
}

/// What is kept as a JSON document and followed.
pub trait Stored: Serialize + DeserializeOwned + Clone {
    /// The kind of document.
    const KIND: &'static str;
}

macro_rules! stored {
    ($($type:ty => $kind:expr,)+) => { $(impl Stored for $type { const KIND: &'static str = $kind; })+ };
}

stored! {
    Organisation => kind::ORGANISATION,
    Region => kind::REGION,
    Merchant => kind::MERCHANT,
    OutletProfile => kind::OUTLET_PROFILE,
    TerminalProfile => kind::TERMINAL_PROFILE,
    DeviceProfile => kind::DEVICE_PROFILE,
    Cashier => kind::CASHIER,
    ApiKey => kind::API_KEY,
    Idempotency => kind::IDEMPOTENCY,
    WebhookEndpoint => kind::WEBHOOK,
    Notices => kind::WEBHOOK_NOTICES,
    Shard => kind::DELIVERY_SHARD,
    Presence => kind::DELIVERY_GATEWAY,
    DeliveryLog => kind::DELIVERY_LOG,
    UploadProgress => kind::UPLOAD_PROGRESS,
    UploadControl => kind::UPLOAD_CONTROL,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(version: u64, revoked_ms: u64) -> Document {
        let bytes = serde_json::json!({
            "id": "k", "name": "k", "organisation": "o", "role": "owner", "tier": "growth", "secrets": [],
            "revoked_ms": revoked_ms,
        });
        let bytes = bytes.to_string().into_bytes().into();
        Document { kind: kind::API_KEY.to_owned(), id: "k".to_owned(), version, bytes }
    }

    #[test]
    fn a_node_that_lags_brings_no_revoked_key_back() {
        let mut known = Tables::default();
        known.put(&key(2, 7));
        known.put(&key(1, 0));
        assert_eq!(known.api_keys["k"].value.revoked_ms, 7);
        assert_eq!(known.version(kind::API_KEY, "k"), 2);
    }
}
