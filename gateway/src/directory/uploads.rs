//! What the directory keeps of uploads that are under way. What was answered is in the journals, not here.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::delivery::leases::shard_of;

/// What the gateway that serves a part of the outlets is sending, as of when it wrote this.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UploadProgress {
    /// When it was written, Unix milliseconds.
    pub written_ms: u64,
    /// Which gateway wrote it, by a name that it has made up when it began.
    pub gateway: String,
    /// Attempts in a row that had no answer.
    pub failures: u32,
    /// Why the last one had none; empty when it had one.
    pub last_error: String,
    /// Nothing is sent before.
    pub hold_until_ms: u64,
    /// Invoices that were answered to this gateway in the last minute.
    pub per_minute: u64,
    /// The batches on their way, by outlet.
    pub sending: BTreeMap<String, Sending>,
    /// Outlets whose oldest invoice waits for longer than the grace period, with when it was sealed; some of them where
    /// there are many.
    pub late: BTreeMap<String, u64>,
}

/// A batch on its way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sending {
    /// The position of its first invoice.
    pub first: u64,
    /// And of its last.
    pub last: u64,
    /// How many there are.
    pub count: u32,
    /// How often it was sent.
    pub attempts: u32,
    /// When it was first sent.
    pub since_ms: u64,
}

/// What operators have said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UploadControl {
    /// Nothing is sent.
    pub paused: bool,
    /// Nothing of these outlets is sent.
    pub paused_outlets: BTreeSet<String>,
}

/// The id of the one document of operators.
pub const CONTROL_ID: &str = "control";

/// The part of the outlets that an outlet is in: those that serve destinations serve these as well.
#[must_use]
pub fn upload_shard(outlet_id: &str) -> usize {
    shard_of(&format!("upload/{outlet_id}"))
}
