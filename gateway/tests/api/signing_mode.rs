//! Who seals for an outlet, changed there and back: both series go on where they were, and what is not to be is refused.

use fiscus_ledger::activation::activation_hash;
use fiscus_ledger::device_seal::{DeviceSeal, entry_hash, journal_origin};
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::invoice::{parse_lenient, parse_strict};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::{Answer as Told, ClusterClient};
use fiscus_proto::command::{self as proto, ActivateDevice, Command, command};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::{LIMIT, World, sale};

const OUTLET: &str = "outlet-gombe";
const DEVICE: &str = "DEF-GOMBE-1";

/// A real device that seals one invoice after the other.
struct Device {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    sequence: u64,
    head: Hash32,
}

impl Device {
    fn new() -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref(), &random).expect("a key");
        Self { pair, random, sequence: 0, head: journal_origin(DEVICE) }
    }

    fn seal(&mut self, price: u32) -> DeviceSeal {
        let time = UnixMs::new(1_795_000_000_000);
        let text = sale(OUTLET, price).to_string();
        let manifest = Manifest::builtin();
        let parsed = parse_lenient(text.as_bytes(), &manifest, time).expect("a sale");
        let invoice = parsed.invoice.canonical_text().as_bytes().to_vec();
        let mut seal = DeviceSeal {
            device_id: DEVICE.into(),
            sequence: self.sequence + 1,
            timestamp: time,
            prev_hash: self.head,
            signature: [0; 64],
            invoice,
        };
        let parsed = parse_strict(&seal.invoice, &manifest).expect("it is canonical");
        let entry = seal.entry(&parsed);
        let signed = self.pair.sign(&self.random, entry.as_bytes()).expect("a signature");
        seal.signature.copy_from_slice(signed.as_ref());
        (self.sequence, self.head) = (seal.sequence, entry_hash(&entry));
        seal
    }
}

async fn import(client: &ClusterClient, seal: &DeviceSeal) -> Told {
    let import = proto::ImportDeviceSeal {
        outlet_id: OUTLET.to_owned(),
        seal: Some(proto::DeviceSeal {
            device_id: seal.device_id.to_string(),
            sequence: seal.sequence,
            timestamp_ms: seal.timestamp.get(),
            prev_hash: seal.prev_hash.to_vec().into(),
            signature: seal.signature.to_vec().into(),
            invoice: seal.invoice.clone().into(),
        }),
    };
    let command = Command { command: Some(command::Command::ImportDeviceSeal(import)) };
    client.submit(1, command, LIMIT).await.expect("an answer")
}

async fn switch(world: &World, by: &str, key: &str, mode: &str) -> Answer {
    let path = format!("/api/v1/outlets/{OUTLET}/signing-mode");
    world.post(&path).by(by).idempotent(key).json(&json!({ "mode": mode })).send().await
}

async fn sell(world: &World, key: &str, price: u32) -> Answer {
    let call = world.post("/api/v1/invoices").by("owner").idempotent(key);
    call.json(&sale(OUTLET, price)).send().await
}

async fn status(world: &World) -> Value {
    let path = format!("/api/v1/outlets/{OUTLET}/status");
    world.get(&path).by("owner").send().await.expect(200).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outlet_changes_who_seals_for_it_and_back() {
    let mut world = World::start().await;
    let client = world.cluster.client().await;
    let mut device = Device::new();
    let new = json!({"device_id": DEVICE, "outlet_id": OUTLET, "name": "DEF"});
    let made = world.post("/api/v1/devices").by("owner").idempotent("d").json(&new).send().await;
    let code = made.expect(201).json()["activation_code"].as_str().expect("a code").to_owned();
    let activate = ActivateDevice {
        activation_hash: activation_hash(&code).to_vec().into(),
        public_key: device.pair.public_key().as_ref().to_vec().into(),
    };
    let activate = Command { command: Some(command::Command::ActivateDevice(activate)) };
    assert!(matches!(client.submit(0, activate, LIMIT).await, Ok(Told::Recorded(_))));
    // Its group hears of the device some moments later.
    let first = device.seal(100);
    while !matches!(import(&client, &first).await, Told::Recorded(_)) {
        tokio::task::yield_now().await;
    }

    let sold = sell(&world, "s1", 200).await.expect(201).json();
    let before = sold["sequence"].as_u64().expect("a number");
    let there = switch(&world, "owner", "m1", "def").await.expect(200).json();
    assert_eq!(there["signing_mode"], "def");
    let again = switch(&world, "owner", "m1", "def").await.expect(200).json();
    assert_eq!(again["signing_mode"], "def", "a repetition changes nothing");
    let refused = sell(&world, "s2", 300).await.expect(409);
    assert_eq!(refused.code(), "SIGNING_MODE_DEF");
    let lend = json!({"outlet_id": OUTLET, "pos_terminal_id": "till-1",
        "public_key": "ebVWLo/mVPlAeLES6KmLp5AfhTrmlbw7f8Vk0TfzP3w="});
    let lend = world.post("/api/v1/credentials").by("owner").idempotent("c").json(&lend);
    assert_eq!(lend.send().await.expect(409).code(), "SIGNING_MODE_DEF", "nor are numbers lent");
    for price in [400, 500] {
        assert!(matches!(import(&client, &device.seal(price)).await, Told::Recorded(_)));
    }
    let now = status(&world).await;
    assert_eq!(now["signing_mode"], "def");
    assert_eq!(now["last_sequence"], before, "the ledger's own series stands still");
    assert_eq!(now["device_series"], json!([{"device_id": DEVICE, "last_sequence": 3}]));

    let back = switch(&world, "owner", "m2", "cluster").await.expect(200).json();
    assert_eq!(back["signing_mode"], "cluster");
    let sold = sell(&world, "s3", 600).await.expect(201).json();
    assert_eq!(sold["sequence"], before + 1, "it goes on where it was");
    // What the device had sealed and was not told yet comes in, whoever seals.
    assert!(matches!(import(&client, &device.seal(700)).await, Told::Recorded(_)));
    assert!(matches!(import(&client, &first).await, Told::AlreadyRecorded(_)));
    let skipped = DeviceSeal { sequence: device.sequence + 2, ..device.seal(800) };
    assert!(matches!(
        import(&client, &skipped).await,
        Told::Refused(refusal) if refusal.code == "DEVICE_SEAL_OUT_OF_ORDER"
    ));
    assert_eq!(status(&world).await["device_series"][0]["last_sequence"], 4);

    // The journal states the last number of each series at each switch.
    let tail = world.get(&format!("/api/v1/audit/actions?outlet_id={OUTLET}")).by("owner");
    let tail = tail.send().await.expect(200).json();
    let actions: Vec<&str> = tail["data"]
        .as_array()
        .expect("lines")
        .iter()
        .filter_map(|line| line["action"].as_str())
        .filter(|action| action.contains("seal") || action.contains("signing"))
        .collect();
    assert_eq!(actions.len(), 2, "each switch once: {tail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_change_who_seals_does_not() {
    let world = World::start().await;
    for by in ["cashier", "supervisor", "auditor", "sealer"] {
        assert_eq!(switch(&world, by, by, "def").await.expect(403).code(), "SCOPE_MISSING", "{by}");
    }
    for by in ["other", "goma"] {
        assert_eq!(
            switch(&world, by, by, "def").await.expect(404).code(),
            "OUTLET_UNKNOWN",
            "{by}"
        );
    }
    let wrong = switch(&world, "owner", "w", "paper").await;
    assert!([400, 422].contains(&wrong.status), "{}", wrong.text());
    let path = format!("/api/v1/outlets/{OUTLET}");
    let read = world.get(&path).by("owner").send().await.expect(200);
    let stale = format!("{path}/signing-mode");
    let call = world.post(&stale).by("owner").idempotent("x").header("if-match", "\"99-99\"");
    let conflict = call.json(&json!({"mode": "def"})).send().await.expect(409);
    assert_eq!(conflict.code(), "VERSION_CONFLICT");
    assert_eq!(read.json()["signing_mode"], "cluster");
    assert_eq!(status(&world).await["signing_mode"], "cluster", "nothing has changed");
}
