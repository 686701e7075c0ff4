//! Sealing through the gateway: once for each key, whoever asks again.

use crate::support::{World, sale};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_is_sealed_once_and_read_by_its_number() {
    let world = World::start().await;
    let seal = |key: &str, price: u32| {
        let call = world.post("/api/v1/invoices").by("cashier").idempotent(key);
        call.json(&sale("outlet-gombe", price)).send()
    };
    let first = seal("sale-1", 1_000).await.expect(201);
    let sealed = first.json();
    let number = sealed["fiscal_number"].as_str().expect("a number");
    assert!(number.starts_with("KIN-GOMBE-"), "{sealed}");
    assert_eq!(sealed["totals"]["total"], "1000.00");
    assert_eq!(sealed["environment"], "live");

    let again = seal("sale-1", 1_000).await.expect(200);
    assert_eq!(again.body, first.body, "a repetition is answered with the same bytes");
    let other = seal("sale-1", 2_000).await.expect(409);
    assert_eq!(other.code(), "IDEMPOTENCY_CONFLICT");
    let second = seal("sale-2", 2_000).await.expect(201).json();
    assert_eq!(second["sequence"], json!(sealed["sequence"].as_u64().expect("a number") + 1));

    let path = format!("/api/v1/invoices/{number}");
    let read = world.get(&path).by("auditor").send().await.expect(200);
    let read = read.json();
    for (name, value) in sealed.as_object().expect("an object") {
        assert_eq!(read[name], *value, "{name} is what it was when it was sealed");
    }
    let foreign = world.get(&path).by("other").send().await.expect(404);
    assert_eq!(foreign.code(), "INVOICE_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_outlet_seals_under_its_own_authority() {
    let world = World::start().await;
    let seal = |key: &'static str, by: &'static str, outlet: &'static str| {
        let call = world.post("/api/v1/invoices").by(by).idempotent(key);
        call.json(&sale(outlet, 500)).send()
    };
    let trial = seal("trial", "owner", "outlet-essai").await.expect(201).json();
    assert_eq!(trial["environment"], "sandbox");
    assert_eq!(trial["dgi_status"], "none");
    let real = seal("real", "other", "outlet-kenya").await.expect(201).json();
    assert_ne!(trial["fiscal_authority_id"], real["fiscal_authority_id"]);
}
