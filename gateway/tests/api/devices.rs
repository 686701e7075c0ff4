//! Fiscal devices: registered, activated with their code, replaced and revoked.

use fiscus_ledger::activation::activation_hash;
use fiscus_proto::client::{Answer as Told, ClusterClient};
use fiscus_proto::command::{ActivateDevice, Command, command};
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
