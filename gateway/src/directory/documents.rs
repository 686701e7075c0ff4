//! What the gateway keeps in the directory, as JSON. A field is only ever added, with a default.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The kinds of documents.
pub mod kind {
    /// An organisation: a tenant.
    pub const ORGANISATION: &str = "organisation";
    /// A region of an organisation, by `{organisation}/{region}`.
    pub const REGION: &str = "region";
    /// A merchant, by its tax number.
    pub const MERCHANT: &str = "merchant";
    /// An outlet's fiscal part, which is the ledger's own.
    pub const OUTLET: &str = "outlet";
    /// What else is known of an outlet.
    pub const OUTLET_PROFILE: &str = "outlet_profile";
    /// A terminal's fiscal part, which is the ledger's own.
    pub const TERMINAL: &str = "terminal";
    /// What else is known of a terminal.
    pub const TERMINAL_PROFILE: &str = "terminal_profile";
    /// A fiscal device, which is the ledger's own.
    pub const DEVICE: &str = "device";
    /// What else is known of a device.
    pub const DEVICE_PROFILE: &str = "device_profile";
    /// How a device is, as its proxy tells it.
    pub const DEVICE_HEALTH: &str = "device_health";
    /// A cashier of an outlet.
    pub const CASHIER: &str = "cashier";
    /// An API key.
    pub const API_KEY: &str = "api_key";
    /// A tax manifest, which is the ledger's own.
    pub const MANIFEST: &str = "manifest";
    /// Who did what.
    pub const ACTION: &str = "action";
    /// What a repeated request made the first time.
    pub const IDEMPOTENCY: &str = "idempotency";
    /// How often a receipt was given out.
    pub const RECEIPT_COPY: &str = "receipt_copy";
    /// An X or A report that was made.
    pub const REPORT: &str = "report";
    /// An audit export under way.
    pub const EXPORT: &str = "export";
    /// A customer's endpoint, by `{organisation}/{endpoint}`.
    pub const WEBHOOK: &str = "webhook";
    /// What an organisation's endpoints are told that no journal tells.
    pub const WEBHOOK_NOTICES: &str = "webhook_notices";
    /// Alerts, in a ring of their own; documents as those of notices.
    pub const WEBHOOK_ALERTS: &str = "webhook_alerts";
    /// Which gateway serves a part of the destinations, and how far each of them is.
    pub const DELIVERY_SHARD: &str = "delivery_shard";
    /// That a gateway is there to deliver.
    pub const DELIVERY_GATEWAY: &str = "delivery_gateway";
    /// What of an organisation must be looked at and was told.
    pub const DELIVERY_ALERTS: &str = "delivery_alerts";
    /// What became of a destination's last attempts, and what was given up.
    pub const DELIVERY_LOG: &str = "delivery_log";

    /// What is being uploaded, by part of the outlets.
    pub const UPLOAD_PROGRESS: &str = "upload_progress";
    /// What operators have said of uploads.
    pub const UPLOAD_CONTROL: &str = "upload_control";

    /// What a gateway keeps in memory and follows.
    pub const FOLLOWED: [&str; 21] = [
        ORGANISATION,
        REGION,
        MERCHANT,
        OUTLET,
        OUTLET_PROFILE,
        TERMINAL,
        TERMINAL_PROFILE,
        DEVICE,
        DEVICE_PROFILE,
        DEVICE_HEALTH,
        CASHIER,
        API_KEY,
        MANIFEST,
        WEBHOOK,
        WEBHOOK_NOTICES,
        WEBHOOK_ALERTS,
        DELIVERY_SHARD,
        DELIVERY_GATEWAY,
        UPLOAD_PROGRESS,
        UPLOAD_CONTROL,
        DELIVERY_ALERTS,
    ];
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organisation {
    /// What it is called.
    pub name: String,
    /// Since when it is known, Unix milliseconds.
    #[serde(default)]
    pub created_ms: u64,
}

/// A part of an organisation that keys can be limited to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Its tenant.
    pub organisation: String,
    /// Its id, unique in the tenant.
    pub region_id: String,
    /// What it is called.
    pub name: String,
    /// Since when it is known.
    #[serde(default)]
    pub created_ms: u64,
}

/// A legal entity with a tax number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merchant {
    /// Its tax number.
    pub nif: String,
    /// Its tenant.
    pub organisation: String,
    /// What it is called.
    pub name: String,
    /// Its number in the trade register.
    #[serde(default)]
    pub rccm: String,
    /// Where it is.
    #[serde(default)]
    pub address: String,
    /// Since when it is known.
    #[serde(default)]
    pub created_ms: u64,
}

/// What is known of an outlet beside its fiscal part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutletProfile {
    /// The outlet.
    pub outlet_id: String,
    /// What it is called.
    pub name: String,
    /// The region that keys can be limited to.
    #[serde(default)]
    pub region: String,
    /// Where it is.
    #[serde(default)]
    pub address: String,
    /// Its telephone.
    #[serde(default)]
    pub phone: String,
    /// Since when it is known.
    #[serde(default)]
    pub created_ms: u64,
}

/// What is known of a terminal beside its fiscal part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalProfile {
    /// The outlet.
    pub outlet_id: String,
    /// The terminal.
    pub terminal_id: String,
    /// What it is called.
    pub name: String,
    /// Since when it is known.
    #[serde(default)]
    pub created_ms: u64,
}

/// What is known of a device beside its fiscal part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceProfile {
    /// The device.
    pub device_id: String,
    /// The outlet.
    pub outlet_id: String,
    /// What it is called.
    pub name: String,
    /// Since when it is known.
    #[serde(default)]
    pub created_ms: u64,
}

/// How a device is, as its proxy last told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceHealth {
    /// `serve` when its proxy is the device, `attach` when it stands before a real one.
    #[serde(default = "attach")]
    #[schema(example = "attach")]
    pub role: String,
    /// `up`, or `away` when the real device's line is silent, or the outlet's group does not answer the one that needs it.
    #[schema(example = "up")]
    pub state: String,
    /// The device's own.
    #[schema(example = "2.4.1")]
    pub firmware_version: String,
    /// The firmware that it had before, for a week after a real device reports another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2.4.0")]
    pub firmware_before: Option<String>,
    /// When the other one was first reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub firmware_changed_at: Option<String>,
    /// The version of the device protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 1)]
    pub protocol_version: Option<u64>,
    /// The outlet that it seals for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "outlet-gombe")]
    pub outlet_id: Option<String>,
    /// What stands before the sequence in the numbers that it seals under without the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "KIN-GOMBE")]
    pub number_prefix: Option<String>,
    /// The tax manifest that it would seal under without the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-02-01")]
    pub tax_manifest_version: Option<String>,
    /// The last number that it has sealed by itself.
    #[schema(example = 42)]
    pub last_sequence: u64,
    /// The last of a real device's numbers that the ledger has.
    #[schema(example = 42)]
    pub imported_sequence: u64,
    /// What is free of its memory.
    #[schema(example = 67108864)]
    pub free_memory_bytes: u64,
    /// Commands that waited for it.
    #[schema(example = 0)]
    pub queue_depth: u64,
    /// How often it was met anew.
    #[schema(example = 1)]
    pub reconnects: u64,
    /// Whether the ledger refuses an entry of it: nothing after that is imported.
    #[schema(example = false)]
    pub import_stopped: bool,
    /// In what it is not as the cluster has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<String>,
    /// How it stands with the numbers that it may seal under without the ledger, when it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline: Option<OfflineHealth>,
    /// When this was told: within a minute while its proxy runs.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub last_seen: String,
    /// When its proxy's certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2027-11-28T10:15:30.000Z")]
    pub certificate_expires_at: Option<String>,
}

/// Before proxies told what they are, only real devices were told of.
fn attach() -> String {
    "attach".to_owned()
}

/// How a device stands with the numbers that are lent to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OfflineHealth {
    /// `online`, `offline`, `syncing` or `blocked`, as its proxy sees it.
    #[schema(example = "online")]
    pub state: String,
    /// Why it is blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Numbers that it could seal under.
    #[schema(example = 412)]
    pub numbers_left: u64,
    /// When the last of them can no longer be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-12-01T10:15:30.123Z")]
    pub until: Option<String>,
    /// Seals that the ledger has not answered to.
    #[schema(example = 0)]
    pub waiting: u64,
    /// When the first of them was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<String>,
    /// Seals that the ledger has refused.
    #[schema(example = 0)]
    pub refused: u64,
    /// How often its spool was found damaged.
    #[schema(example = 0)]
    pub damages: u64,
    /// Bytes of its spool.
    #[schema(example = 4096)]
    pub spool_bytes: u64,
}

/// A person who sells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cashier {
    /// The outlet.
    pub outlet_id: String,
    /// Its id, as in invoices.
    pub cashier_id: String,
    /// What the person is called.
    pub name: String,
    /// Whether the person still sells there.
    #[serde(default = "yes")]
    pub active: bool,
    /// Since when it is known.
    #[serde(default)]
    pub created_ms: u64,
}

fn yes() -> bool {
    true
}

/// A key to the API. Only hashes of its secrets are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its public part.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Its tenant; empty for the platform's operator, who makes tenants.
    pub organisation: String,
    /// `cashier`, `supervisor`, `manager`, `owner`, `auditor`, `integrator` or `platform`.
    pub role: String,
    /// What it may do, where the role leaves it open or where it is to be less.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The outlets that it is limited to; all of the tenant's when empty.
    #[serde(default)]
    pub outlets: Vec<String>,
    /// The regions that it is limited to; all when empty.
    #[serde(default)]
    pub regions: Vec<String>,
    /// `growth`, `professional` or `enterprise`.
    pub tier: String,
    /// At most two that are in force.
    pub secrets: Vec<KeySecret>,
    /// Revoked as a whole, for ever, when it is not 0.
    #[serde(default)]
    pub revoked_ms: u64,
    /// Not valid from then on, when it is not 0.
    #[serde(default)]
    pub expires_ms: u64,
    /// Since when it is known.
    #[serde(default)]
    pub created_ms: u64,
}

/// One secret of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySecret {
    /// Tells the two of a rotation apart; shown.
    pub id: String,
    /// The hash, in hexadecimal.
    pub hash: String,
    /// Since when it is known.
    #[serde(default)]
    pub created_ms: u64,
    /// Not valid from then on, when it is not 0.
    #[serde(default)]
    pub expires_ms: u64,
    /// Revoked, when it is not 0.
    #[serde(default)]
    pub revoked_ms: u64,
}

/// Who did what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// When, by the gateway's clock.
    pub time_ms: u64,
    /// The key that was used.
    pub key_id: String,
    /// Its name then.
    pub key_name: String,
    /// What was done, as in `api_key.revoke`.
    pub action: String,
    /// To what kind of thing,
    pub object: String,
    /// and to which.
    pub object_id: String,
    /// The outlet, where it concerns one.
    #[serde(default)]
    pub outlet_id: String,
    /// The request.
    pub request_id: String,
    /// What a reader wants to know beside that. Never a secret.
    #[serde(default)]
    pub details: BTreeMap<String, String>,
}

/// What a repeated request made the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// A hash of what was asked, in hexadecimal.
    pub fingerprint: String,
    /// What it made.
    pub object_id: String,
    /// When.
    pub time_ms: u64,
}
