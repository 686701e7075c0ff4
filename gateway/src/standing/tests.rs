use fiscus_ledger::facts::{Environment, SigningMode};
use fiscus_ledger::state::outlet::DeviceSeries;
use serde_json::{Value, json};

use super::*;

const NOW: UnixMs = UnixMs::new(1_790_000_000_000);
const HOUR_MS: u64 = 3_600_000;

fn at(before_ms: u64) -> String {
    UnixMs::new(NOW.get() - before_ms).to_string()
}

fn after(ms: u64) -> String {
    UnixMs::new(NOW.get() + ms).to_string()
}

fn fact(state: DeviceState) -> DeviceFact {
    DeviceFact {
        device_id: "def-1".into(),
        outlet_id: "outlet-gombe".into(),
        state,
        public_key: vec![1; 32],
    }
}

fn outlet(signing_mode: SigningMode, status: OutletStatus) -> OutletFact {
    OutletFact {
        outlet_id: "outlet-gombe".into(),
        merchant_nif: "A1234567B".into(),
        prefix: "KIN".into(),
        code: "GOMBE".into(),
        group: 1,
        status,
        environment: Environment::Live,
        signing_mode,
    }
}

/// What a proxy tells, with changes.
fn told(changes: Value) -> DeviceHealth {
    let mut health = json!({
        "role": "serve", "state": "up", "firmware_version": "0.1.0", "protocol_version": 1,
        "outlet_id": "outlet-gombe", "number_prefix": "KIN-GOMBE", "tax_manifest_version": "2026-02-01",
        "last_sequence": 7, "imported_sequence": 0, "free_memory_bytes": 1_u64 << 30, "queue_depth": 0,
        "reconnects": 0, "import_stopped": false, "last_seen": at(1_000),
        "offline": {
            "state": "online", "numbers_left": 412, "until": after(48 * HOUR_MS), "waiting": 0, "refused": 0,
            "damages": 0, "spool_bytes": 4_096,
        },
    });
    merge(&mut health, changes);
    serde_json::from_value(health).expect("a document")
}

fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (name, value) in changes {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, value) => *into = value,
    }
}

fn a_real_one(changes: Value) -> DeviceHealth {
    let mut of = json!({"role": "attach", "offline": null, "imported_sequence": 7, "number_prefix": null,
        "tax_manifest_version": null});
    merge(&mut of, changes);
    told(of)
}

/// How an active device stands whose outlet is in the mode of its proxy's role.
fn stands(health: &DeviceHealth) -> Standing {
    let mode = if health.role == "serve" { SigningMode::Cluster } else { SigningMode::Def };
    let (fact, outlet) = (fact(DeviceState::Active), outlet(mode, OutletStatus::Active));
    let known = Configured {
        fact: &fact,
        outlet: Some(&outlet),
        counters: None,
        manifest_version: Some("2026-02-01"),
        now: NOW,
        heard: NOW,
    };
    of(&known, Some(health)).expect("it stands")
}

#[test]
fn each_colour_has_its_cause() {
    let long = json!(at(SILENT_AFTER_MS + 1));
    let rows = [
        (told(json!({})), Colour::Online, "has everything"),
        (
            told(json!({"offline": {"state": "syncing", "waiting": 3, "waiting_since": at(9)}})),
            Colour::Syncing,
            "3 sales",
        ),
        (told(json!({"last_seen": long})), Colour::Offline, "412 numbers left"),
        (
            told(json!({"last_seen": long, "offline": {"numbers_left": 0}})),
            Colour::Blocked,
            "no numbers",
        ),
        (
            told(json!({"last_seen": long, "offline": {"until": at(1)}})),
            Colour::Blocked,
            "cannot be used since",
        ),
        (told(json!({"last_seen": long, "offline": null})), Colour::Blocked, "without the ledger"),
        (told(json!({"offline": null})), Colour::Online, "has everything"),
        (
            told(json!({"offline": {"state": "blocked", "why": "STORAGE_FULL: x"}})),
            Colour::Blocked,
            "STORAGE_FULL: x",
        ),
        (a_real_one(json!({})), Colour::Online, "whole journal"),
        (a_real_one(json!({"last_sequence": 9})), Colour::Syncing, "2 of its entries"),
        (a_real_one(json!({"state": "away"})), Colour::Blocked, "cable and power"),
        (a_real_one(json!({"import_stopped": true})), Colour::Blocked, "refuses entry 8"),
        (a_real_one(json!({"last_seen": long})), Colour::Offline, "by itself"),
        // The directory answers its proxy, and the outlet's group does not.
        (
            told(json!({"offline": {"state": "offline", "waiting": 2}})),
            Colour::Offline,
            "group does not answer its proxy; it has 412",
        ),
        (
            told(json!({"offline": {"state": "offline", "numbers_left": 0}})),
            Colour::Blocked,
            "no numbers are left",
        ),
        (told(json!({"state": "away", "offline": null})), Colour::Blocked, "group does not answer"),
        // What stopped it before it fell silent stops it still.
        (
            told(
                json!({"last_seen": long, "offline": {"state": "blocked", "why": "STORAGE_FULL: x"}}),
            ),
            Colour::Blocked,
            "STORAGE_FULL: x",
        ),
    ];
    for (health, colour, words) in rows {
        let standing = stands(&health);
        assert_eq!(standing.state, colour, "{standing:?}");
        assert!(standing.detail.contains(words), "{standing:?}");
        assert_eq!(standing.lamp, colour.lamp());
        assert_eq!(standing.drift, [], "{standing:?}");
    }
    let silent = stands(&told(json!({"last_seen": at(SILENT_AFTER_MS)})));
    assert_eq!(silent.state, Colour::Online, "the last moment that counts as heard of");
}

/// Nothing is inferred from a directory that is not heard of.
#[test]
fn silence_is_judged_as_of_what_is_known() {
    let long_ago = SILENT_AFTER_MS * 2;
    let health = told(json!({"last_seen": at(long_ago + 1_000)}));
    let (fact, outlet) =
        (fact(DeviceState::Active), outlet(SigningMode::Cluster, OutletStatus::Active));
    let known = Configured {
        fact: &fact,
        outlet: Some(&outlet),
        counters: None,
        manifest_version: None,
        now: NOW,
        heard: UnixMs::new(NOW.get() - long_ago),
    };
    let standing = of(&known, Some(&health)).expect("it stands");
    assert_eq!(standing.state, Colour::Online);
    assert!(standing.detail.ends_with("the directory has not been heard of since)"));
    let known = Configured { heard: NOW, ..known };
    assert_eq!(of(&known, Some(&health)).expect("it stands").state, Colour::Offline);
}

/// The ledger goes on between two words of a proxy: only what one word says of both is compared.
#[test]
fn a_real_device_that_sells_has_lost_nothing() {
    let (fact, outlet) =
        (fact(DeviceState::Active), outlet(SigningMode::Def, OutletStatus::Active));
    let mut counters = Counters::new(outlet.clone(), 1);
    let series = DeviceSeries { last: 9, head: [0; 32], closed: 0 };
    counters.device_series.insert("def-1".into(), series);
    let known = Configured {
        fact: &fact,
        outlet: Some(&outlet),
        counters: Some(&counters),
        manifest_version: None,
        now: NOW,
        heard: NOW,
    };
    let drift = |changes| of(&known, Some(&a_real_one(changes))).expect("it stands").drift;
    assert_eq!(drift(json!({"last_sequence": 7, "imported_sequence": 7})), []);
    let lost = drift(json!({"last_sequence": 6, "imported_sequence": 7}));
    assert_eq!((&*lost[0].field, &*lost[0].reported), ("last_sequence", "6"));
}

#[test]
fn what_cannot_seal_is_red_whatever_its_proxy_says() {
    let health = told(json!({}));
    let stands = |state: DeviceState, status, mode, told: bool| {
        let (fact, outlet) = (fact(state), outlet(mode, status));
        let known = Configured {
            fact: &fact,
            outlet: Some(&outlet),
            counters: None,
            manifest_version: None,
            now: NOW,
            heard: NOW,
        };
        of(&known, told.then_some(&health))
    };
    let cluster = SigningMode::Cluster;
    for (state, status, mode, told, words) in [
        (DeviceState::Registered, OutletStatus::Active, cluster, true, "activation code"),
        (DeviceState::Active, OutletStatus::Suspended, cluster, true, "suspended"),
        (DeviceState::Active, OutletStatus::Closed, cluster, true, "closed"),
        (DeviceState::Active, OutletStatus::Active, cluster, false, "no proxy"),
        (DeviceState::Active, OutletStatus::Active, SigningMode::Def, true, "signing mode def"),
    ] {
        let standing = stands(state, status, mode, told).expect("it stands");
        assert_eq!(standing.state, Colour::Blocked, "{words}");
        assert!(standing.detail.contains(words), "{standing:?}");
    }
    for gone in [DeviceState::Revoked, DeviceState::Replaced { by: "def-2".into() }] {
        assert_eq!(stands(gone, OutletStatus::Active, cluster, true), None);
    }
}

#[test]
fn drift_names_what_is_registered_and_what_is_reported() {
    let fields = |health: DeviceHealth| {
        let rows = stands(&health).drift.into_iter();
        rows.map(|row| format!("{} {} {}", row.field, row.configured, row.reported))
            .collect::<Vec<_>>()
    };
    for (changes, row) in [
        (json!({"outlet_id": "outlet-goma"}), "outlet_id outlet-gombe outlet-goma"),
        (json!({"number_prefix": "KIN-GOMA"}), "number_prefix KIN-GOMBE KIN-GOMA"),
        (json!({"protocol_version": 2}), "protocol_version 1 2"),
        (
            json!({"tax_manifest_version": "2025-01-01"}),
            "tax_manifest_version 2026-02-01 2025-01-01",
        ),
        (json!({"firmware_before": "0.0.9"}), "firmware_version 0.0.9 0.1.0"),
        (json!({"drift": "the registered key is none"}), "device  the registered key is none"),
    ] {
        assert_eq!(fields(told(changes)), [row]);
    }
    let (fact, outlet) =
        (fact(DeviceState::Active), outlet(SigningMode::Def, OutletStatus::Active));
    let known = Configured {
        fact: &fact,
        outlet: Some(&outlet),
        counters: None,
        manifest_version: None,
        now: NOW,
        heard: NOW,
    };
    let drift = of(&known, Some(&told(json!({})))).expect("it stands").drift;
    assert_eq!((&*drift[0].configured, &*drift[0].reported), ("def", "cluster"));
}

#[test]
fn warnings_come_in_time() {
    let codes = |changes| {
        let found = stands(&told(changes)).warnings.into_iter();
        found.map(|warning| warning.code).collect::<Vec<_>>()
    };
    let ends = |text: String| codes(json!({"certificate_expires_at": text}));
    assert_eq!(ends(after(31 * 24 * HOUR_MS)), []);
    assert_eq!(ends(after(30 * 24 * HOUR_MS)), [WarningCode::CertificateExpiresSoon]);
    assert_eq!(ends(at(0)), [WarningCode::CertificateExpired]);
    assert_eq!(codes(json!({"offline": {"numbers_left": 49}})), [WarningCode::NumbersLow]);
    assert_eq!(codes(json!({"offline": {"refused": 1}})), [WarningCode::OfflineSealsRefused]);
    assert_eq!(codes(json!({"offline": {"damages": 1}})), [WarningCode::SpoolDamaged]);
    let late = json!({"offline": {"waiting": 1, "waiting_since": at(HOUR_MS + 1)}});
    assert_eq!(codes(late), [WarningCode::DeliveryLate]);
    let real = stands(&a_real_one(json!({"import_stopped": true, "free_memory_bytes": 0})));
    let found: Vec<WarningCode> = real.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(found, [WarningCode::ImportStopped, WarningCode::MemoryLow]);
}

/// A document of an older proxy, which told of real devices only, still reads.
#[test]
fn older_documents_are_of_real_devices() {
    let health: DeviceHealth = serde_json::from_value(json!({
        "state": "up", "firmware_version": "2.4.1", "last_sequence": 3, "imported_sequence": 3,
        "free_memory_bytes": 9_999_999, "queue_depth": 0, "reconnects": 0, "import_stopped": false,
        "last_seen": at(5),
    }))
    .expect("a document");
    assert_eq!((stands(&health).state, stands(&health).drift), (Colour::Online, vec![]));
}
