//! Genuine receipts, and what became of them; genuine receipts that were changed.

use fiscus_ledger::facts::Environment;
use fiscus_ledger::keys::{KeySet, ListedKey};
use fiscus_ledger::qr::{QrPayload, verify};
use serde_json::json;

use super::{by_number, by_qr, seal, text, world};
use crate::support::{World, sale};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_the_paper_learns_that_it_is_genuine() {
    let world = world().await;
    let sealed = seal(&world, "owner", "outlet-gombe", 1_160).await;
    let (number, code) = (text(&sealed, "fiscal_number"), text(&sealed, "auth_code"));
    let found = by_number(&world, number, code).await.expect(200);
    assert_eq!(found.header("cache-control"), "no-store");
    let expected = json!({
        "result": "verified",
        "fiscal_number": number,
        "invoice_type": "sale",
        "timestamp": sealed["timestamp"],
        "total": "1160.00",
        "currency": "CDF",
        "merchant_name": "Alimentation Gombe SARL",
        "outlet_name": "Point de vente outlet-gombe",
        "environment": "live",
        "fiscal_authority_id": sealed["fiscal_authority_id"],
        "auth_code": code,
        "credited": "none",
        "dgi_status": "queued",
        "ledger": "recorded",
        "sealed_offline": false,
    });
    assert_eq!(found.json(), expected, "no line and no buyer is among it");
    let scanned = by_qr(&world, text(&sealed, "qr_payload")).await.expect(200).json();
    assert_eq!(scanned, expected, "the code and the signature say the same");
    let loose = format!(" {} ", number.to_lowercase());
    let typed = code.replace('-', " ").to_lowercase();
    assert_eq!(by_number(&world, &loose, &typed).await.expect(200).json(), expected);

    let trial = seal(&world, "owner", "outlet-essai", 700).await;
    let found = by_qr(&world, text(&trial, "qr_payload")).await.expect(200).json();
    assert_eq!(found["result"], "verified");
    assert_eq!(found["environment"], "sandbox");
    assert_eq!(found["notice"], "TEST / SPÉCIMEN");
    assert_eq!(found["dgi_status"], "none");
}

async fn credit(world: &World, original: &str, price: u32) {
    let mut note = sale("outlet-gombe", price);
    note["invoice_type"] = json!("credit_note");
    note["original_fiscal_number"] = json!(original);
    let key = format!("credit-{price}");
    let call = world.post("/api/v1/invoices").by("owner").idempotent(&key);
    call.json(&note).send().await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_credited_since_is_told() {
    let world = world().await;
    let sealed = seal(&world, "owner", "outlet-gombe", 1_000).await;
    let number = text(&sealed, "fiscal_number");
    for (price, expected) in [(300, "partly"), (700, "fully")] {
        credit(&world, number, price).await;
        let found = by_qr(&world, text(&sealed, "qr_payload")).await.expect(200).json();
        assert_eq!((&found["result"], &found["credited"]), (&json!("verified"), &json!(expected)));
        let found = by_number(&world, number, text(&sealed, "auth_code")).await.expect(200).json();
        assert_eq!(found["credited"], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_receipt_is_told_by_its_evidence() {
    let world = world().await;
    let sealed = seal(&world, "owner", "outlet-gombe", 1_000).await;
    let qr = text(&sealed, "qr_payload");
    for (from, to, evidence) in [
        ("t=1000.00", "t=1.00", "signature"),
        ("k=sale", "k=advance", "signature"),
        ("fn=KIN-GOMBE-", "fn=KIN-GOMBE-9", "signature"),
        ("fn=KIN-GOMBE-", "fn=KIN-NOWHERE-", "signature"),
        ("https://verify.example.cd", "https://verify.examp1e.cd", "address"),
        ("fa=", "fa=x", "authority"),
    ] {
        let changed = qr.replacen(from, to, 1);
        assert_ne!(changed, qr, "{from}");
        let found = by_qr(&world, &changed).await.expect(200).json();
        assert_eq!(found["result"], "tampered", "{changed}: {found}");
        assert_eq!(found["evidence"], evidence, "{changed}");
    }
    let cut = by_qr(&world, &qr[..qr.len() - 3]).await.expect(422);
    assert_eq!((cut.code().as_str(), cut.pointers()), ("QR_MALFORMED", vec!["/qr".to_owned()]));
    let other = by_qr(&world, "https://example.cd/").await.expect(422);
    assert_eq!(other.code(), "QR_MALFORMED");
    let foreign = include_str!("../../../../tests/vectors/seal.json");
    let foreign = foreign.split("\"qr_url\": \"").nth(1).and_then(|rest| rest.split('"').next());
    let found = by_qr(&world, foreign.expect("a receipt of another ledger")).await.expect(200);
    assert_eq!(found.json()["result"], "not_found", "nobody here has signed it");
}

/// Every position of the text, over HTTP.
#[tokio::test(flavor = "multi_thread")]
async fn one_changed_character_anywhere_is_refused() {
    let world = world().await;
    let sealed = seal(&world, "owner", "outlet-gombe", 1_160).await;
    let qr = text(&sealed, "qr_payload");
    let changed = (0..qr.len()).map(|place| {
        let next = match qr.as_bytes()[place] {
            b'9' => '8',
            b'Z' => 'Y',
            b'z' => 'y',
            byte if byte.is_ascii_alphanumeric() => char::from(byte + 1),
            _ => 'x',
        };
        json!({ "qr": format!("{}{next}{}", &qr[..place], &qr[place + 1..]) })
    });
    let mut items: Vec<_> = changed.collect();
    items.push(json!({ "qr": qr }));
    let mut results = Vec::new();
    for items in items.chunks(100) {
        let batch = world.post("/api/v1/verify/batch").by("owner");
        let answer = batch.json(&json!({ "items": items })).send().await.expect(200).json();
        let data = answer["data"].as_array().expect("answers").clone();
        assert_eq!(data.len(), items.len());
        results.extend(data.into_iter().map(|item| text(&item, "result").to_owned()));
    }
    assert_eq!(results.pop().as_deref(), Some("verified"), "the text itself is genuine");
    for (place, result) in results.iter().enumerate() {
        assert!(["tampered", "unreadable"].contains(&result.as_str()), "{place}: {result}");
    }
    let tampered = results.iter().filter(|result| *result == "tampered").count();
    assert!(tampered > 150, "most changes are told as such: {tampered} of {}", results.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_keys_are_enough_without_a_network() {
    let world = world().await;
    let live = seal(&world, "owner", "outlet-gombe", 100).await;
    let trial = seal(&world, "owner", "outlet-essai", 100).await;
    let published = world.get("/.well-known/fiscal-keys.json").send().await.expect(200);
    assert_eq!(published.header("content-type"), "application/json");
    assert!(published.header("cache-control").starts_with("public, max-age="));
    let keys = KeySet::parse(&published.text()).expect("a list of keys");
    for (sealed, environment) in [(&live, Environment::Live), (&trial, Environment::Sandbox)] {
        let payload = QrPayload::parse(text(sealed, "qr_payload")).expect("a QR code");
        let verified = verify(&payload, &keys).expect("genuine");
        assert_eq!(verified.environment, environment);
        let id = text(sealed, "fiscal_authority_id");
        let Some(ListedKey::Usable(key)) = keys.get(id) else { panic!("{id} is not listed") };
        assert_eq!(key.environment, environment);
    }
    let etag = published.header("etag");
    let again = world.get("/.well-known/fiscal-keys.json").header("if-none-match", etag);
    let again = again.send().await.expect(304);
    assert_eq!((again.header("etag"), again.body.len()), (etag, 0));
}
