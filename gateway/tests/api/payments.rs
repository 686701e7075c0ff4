//! Payments: what providers say, before an invoice or after it, once.

use crate::support::{World, sale};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_is_recorded_once_and_stands_with_its_invoice() {
    let world = World::start().await;
    let call = world.post("/api/v1/invoices").by("owner").idempotent("sale");
    let sealed = call.json(&sale("outlet-gombe", 1_000)).send().await.expect(201).json();
    let number = sealed["fiscal_number"].as_str().expect("a number");
    let path = format!("/api/v1/invoices/{number}/payments");
    let state = |status: &str, amount: &str| {
        let said =
            json!({ "provider": "mpesa", "reference": "MP-1", "status": status, "amount": amount });
        world.post(&path).by("cashier").json(&said).send()
    };
    let pending = state("pending", "1000").await.expect(201).json();
    assert_eq!(pending["fiscal_number"], json!(number));
    let confirmed = state("confirmed", "1000.00").await.expect(201);
    let again = state("confirmed", "1000.00").await.expect(200);
    assert_eq!(again.body, confirmed.body, "a repetition is answered with the same record");
    assert_eq!(state("confirmed", "999").await.expect(409).code(), "PAYMENT_MISMATCH");
    assert_eq!(state("failed", "1000").await.expect(409).code(), "PAYMENT_TRANSITION");
    let wrong = state("confirmed", "1.001").await.expect(422);
    assert_eq!(
        (wrong.code().as_str(), wrong.pointers()),
        ("FIELD_INVALID", vec!["/amount".to_owned()])
    );

    let list = world.get(&path).by("auditor").send().await.expect(200).json();
    assert_eq!(list["data"].as_array().expect("payments").len(), 1);
    assert_eq!(list["data"][0]["status"], "confirmed");
    let full =
        world.get(&format!("/api/v1/invoices/{number}")).by("owner").send().await.expect(200);
    assert_eq!(full.json()["payments"], list["data"]);
    assert!(full.header("as-of").contains("leaves="));
    assert_eq!(world.get(&path).by("other").send().await.expect(404).code(), "INVOICE_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_may_come_before_its_invoice() {
    let world = World::start().await;
    let state = |body: serde_json::Value, by: &'static str| {
        world.post("/api/v1/payments").by(by).json(&body).send()
    };
    let said = json!({ "outlet_id": "outlet-gombe", "provider": "airtel_money", "reference": "A-7", "status": "confirmed", "amount": 500 });
    let early = state(said.clone(), "owner").await.expect(201).json();
    assert_eq!(early["fiscal_number"], json!(null));
    assert_eq!(state(said.clone(), "owner").await.expect(200).json(), early);

    let call = world.post("/api/v1/invoices").by("owner").idempotent("sale");
    let sealed = call.json(&sale("outlet-gombe", 500)).send().await.expect(201).json();
    let number = &sealed["fiscal_number"];
    let mut linked = said.clone();
    linked["fiscal_number"] = number.clone();
    linked.as_object_mut().expect("an object").remove("outlet_id");
    assert_eq!(&state(linked, "owner").await.expect(201).json()["fiscal_number"], number);

    let mut missing = said.clone();
    missing.as_object_mut().expect("an object").remove("outlet_id");
    assert_eq!(state(missing, "owner").await.expect(422).code(), "FIELD_MISSING");
    let mut elsewhere = said.clone();
    elsewhere["outlet_id"] = json!("outlet-limete");
    elsewhere["fiscal_number"] = number.clone();
    assert_eq!(state(elsewhere, "owner").await.expect(422).code(), "IDENTITY_MISMATCH");
    assert_eq!(state(said.clone(), "other").await.expect(404).code(), "OUTLET_UNKNOWN");
    let mut not_there = said;
    not_there["fiscal_number"] = json!("KIN-GOMBE-999");
    assert_eq!(state(not_there, "owner").await.expect(404).code(), "INVOICE_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_payment_where_there_is_one() {
    let world = World::start().await;
    let said = |reference: &str| json!({ "outlet_id": "outlet-gombe", "provider": "mpesa", "reference": reference, "status": "confirmed", "amount": 500 });
    let state = |key: &'static str, body: serde_json::Value| {
        world.post("/api/v1/payments").by("cashier").idempotent(key).json(&body).send()
    };
    let first = state("k", said("MP-1")).await.expect(201);
    assert_eq!(state("k", said("MP-1")).await.expect(200).body, first.body);
    let mut spelled = said("MP-1");
    spelled["amount"] = json!("500.00");
    assert_eq!(state("k", spelled).await.expect(200).body, first.body, "it is the same payment");
    let other = state("k", said("MP-2")).await.expect(409);
    assert_eq!(
        (other.code().as_str(), other.pointers()),
        ("IDEMPOTENCY_CONFLICT", vec!["Idempotency-Key".to_owned()])
    );
    assert_eq!(state("", said("MP-2")).await.expect(400).code(), "IDEMPOTENCY_KEY_INVALID");
    let mut wrong = said("MP-1");
    wrong["amount"] = json!("501");
    assert_eq!(state("w", wrong).await.expect(409).code(), "PAYMENT_MISMATCH");
    state("w", said("MP-2")).await.expect(201);
}
