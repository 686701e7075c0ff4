//! Fiscal devices: registered, activated with their code, replaced and revoked.

use fiscus_ledger::activation::activation_hash;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::{Answer as Told, ClusterClient};
use fiscus_proto::command::{ActivateDevice, Command, PutDocument, command};
use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::{LIMIT, World};

async fn post(world: &World, by: &str, path: &str, key: &str, body: &Value) -> Answer {
    world.post(&format!("/api/v1/devices{path}")).by(by).idempotent(key).json(body).send().await
}

async fn state(world: &World, device_id: &str) -> String {
    let path = format!("/api/v1/devices/{device_id}");
    let device = world.get(&path).by("owner").send().await.expect(200).json();
    device["state"].as_str().expect("a state").to_owned()
}

/// What a device does with its code.
pub(crate) async fn activate(client: &ClusterClient, code: &str) -> Told {
    let activate = ActivateDevice {
        activation_hash: activation_hash(code).to_vec().into(),
        public_key: vec![9; 32].into(),
    };
    let command = Command { command: Some(command::Command::ActivateDevice(activate)) };
    client.submit(0, command, LIMIT).await.expect("an answer")
}

fn code(answer: &Answer) -> String {
    answer.json()["activation_code"].as_str().expect("a code").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_lives_from_its_registration_to_its_end() {
    let mut world = World::start().await;
    let client = world.cluster.client().await;
    let new = json!({"device_id": "def-1", "outlet_id": "outlet-gombe", "name": "Caisse 1"});
    let made = post(&world, "owner", "", "d", &new).await.expect(201);
    assert_eq!(made.header("cache-control"), "no-store");
    assert!(code(&made).starts_with("def-1/"), "a code names its device");
    let again = post(&world, "owner", "", "d", &new).await.expect(200);
    assert_eq!(code(&again), code(&made), "a lost answer can be asked for again");
    let other = json!({"device_id": "def-1", "outlet_id": "outlet-gombe", "name": "Caisse 2"});
    let conflict = post(&world, "owner", "", "d", &other).await.expect(409);
    assert_eq!(conflict.code(), "IDEMPOTENCY_CONFLICT");
    let taken = post(&world, "owner", "", "d2", &new).await.expect(409);
    assert_eq!(taken.code(), "DEVICE_EXISTS");
    assert_eq!(state(&world, "def-1").await, "registered");

    assert!(matches!(activate(&client, "def-1/0000-0000-0000-0000").await, Told::Refused(_)));
    assert!(matches!(activate(&client, &code(&made)).await, Told::Recorded(_)));
    assert!(matches!(activate(&client, &code(&made)).await, Told::Refused(_)), "once");
    let active = async || state(&world, "def-1").await == "active";
    while !active().await {
        tokio::task::yield_now().await;
    }

    let successor = json!({"device_id": "def-2", "name": "Caisse 1"});
    let replaced = post(&world, "owner", "/def-1/replace", "r", &successor).await.expect(201);
    assert_eq!(replaced.json()["outlet_id"], "outlet-gombe");
    let again = post(&world, "owner", "/def-1/replace", "r", &successor).await.expect(200);
    assert_eq!(code(&again), code(&replaced));
    let old = world.get("/api/v1/devices/def-1").by("auditor").send().await.expect(200).json();
    assert_eq!((&old["state"], &old["replaced_by"]), (&json!("replaced"), &json!("def-2")));
    let late = json!({"device_id": "def-3", "name": "Caisse 1"});
    let twice = post(&world, "owner", "/def-1/replace", "r2", &late).await.expect(409);
    assert_eq!(twice.code(), "DEVICE_TRANSITION");

    for key in ["v", "v", "v2"] {
        let revoked = post(&world, "owner", "/def-2/revoke", key, &json!({})).await.expect(200);
        assert_eq!(revoked.json()["state"], "revoked");
    }
    assert!(matches!(activate(&client, &code(&replaced)).await, Told::Refused(_)));
    let list = world.get("/api/v1/devices?outlet_id=outlet-gombe").by("owner").send().await;
    assert_eq!(list.expect(200).json()["data"].as_array().expect("data").len(), 2);
    let status = world.get("/api/v1/outlets/outlet-gombe/status").by("owner").send().await;
    let devices = &status.expect(200).json()["devices"];
    assert_eq!(
        (&devices[1]["device_id"], &devices[1]["state"]),
        (&json!("def-2"), &json!("revoked"))
    );
    let log = world.get("/api/v1/audit/actions").by("owner").send().await.expect(200).json();
    let actions = log["data"].as_array().expect("data").iter();
    let actions: Vec<&str> = actions.map(|line| line["action"].as_str().expect("text")).collect();
    for action in ["device.register", "device.replace", "device.revoke"] {
        assert!(actions.contains(&action), "{actions:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_its_tenants_and_its_managers() {
    let world = World::start().await;
    let new = json!({"device_id": "def-1", "outlet_id": "outlet-gombe", "name": "Caisse 1"});
    let refused = post(&world, "cashier", "", "c", &new).await.expect(403);
    assert_eq!(refused.code(), "SCOPE_MISSING");
    let foreign = post(&world, "other", "", "o", &new).await.expect(404);
    assert_eq!(foreign.code(), "OUTLET_UNKNOWN");
    let far = post(&world, "goma", "", "g", &new).await.expect(404);
    assert_eq!(far.code(), "OUTLET_UNKNOWN");
    post(&world, "manager", "", "m", &new).await.expect(201);
    for by in ["other", "goma"] {
        let hidden = world.get("/api/v1/devices/def-1").by(by).send().await.expect(404);
        assert_eq!(hidden.code(), "DEVICE_UNKNOWN");
        let stopped = post(&world, by, "/def-1/revoke", "v", &json!({})).await.expect(404);
        assert_eq!(stopped.code(), "DEVICE_UNKNOWN");
    }
    let wrong = json!({"device_id": "a/b", "outlet_id": "outlet-gombe", "name": ""});
    assert_eq!(post(&world, "owner", "", "w", &wrong).await.expect(422).code(), "FIELD_INVALID");
}

/// A proxy's word on a device, with changes.
async fn tell(client: &ClusterClient, version: u64, changes: Value) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let now = u64::try_from(now.as_millis()).expect("milliseconds");
    let at = |ms: u64| UnixMs::new(ms).to_string();
    let mut health = json!({
        "role": "serve", "state": "up", "firmware_version": "0.1.0", "protocol_version": 1,
        "outlet_id": "outlet-gombe", "number_prefix": "KIN-GOMBE", "tax_manifest_version": "2026-02-01",
        "last_sequence": 0, "imported_sequence": 0, "free_memory_bytes": 1_u64 << 30, "queue_depth": 0,
        "reconnects": 0, "import_stopped": false, "last_seen": at(now),
        "certificate_expires_at": at(now + 90 * 86_400_000),
        "offline": {
            "state": "online", "numbers_left": 412, "until": at(now + 86_400_000), "waiting": 0, "refused": 0,
            "damages": 0, "spool_bytes": 4_096,
        },
    });
    for (name, value) in changes.as_object().expect("changes") {
        let value = match value.as_i64().filter(|_| name.ends_with("_at") || name == "last_seen") {
            Some(ago) => json!(at(now.checked_add_signed(-ago).expect("a time"))),
            None => value.clone(),
        };
        health[name.as_str()] = value;
    }
    let put = PutDocument {
        kind: "device_health".to_owned(),
        id: "def-1".to_owned(),
        expected_version: version,
        bytes: health.to_string().into_bytes().into(),
    };
    let put = Command { command: Some(command::Command::PutDocument(put)) };
    assert!(matches!(client.submit(0, put, LIMIT).await, Ok(Told::Done)));
}

/// How a device stands once the gateway has heard something of it.
async fn standing(world: &World, heard: impl Fn(&Value) -> bool) -> Value {
    loop {
        let told = world.get("/api/v1/devices/def-1").by("auditor").send().await.expect(200).json();
        if heard(&told["standing"]) {
            return told["standing"].clone();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_stands_as_its_proxy_and_its_silence_say() {
    let mut world = World::start().await;
    let client = world.cluster.client().await;
    let new = json!({"device_id": "def-1", "outlet_id": "outlet-gombe", "name": "Caisse 1"});
    let made = post(&world, "owner", "", "d", &new).await.expect(201);
    assert_eq!(made.json()["standing"]["state"], "blocked", "it waits for its code");
    assert!(matches!(activate(&client, &code(&made)).await, Told::Recorded(_)));
    let never =
        standing(&world, |told| told["detail"].as_str().is_some_and(|d| d.contains("no proxy")));
    assert_eq!(never.await["lamp"], "red");

    let is = |state: &'static str| move |told: &Value| told["state"] == state;
    tell(&client, 0, json!({})).await;
    let fresh = standing(&world, is("online")).await;
    assert_eq!((&fresh["lamp"], &fresh["numbers_left"]), (&json!("green"), &json!(412)));
    assert_eq!((&fresh["drift"], &fresh["warnings"]), (&json!([]), &json!([])));

    tell(&client, 1, json!({"last_seen": 600_000})).await;
    let stale = standing(&world, is("offline")).await;
    assert_eq!((&stale["lamp"], &stale["numbers_left"]), (&json!("amber"), &json!(412)));
    let path = "/api/v1/outlets/outlet-gombe/status";
    let status = world.get(path).by("owner").send().await.expect(200).json();
    assert_eq!(status["standing"]["state"], "offline");
    let words = status["standing"]["detail"].as_str().expect("words");
    assert!(words.starts_with("device def-1: not heard of since"), "{words}");
    assert_eq!(status["devices"][0]["standing"], stale);

    tell(&client, 2, json!({"last_seen": 600_000, "offline": null})).await;
    assert_eq!(standing(&world, is("blocked")).await["lamp"], "red");

    // As another outlet's, in another role, with a number that the ledger never gave away, and an old certificate.
    let drift = json!({"outlet_id": "outlet-goma", "role": "attach", "last_sequence": 99,
        "imported_sequence": 99, "certificate_expires_at": 1_000, "offline": null});
    tell(&client, 3, drift).await;
    let found =
        standing(&world, |told| told["drift"].as_array().is_some_and(|d| d.len() > 1)).await;
    let rows: Vec<(&str, &str, &str)> = found["drift"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().expect("text");
            (text("field"), text("configured"), text("reported"))
        })
        .collect();
    assert_eq!(
        rows,
        [("signing_mode", "cluster", "def"), ("outlet_id", "outlet-gombe", "outlet-goma")]
    );
    assert_eq!(found["warnings"][0]["code"], "CERTIFICATE_EXPIRED");
    tell(&client, 4, json!({"last_sequence": 99})).await;
    let counters = standing(&world, |told| told["drift"][0]["field"] == "last_sequence").await;
    assert_eq!(counters["drift"][0]["reported"], "99");
    let list = world.get("/api/v1/devices?outlet_id=outlet-gombe").by("owner").send().await;
    assert_eq!(list.expect(200).json()["data"][0]["standing"], counters);

    assert_eq!(
        post(&world, "owner", "/def-1/revoke", "v", &json!({}))
            .await
            .expect(200)
            .json()
            .get("standing"),
        None
    );
}

/// Everybody may see the tax authority's key; the platform's operator alone registers it.
#[tokio::test(flavor = "multi_thread")]
async fn the_tax_authoritys_key_is_shown_to_all_and_registered_by_the_operator() {
    const PATH: &str = "/api/v1/tax-authority-key";
    let world = World::start().await;
    let key = |byte| {
        let key = ed25519_dalek::SigningKey::from_bytes(&[byte; 32]).verifying_key();
        json!({"public_key": fiscus_ledger::base64::encode_standard(key.as_bytes())})
    };
    let none = world.get(PATH).by("auditor").send().await.expect(404);
    assert_eq!(none.code(), "AUTHORITY_KEY_UNKNOWN");
    for by in ["owner", "manager", "sealer", "auditor"] {
        let refused = world.call("PUT", PATH).by(by).json(&key(1)).send().await.expect(403);
        assert_eq!(refused.code(), "SCOPE_MISSING", "{by}");
    }
    for wrong in ["", "AAAA", "\"", &"A".repeat(44)] {
        let wrong = json!({ "public_key": wrong });
        let refused = world.call("PUT", PATH).by("platform").json(&wrong).send().await.expect(422);
        assert_eq!(refused.code(), "FIELD_INVALID");
    }
    world.get(PATH).by("auditor").send().await.expect(404);
    let made = world.call("PUT", PATH).by("platform").json(&key(1)).send().await.expect(200);
    assert_eq!((made.json(), made.header("etag")), (key(1), "\"1\""));
    let again = world.call("PUT", PATH).by("platform").json(&key(1)).send().await.expect(200);
    assert_eq!(again.header("etag"), "\"1\"", "nothing has changed");
    let put = || world.call("PUT", PATH).by("platform").json(&key(2));
    let late = put().header("if-match", "\"7\"").send().await.expect(409);
    assert_eq!(late.code(), "VERSION_CONFLICT");
    let made = put().header("if-match", "\"1\"").send().await.expect(200);
    assert_eq!(made.header("etag"), "\"2\"");
    for by in ["other", "owner", "platform"] {
        let shown = world.get(PATH).by(by).send().await.expect(200);
        assert_eq!((shown.json(), shown.header("etag")), (key(2), "\"2\""), "{by}");
    }
    let log = world.get("/api/v1/audit/actions").by("platform").send().await.expect(200).json();
    let actions = log["data"].as_array().expect("data").iter();
    let told = actions.filter(|line| line["action"] == "tax_authority_key.register");
    let told: Vec<&Value> = told.map(|line| &line["details"]["public_key"]).collect();
    assert_eq!(
        told,
        [&key(2)["public_key"], &key(1)["public_key"]],
        "each change, the newest first"
    );
}
