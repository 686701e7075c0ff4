//! What holds now of every organisation that has endpoints, from what the directory says of devices. Pure.

use std::collections::{BTreeMap, BTreeSet};

use fiscus_ledger::facts::{DeviceFact, DeviceState, OutletStatus};
use fiscus_ledger::time::UnixMs;
use serde_json::{Value, json};

use super::Conditions;
use crate::delivery::notices::notice;
use crate::directory::documents::DeviceHealth;
use crate::directory::webhooks::{EndpointState, Notice};
use crate::directory::{OutletEntry, Tables};
use crate::standing::{self, Colour, Configured, SILENT_AFTER_MS};
use crate::webhooks::catalogue::EventType;
use crate::webhooks::event::metadata_of;

/// So many devices of an outlet are told.
const DEVICES_MAX: usize = 16;
const DETAIL_CHARS_MAX: usize = 500;

/// What is wrong with a device.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    /// For programs.
    code: String,
    /// Tells those of one code apart.
    field: String,
    /// For people.
    detail: String,
}

impl Problem {
    fn new(code: &str, detail: impl Into<String>) -> Self {
        Self { code: code.to_owned(), field: String::new(), detail: detail.into() }
    }
}

/// A device and what its proxy told last.
type Told<'a> = (&'a DeviceFact, &'a DeviceHealth);

/// The organisations that have somebody to tell.
pub(crate) fn heard(tables: &Tables) -> BTreeSet<String> {
    let there = tables.webhooks.values().filter(|it| it.value.state != EndpointState::Deleted);
    there.map(|known| known.value.organisation.clone()).collect()
}

/// By organisation, of those that are looked at.
pub(crate) fn all(
    tables: &Tables,
    organisations: &BTreeSet<String>,
    now: UnixMs,
) -> BTreeMap<String, Conditions> {
    let mut found: BTreeMap<String, Conditions> =
        organisations.iter().map(|it| (it.clone(), Conditions::new())).collect();
    let mut outlets: BTreeMap<&str, Vec<Told<'_>>> = BTreeMap::new();
    for (device_id, known) in &tables.devices {
        // One that was never heard of may not be installed yet.
        if let Some(health) = tables.device_healths.get(device_id)
            && known.value.state == DeviceState::Active
        {
            outlets.entry(&known.value.outlet_id).or_default().push((&known.value, &health.value));
        }
    }
    let manifest = tables.manifest_at(now);
    let manifest = manifest.as_deref().map(|manifest| manifest.version());
    for (outlet_id, devices) in outlets {
        let Some(outlet) = tables.outlet(outlet_id) else { continue };
        let Some(conditions) = found.get_mut(&outlet.merchant.value.organisation) else { continue };
        if outlet.fact.value.status == OutletStatus::Active {
            of_outlet(conditions, &outlet, &devices, (manifest, now));
        }
    }
    late_uploads(&mut found, tables, now);
    found
}

/// Outlets whose invoices wait for the tax authority for too long.
fn late_uploads(found: &mut BTreeMap<String, Conditions>, tables: &Tables, now: UnixMs) {
    for progress in tables.upload_progress.values().map(|known| &known.value) {
        for (outlet_id, oldest_ms) in &progress.late {
            let Some(outlet) = tables.outlet(outlet_id) else { continue };
            let conditions = found.get_mut(&outlet.merchant.value.organisation);
            let Some(conditions) = conditions else { continue };
            let mut data = metadata_of(&outlet);
            data.insert("since".to_owned(), json!(UnixMs::new(*oldest_ms).to_string()));
            let told = notice(EventType::InvoiceSyncOverdue, now.get(), Value::Object(data));
            let told = Notice { outlet_id: outlet_id.clone(), ..told };
            conditions.insert(format!("upload/{outlet_id}"), Some(told));
        }
    }
}

fn of_outlet(
    found: &mut Conditions,
    outlet: &OutletEntry,
    devices: &[Told<'_>],
    (manifest_version, now): (Option<&str>, UnixMs),
) {
    let about = |kind: EventType, mut data: Value| {
        for (name, value) in metadata_of(outlet) {
            data[name] = value;
        }
        Notice { outlet_id: outlet.id().to_owned(), ..notice(kind, now.get(), data) }
    };
    let is_offline = devices.iter().all(|(_, health)| is_silent(health, now));
    if is_offline {
        let since = devices.iter().map(|(_, health)| &health.last_seen).max();
        let told = devices.iter().take(DEVICES_MAX);
        let told = told
            .map(|(fact, it)| json!({"device_id": &*fact.device_id, "last_seen": it.last_seen}));
        let data = json!({"since": since, "devices": told.collect::<Vec<_>>()});
        let key = format!("outlet/{}", outlet.id());
        found.insert(key, Some(about(EventType::OutletOfflineAlert, data)));
    }
    for (fact, health) in devices {
        let device_id = &*fact.device_id;
        let known = Configured {
            fact,
            outlet: Some(&outlet.fact.value),
            counters: None,
            manifest_version,
            now,
            heard: now,
        };
        for problem in problems(&known, health) {
            let Problem { code, field, detail } = problem;
            let is_silence = code == SILENT;
            let mut data = json!({
                "device_id": device_id, "state": health.state, "last_seen": health.last_seen,
                "problems": [{"code": code, "detail": detail}],
            });
            if is_silence {
                data["since"] = json!(health.last_seen);
            }
            let key = format!("device/{device_id}/{code}{field}");
            // That all of them are silent is told once, of the outlet.
            let told = !(is_offline && is_silence);
            found.insert(key, told.then(|| about(EventType::DeviceUnhealthy, data)));
        }
    }
}

const SILENT: &str = "SILENT";

fn is_silent(health: &DeviceHealth, now: UnixMs) -> bool {
    let seen_ms = UnixMs::parse_canonical(&health.last_seen).map_or(0, UnixMs::get);
    now.get().saturating_sub(seen_ms) > SILENT_AFTER_MS
}

/// What people see of a device, as far as it needs one of them.
fn problems(known: &Configured<'_>, health: &DeviceHealth) -> Vec<Problem> {
    let Some(standing) = standing::of(known, Some(health)) else { return Vec::new() };
    let mut found = Vec::new();
    let is_other = standing.drift.iter().any(|drift| drift.field == "signing_mode");
    if is_silent(health, known.now) {
        found.push(Problem::new(SILENT, standing.detail));
    } else if health.state != "up" {
        let detail = match &*health.role {
            "serve" => "its proxy runs, and its outlet's group does not answer it",
            _ => "its proxy runs, and the device does not answer it: look at cable and power",
        };
        found.push(Problem::new("DEVICE_AWAY", detail));
    } else if standing.state == Colour::Blocked && !health.import_stopped && !is_other {
        found.push(Problem::new("BLOCKED", standing.detail));
    }
    for drift in standing.drift {
        let detail = match &*drift.configured {
            "" => drift.reported,
            configured => {
                format!("{}: {configured} is wanted, it reports {}", drift.field, drift.reported)
            }
        };
        let field = format!("/{}", drift.field);
        found.push(Problem { field, ..Problem::new("DRIFT", detail) });
    }
    for warning in standing.warnings {
        let code = json!(warning.code);
        found.push(Problem::new(code.as_str().unwrap_or_default(), warning.detail));
    }
    for problem in &mut found {
        problem.detail = problem.detail.chars().take(DETAIL_CHARS_MAX).collect();
    }
    found
}

#[cfg(test)]
mod tests {
    use fiscus_ledger::facts::{Environment, Fact, OutletFact, SigningMode};
    use fiscus_proto::ledger::Document;

    use super::*;
    use crate::directory::documents::kind;

    const NOW: &str = "2026-11-28T10:15:30.123Z";

    fn health(change: &Value) -> DeviceHealth {
        let mut told = json!({
            "state": "up", "firmware_version": "2.4.1", "last_sequence": 42, "imported_sequence": 42,
            "free_memory_bytes": 10_000_000, "queue_depth": 0, "reconnects": 0, "import_stopped": false,
            "last_seen": "2026-11-28T10:14:30.123Z",
        });
        for (name, value) in change.as_object().expect("an object") {
            told[name] = value.clone();
        }
        serde_json::from_value(told).expect("a health")
    }

    fn codes(change: &Value) -> Vec<String> {
        let now = UnixMs::parse_canonical(NOW).expect("a time");
        let fact = DeviceFact {
            device_id: "def-1".into(),
            outlet_id: "outlet-gombe".into(),
            state: DeviceState::Active,
            public_key: Vec::new(),
        };
        let known = Configured {
            fact: &fact,
            outlet: None,
            counters: None,
            manifest_version: Some("2026-02-01"),
            now,
            heard: now,
        };
        problems(&known, &health(change)).into_iter().map(|it| it.code + &it.field).collect()
    }

    #[test]
    fn an_outlet_whose_invoices_wait_for_too_long_is_told_to_its_own_organisation() {
        let mut tables = Tables::default();
        let mut put = |kind: &str, id: &str, bytes: Vec<u8>| {
            let (kind, id) = (kind.to_owned(), id.to_owned());
            tables.put(&Document { kind, id, version: 1, bytes: bytes.into() });
        };
        let merchant = json!({"nif": "A1", "organisation": "org", "name": "x"});
        put(kind::MERCHANT, "A1", merchant.to_string().into_bytes());
        let fact = Fact::Outlet(OutletFact {
            outlet_id: "outlet-gombe".into(),
            merchant_nif: "A1".into(),
            prefix: "KIN".into(),
            code: "GOMBE".into(),
            group: 1,
            status: OutletStatus::Active,
            environment: Environment::Live,
            signing_mode: SigningMode::Cluster,
        });
        put(kind::OUTLET, "outlet-gombe", fact.encode());
        let late = json!({"late": {"outlet-gombe": 1_795_860_930_123_u64, "of-nobody": 1}});
        put(kind::UPLOAD_PROGRESS, "3", late.to_string().into_bytes());
        let organisations = BTreeSet::from(["org".to_owned(), "other".to_owned()]);
        let now = UnixMs::parse_canonical(NOW).expect("a time");
        let found = all(&tables, &organisations, now);
        assert!(found["other"].is_empty());
        let told = found["org"]["upload/outlet-gombe"].as_ref().expect("it is told");
        assert_eq!((&*told.kind, &*told.outlet_id), ("invoice.sync.overdue", "outlet-gombe"));
        assert_eq!(told.data["since"], UnixMs::new(1_795_860_930_123).to_string());
        assert_eq!(told.data["branch"], "KIN-GOMBE");
    }

    #[test]
    fn each_problem_of_a_device_has_a_code() {
        let offline = |change: &Value| {
            let mut told = json!({
                "state": "online", "numbers_left": 400, "until": "2026-12-01T10:15:30.123Z", "waiting": 0,
                "refused": 0, "damages": 0, "spool_bytes": 1,
            });
            for (name, value) in change.as_object().expect("an object") {
                told[name] = value.clone();
            }
            json!({"role": "serve", "offline": told})
        };
        for (change, expected) in [
            (json!({}), vec![]),
            (json!({"certificate_expires_at": "2027-11-28T10:15:30.000Z"}), vec![]),
            (json!({"state": "away"}), vec!["DEVICE_AWAY"]),
            (json!({"import_stopped": true, "drift": "x"}), vec!["DRIFT/device", "IMPORT_STOPPED"]),
            (json!({"last_seen": "2026-11-28T10:13:00.123Z"}), vec![]),
            (json!({"last_seen": "2026-11-28T10:12:59.123Z", "state": "away"}), vec!["SILENT"]),
            (json!({"last_seen": "once"}), vec!["SILENT"]),
            (
                json!({"certificate_expires_at": "2026-12-01T10:15:30.000Z"}),
                vec!["CERTIFICATE_EXPIRES_SOON"],
            ),
            (
                json!({"certificate_expires_at": "2026-11-01T10:15:30.000Z"}),
                vec!["CERTIFICATE_EXPIRED"],
            ),
            (
                json!({"tax_manifest_version": "2025-02-01", "firmware_before": "2.3.9"}),
                vec!["DRIFT/firmware_version", "DRIFT/tax_manifest_version"],
            ),
            (offline(&json!({})), vec![]),
            (offline(&json!({"refused": 2})), vec!["OFFLINE_SEALS_REFUSED"]),
            (offline(&json!({"damages": 1})), vec!["SPOOL_DAMAGED"]),
            (offline(&json!({"state": "blocked", "why": "x"})), vec!["BLOCKED"]),
        ] {
            assert_eq!(codes(&change), expected, "{change}");
        }
    }
}
