//! What holds now of every organisation that has endpoints, from what the directory says of devices. Pure.

use std::collections::{BTreeMap, BTreeSet};

use fiscus_ledger::facts::{DeviceState, OutletStatus};
use fiscus_ledger::time::UnixMs;
use serde_json::{Value, json};

use super::Conditions;
use crate::delivery::notices::notice;
use crate::directory::documents::DeviceHealth;
use crate::directory::webhooks::{EndpointState, Notice};
use crate::directory::{OutletEntry, Tables};
use crate::webhooks::catalogue::EventType;
use crate::webhooks::event::metadata_of;

/// A proxy tells once a minute how its device is; one that has missed two of these is not heard of any more.
const SILENT_AFTER_MS: u64 = 150_000;
/// So long before its end a certificate is to be renewed.
const CERTIFICATE_SOON_MS: u64 = 30 * 24 * 3_600_000;
/// So many devices of an outlet are told.
const DEVICES_MAX: usize = 16;

/// What is wrong with a device, for programs and for people.
type Problem = (&'static str, String);

/// By organisation.
pub(crate) fn all(tables: &Tables, now: UnixMs) -> BTreeMap<String, Conditions> {
    let there = tables.webhooks.values().filter(|it| it.value.state != EndpointState::Deleted);
    let heard: BTreeSet<&str> = there.map(|known| &*known.value.organisation).collect();
    let mut found: BTreeMap<String, Conditions> =
        heard.iter().map(|organisation| ((*organisation).to_owned(), Conditions::new())).collect();
    let mut outlets: BTreeMap<&str, Vec<(&str, &DeviceHealth)>> = BTreeMap::new();
    for (device_id, known) in &tables.devices {
        // One that was never heard of may not be installed yet.
        if let Some(health) = tables.device_healths.get(device_id)
            && known.value.state == DeviceState::Active
        {
            outlets.entry(&known.value.outlet_id).or_default().push((device_id, &health.value));
        }
    }
    for (outlet_id, devices) in outlets {
        let Some(outlet) = tables.outlet(outlet_id) else { continue };
        let Some(conditions) = found.get_mut(&outlet.merchant.value.organisation) else { continue };
        if outlet.fact.value.status == OutletStatus::Active {
            of_outlet(conditions, &outlet, &devices, now);
        }
    }
    found
}

fn of_outlet(
    found: &mut Conditions,
    outlet: &OutletEntry,
    devices: &[(&str, &DeviceHealth)],
    now: UnixMs,
) {
    let about = |kind: EventType, mut data: Value| {
        data["since"] = json!(now.to_string());
        for (name, value) in metadata_of(outlet) {
            data[name] = value;
        }
        Notice { outlet_id: outlet.id().to_owned(), ..notice(kind, now.get(), data) }
    };
    let is_offline = devices.iter().all(|(_, health)| is_silent(health, now));
    if is_offline {
        let told = devices.iter().take(DEVICES_MAX);
        let told = told.map(|(id, it)| json!({"device_id": id, "last_seen": it.last_seen}));
        let data = json!({"devices": told.collect::<Vec<_>>()});
        let key = format!("outlet/{}", outlet.id());
        found.insert(key, about(EventType::OutletOfflineAlert, data));
    }
    for (device_id, health) in devices {
        let mut problems = problems(health, now);
        // That all of them are silent is told once, of the outlet.
        problems.retain(|(code, _)| !is_offline || *code != "SILENT");
        if problems.is_empty() {
            continue;
        }
        let told = problems.iter().map(|(code, detail)| json!({"code": code, "detail": detail}));
        let data = json!({
            "device_id": device_id, "state": health.state, "last_seen": health.last_seen,
            "problems": told.collect::<Vec<_>>(),
        });
        found.insert(format!("device/{device_id}"), about(EventType::DeviceUnhealthy, data));
    }
}

fn is_silent(health: &DeviceHealth, now: UnixMs) -> bool {
    let seen_ms = UnixMs::parse_canonical(&health.last_seen).map_or(0, UnixMs::get);
    now.get().saturating_sub(seen_ms) > SILENT_AFTER_MS
}

fn problems(health: &DeviceHealth, now: UnixMs) -> Vec<Problem> {
    let mut found = Vec::new();
    if is_silent(health, now) {
        let detail = format!("its proxy is not heard of since {}", health.last_seen);
        found.push(("SILENT", detail));
    } else if health.state != "up" {
        let detail = "its proxy runs, and the device does not answer it: look at cable and power";
        found.push(("DEVICE_AWAY", detail.to_owned()));
    }
    if health.import_stopped {
        let number = health.imported_sequence.saturating_add(1);
        let detail = format!(
            "the ledger refuses entry {number} of its journal; nothing after it is imported until a person looks"
        );
        found.push(("IMPORT_STOPPED", detail));
    }
    if let Some(drift) = &health.drift {
        found.push(("DRIFT", drift.chars().take(500).collect()));
    }
    let ends = health.certificate_expires_at.as_deref();
    let ends = ends.and_then(|text| UnixMs::parse_canonical(text).map(|ends| (text, ends)));
    if let Some((text, ends)) = ends
        && ends.get().saturating_sub(now.get()) <= CERTIFICATE_SOON_MS
    {
        let detail = format!("its proxy's certificate ends at {text}; issue a new one");
        found.push(("CERTIFICATE_ENDS", detail));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-28T10:15:30.123Z";

    fn health(change: &Value) -> DeviceHealth {
        let mut told = json!({
            "state": "up", "firmware_version": "2.4.1", "last_sequence": 42, "imported_sequence": 42,
            "free_memory_bytes": 1_000_000, "queue_depth": 0, "reconnects": 0, "import_stopped": false,
            "last_seen": "2026-11-28T10:14:30.123Z",
        });
        for (name, value) in change.as_object().expect("an object") {
            told[name] = value.clone();
        }
        serde_json::from_value(told).expect("a health")
    }

    #[test]
    fn each_problem_of_a_device_has_a_code() {
        let now = UnixMs::parse_canonical(NOW).expect("a time");
        for (change, codes) in [
            (json!({}), vec![]),
            (json!({"certificate_expires_at": "2027-11-28T10:15:30.000Z"}), vec![]),
            (json!({"state": "away"}), vec!["DEVICE_AWAY"]),
            (json!({"import_stopped": true, "drift": "x"}), vec!["IMPORT_STOPPED", "DRIFT"]),
            (json!({"last_seen": "2026-11-28T10:13:00.123Z"}), vec![]),
            (json!({"last_seen": "2026-11-28T10:12:59.123Z", "state": "away"}), vec!["SILENT"]),
            (json!({"last_seen": "once"}), vec!["SILENT"]),
            (
                json!({"certificate_expires_at": "2026-12-01T10:15:30.000Z"}),
                vec!["CERTIFICATE_ENDS"],
            ),
            (
                json!({"certificate_expires_at": "2026-11-01T10:15:30.000Z"}),
                vec!["CERTIFICATE_ENDS"],
            ),
        ] {
            let found = problems(&health(&change), now);
            assert_eq!(found.iter().map(|(code, _)| *code).collect::<Vec<_>>(), codes, "{change}");
        }
    }
}
