//! In what a device is not as it is registered.

use fiscus_ledger::facts::SigningMode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Configured, is_attached};
use crate::directory::documents::DeviceHealth;

/// The version of the device protocol that this program speaks.
const PROTOCOL_VERSION: u64 = 1;

/// One thing that a device reports otherwise than it is registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DeviceDrift)]
pub struct Drift {
    /// `signing_mode`, `outlet_id`, `number_prefix`, `protocol_version`, `firmware_version`,
    /// `tax_manifest_version`, `last_sequence`, or `device` for what its proxy says itself.
    #[schema(example = "signing_mode")]
    pub field: String,
    /// As it is registered, or as the ledger has it.
    #[schema(example = "def")]
    pub configured: String,
    /// As the device and its proxy report it.
    #[schema(example = "cluster")]
    pub reported: String,
}

impl Drift {
    fn new(field: &str, configured: impl Into<String>, reported: impl Into<String>) -> Self {
        Self { field: field.to_owned(), configured: configured.into(), reported: reported.into() }
    }
}

fn mode_name(mode: SigningMode) -> &'static str {
    match mode {
        SigningMode::Cluster => "cluster",
        SigningMode::Def => "def",
    }
}

/// The mode that a proxy's role is for.
fn reported_mode(health: &DeviceHealth) -> &'static str {
    if is_attached(health) { "def" } else { "cluster" }
}

/// Why nothing is sealed at the device, when another one than it is to seal for the outlet.
pub(super) fn wrong_mode(known: &Configured<'_>, health: &DeviceHealth) -> Option<String> {
    let mode = mode_name(known.outlet?.signing_mode);
    (mode != reported_mode(health)).then(|| match mode {
        "def" => {
            "a real device is to seal for its outlet (signing mode def), and its proxy seals with the ledger (--serve)"
                .to_owned()
        }
        _ => {
            "the ledger is to seal for its outlet (signing mode cluster), and its proxy stands before a real device \
             (--attach)"
                .to_owned()
        }
    })
}

pub(super) fn of(known: &Configured<'_>, health: &DeviceHealth) -> Vec<Drift> {
    let mut found = Vec::new();
    if let Some(outlet) = known.outlet {
        let (mode, reported) = (mode_name(outlet.signing_mode), reported_mode(health));
        if mode != reported {
            found.push(Drift::new("signing_mode", mode, reported));
        }
        let prefix = format!("{}-{}", outlet.prefix, outlet.code);
        differs(&mut found, "number_prefix", &prefix, health.number_prefix.as_deref());
    }
    differs(&mut found, "outlet_id", &known.fact.outlet_id, health.outlet_id.as_deref());
    if let Some(version) = health.protocol_version.filter(|version| *version != PROTOCOL_VERSION) {
        let (ours, theirs) = (PROTOCOL_VERSION.to_string(), version.to_string());
        found.push(Drift::new("protocol_version", ours, theirs));
    }
    if let Some(before) = &health.firmware_before {
        found.push(Drift::new("firmware_version", before, &health.firmware_version));
    }
    if let Some(version) = known.manifest_version {
        differs(
            &mut found,
            "tax_manifest_version",
            version,
            health.tax_manifest_version.as_deref(),
        );
    }
    found.extend(counters(known, health));
    if let (Some(told), true) = (&health.drift, found.is_empty()) {
        found.push(Drift::new("device", "", told));
    }
    found
}

fn differs(found: &mut Vec<Drift>, field: &str, configured: &str, reported: Option<&str>) {
    if let Some(reported) = reported.filter(|reported| *reported != configured) {
        found.push(Drift::new(field, configured, reported));
    }
}

/// A real device that has less than was imported of it has lost entries; a proxy that has sealed under a number that
/// the ledger has not given away has lived longer than the ledger, which was restored from an old backup.
fn counters(known: &Configured<'_>, health: &DeviceHealth) -> Option<Drift> {
    let reported = health.last_sequence;
    let (wrong, ledgers) = if is_attached(health) {
        // Both as of when it was told: what was imported since is no more than it has sealed since. One that was never met
        // has reported nothing.
        let imported = health.imported_sequence;
        (health.state == "up" && reported < imported, imported)
    } else {
        let last = known.counters?.series.last;
        (reported > last, last)
    };
    wrong.then(|| Drift::new("last_sequence", ledgers.to_string(), reported.to_string()))
}
