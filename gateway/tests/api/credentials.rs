//! Numbers lent to a terminal through the API, sealed under while nobody is reached, and brought back.

use ed25519_dalek::{Signer as _, SigningKey};
use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::credential::Credential;
use fiscus_ledger::hash::{Hash32, Tagged, hex};
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::offline::{NextSeal, SealedOffline};
use fiscus_ledger::seal::AuthCode;
use fiscus_ledger::time::UnixMs;
use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::{World, sale};

const OUTLET: &str = "outlet-limete";

fn till() -> SigningKey {
    SigningKey::from_bytes(&[42; 32])
}

fn wanted() -> Value {
    let key = encode_standard(till().verifying_key().as_bytes());
    json!({"outlet_id": OUTLET, "pos_terminal_id": "till-1", "public_key": key, "numbers": 5, "hours": 1})
}

async fn lend(world: &World, by: &str, key: &str, body: &Value) -> Answer {
    world.post("/api/v1/credentials").by(by).idempotent(key).json(body).send().await
}

async fn deliver(world: &World, seals: &[Value]) -> Answer {
    let body = json!({"outlet_id": OUTLET, "seals": seals});
    world.post("/api/v1/invoices/reconcile").by("owner").json(&body).send().await
}

async fn end(world: &World, by: &str, id: &str, reason: &str) -> Answer {
    let path = format!("/api/v1/credentials/{id}?outlet_id={OUTLET}&reason={reason}");
    world.call("DELETE", &path).by(by).send().await
}

fn of(lent: &Value) -> Credential {
    Credential::from_compact(lent["credential"].as_str().expect("it is signed"))
        .expect("a credential")
}

/// Seals as the terminal does when it is alone.
fn seal(credential: &Credential, place: u64, prev_hash: Hash32, price: u32) -> SealedOffline {
    let timestamp = UnixMs::new(credential.terms().not_before_ms);
    let text = sale(OUTLET, price).to_string();
    let manifest = Manifest::builtin();
    let parsed = parse_lenient(text.as_bytes(), &manifest, timestamp).expect("a sale");
    let next = NextSeal { credential, place, prev_hash, timestamp, blind: [9; 32] };
    let sign = |hash: &Hash32| till().sign(hash).to_bytes();
    next.seal("verify.example.cd", &parsed.invoice, sign).expect("a seal")
}

fn body(sealed: &SealedOffline) -> Value {
    let seal = &sealed.seal;
    // The text of the invoice goes through a JSON value here: its fields are in the canonical order, which
    // serde_json keeps.
    json!({
        "credential_id": &*seal.credential_id,
        "place": seal.place,
        "timestamp": seal.timestamp.to_string(),
        "blind": hex(&seal.blind),
        "prev_hash": hex(&seal.prev_hash),
        "signature": hex(&seal.signature),
        "invoice": "INVOICE",
    })
}

/// The request's text, with the invoices' own bytes in it.
async fn deliver_bytes(world: &World, sealed: &[&SealedOffline]) -> Answer {
    let seals: Vec<String> = sealed
        .iter()
        .map(|sealed| {
            let invoice = std::str::from_utf8(&sealed.seal.invoice).expect("text");
            body(sealed).to_string().replace("\"INVOICE\"", invoice)
        })
        .collect();
    let text = format!(r#"{{"outlet_id":"{OUTLET}","seals":[{}]}}"#, seals.join(","));
    let call = world.post("/api/v1/invoices/reconcile").by("owner");
    call.body("application/json", text).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_lent_sealed_under_and_brought_back() {
    let world = World::start().await;
    let lent = lend(&world, "owner", "c1", &wanted()).await.expect(201).json();
    assert_eq!(
        (&lent["first"], &lent["last"], &lent["status"]),
        (&json!(1), &json!(5), &json!("active"))
    );
    let again = lend(&world, "owner", "c1", &wanted()).await.expect(200).json();
    assert_eq!(again, lent, "the same, however often it is asked for");
    let mut other = wanted();
    other["numbers"] = json!(6);
    assert_eq!(
        lend(&world, "owner", "c1", &other).await.expect(409).code(),
        "IDEMPOTENCY_CONFLICT"
    );

    let credential = of(&lent);
    let first = seal(&credential, 1, credential.terms().block_entry_hash, 100);
    let second = seal(&credential, 2, first.entry_hash, 200);
    let third = seal(&credential, 3, second.entry_hash, 300);
    // Out of order: it waits.
    let told = deliver_bytes(&world, &[&second]).await.expect(200).json();
    assert_eq!(told["data"][0]["outcome"], "waiting", "{told}");
    let told = deliver_bytes(&world, &[&first, &second, &third]).await.expect(200).json();
    let outcomes: Vec<&str> = told["data"]
        .as_array()
        .expect("answers")
        .iter()
        .map(|one| one["outcome"].as_str().expect("one"))
        .collect();
    assert_eq!(outcomes, ["appended", "already_appended", "appended"], "{told}");
    let invoice = &told["data"][0]["invoice"];
    let printed = AuthCode::of_signature(&first.seal.signature).to_string();
    assert_eq!(invoice["offline"]["auth_code"], printed.as_str(), "the code on the paper");
    assert_ne!(invoice["auth_code"], printed.as_str(), "and the ledger's own");
    let read =
        world.get("/api/v1/invoices/KIN-LIMETE-1").by("owner").send().await.expect(200).json();
    assert_eq!(read["offline"], invoice["offline"]);

    let path = format!("/api/v1/credentials?outlet_id={OUTLET}&limit=1");
    let page = world.get(&path).by("auditor").send().await.expect(200).json();
    assert_eq!(page["data"][0]["credential_id"], lent["credential_id"]);
    assert_eq!(
        (&page["data"][0]["sealed"], &page["data"][0]["outstanding"]),
        (&json!(3), &json!(2))
    );

    let id = lent["credential_id"].as_str().expect("an id");
    let ended = end(&world, "owner", id, "returned").await.expect(200).json();
    assert_eq!(ended["status"], "returned");
    assert_eq!(
        (&ended["outstanding_numbers"], &ended["outstanding_means"]),
        (&json!([[4, 5]]), &json!("returned_unused"))
    );
    assert_eq!(page["data"][0]["outstanding_means"], "open");
    assert_eq!(end(&world, "owner", id, "revoked").await.expect(200).json(), ended, "once");
    let status = world.get(&format!("/api/v1/outlets/{OUTLET}/status")).by("owner").send().await;
    assert_eq!(status.expect(200).json()["missing_numbers"]["ranges"], json!([[4, 5]]));
    // The next sale goes on behind them.
    let call = world.post("/api/v1/invoices").by("owner").idempotent("s");
    let sold = call.json(&sale(OUTLET, 400)).send().await.expect(201).json();
    assert_eq!(sold["fiscal_number"], "KIN-LIMETE-6");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_genuine_is_refused_one_by_one() {
    let world = World::start().await;
    let lent = lend(&world, "owner", "c1", &wanted()).await.expect(201).json();
    let credential = of(&lent);
    let good = seal(&credential, 1, credential.terms().block_entry_hash, 100);
    let mut forged = good.clone();
    forged.seal.signature[0] ^= 1;
    let mut beyond = good.clone();
    beyond.seal.place = 6;
    let told = deliver_bytes(&world, &[&forged, &beyond, &good]).await.expect(200).json();
    let code = |at: usize| told["data"][at]["problem"]["code"].clone();
    assert_eq!(code(0), "OFFLINE_SIGNATURE_INVALID", "{told}");
    assert_eq!(code(1), "OFFLINE_OUT_OF_BLOCK");
    assert_eq!(told["data"][2]["outcome"], "appended", "the others are not harmed");
    assert_eq!((&told["appended"], &told["refused"]), (&json!(1), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_and_what_is_asked_wrongly() {
    let world = World::start().await;
    for (field, value) in [
        ("public_key", json!("AAAA")),
        ("numbers", json!(0)),
        ("numbers", json!(501)),
        ("hours", json!(73)),
        ("pos_terminal_id", json!("")),
    ] {
        let mut body = wanted();
        body[field] = value;
        let problem = lend(&world, "owner", "x", &body).await.expect(422);
        assert_eq!(problem.json()["errors"][0]["pointer"], format!("/{field}"));
    }
    assert_eq!(lend(&world, "other", "x", &wanted()).await.expect(404).code(), "OUTLET_UNKNOWN");
    assert_eq!(lend(&world, "auditor", "x", &wanted()).await.expect(403).code(), "SCOPE_MISSING");
    let lent = lend(&world, "owner", "c1", &wanted()).await.expect(201).json();
    let id = lent["credential_id"].as_str().expect("an id");
    let refused = end(&world, "supervisor", id, "revoked").await.expect(403);
    assert_eq!(refused.code(), "SCOPE_MISSING");
    let unknown = end(&world, "owner", "cred-nobody", "revoked").await.expect(404);
    assert_eq!(unknown.code(), "CREDENTIAL_UNKNOWN");
    assert_eq!(deliver(&world, &[]).await.expect(422).code(), "LIMIT_EXCEEDED");
    let revoked = end(&world, "owner", id, "revoked").await.expect(200).json();
    assert_eq!(
        (&revoked["status"], &revoked["outstanding_means"]),
        (&json!("revoked"), &json!("missing"))
    );
}

/// A terminal returns its own credential; a key that may only seal ends nobody else's.
#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_returned_by_its_own_terminal_or_by_an_administrator() {
    let world = World::start().await;
    let lent = lend(&world, "supervisor", "c1", &wanted()).await.expect(201).json();
    let id = lent["credential_id"].as_str().expect("an id");
    let hash = Tagged::new("fiscus/credential-return/v1").str(OUTLET).str(id).finish();
    let end_with = async |by: &str, key: &SigningKey, reason: &str| {
        // The three characters of base64 that mean something in a query.
        let proof = encode_standard(&key.sign(&hash).to_bytes());
        let proof = proof.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        end(&world, by, id, &format!("{reason}&proof={proof}")).await
    };
    let refused = end(&world, "supervisor", id, "returned").await.expect(400);
    assert_eq!(refused.code(), "PARAMETER_INVALID");
    let other = SigningKey::from_bytes(&[43; 32]);
    end_with("supervisor", &other, "returned").await.expect(403);
    end_with("supervisor", &till(), "revoked").await.expect(403);
    end_with("auditor", &till(), "returned").await.expect(403);
    let ended = end_with("supervisor", &till(), "returned").await.expect(200).json();
    assert_eq!(ended["status"], "returned");
    let lent = lend(&world, "supervisor", "c2", &wanted()).await.expect(201).json();
    let id = lent["credential_id"].as_str().expect("an id");
    assert_eq!(end(&world, "owner", id, "returned").await.expect(200).json()["status"], "returned");
}
