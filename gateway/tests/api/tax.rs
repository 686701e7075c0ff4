//! The tax table, trials with it, and suggestions.

use crate::support::{World, sale};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_table_in_force_has_fourteen_groups_in_two_languages() {
    let world = World::start().await;
    let table = world.get("/api/v1/tax-groups").by("cashier").send().await.expect(200).json();
    let groups = table["groups"].as_array().expect("groups");
    assert_eq!((groups.len(), &table["in_force"]), (14, &json!(true)));
    assert_eq!(groups[1]["name_fr"], "TVA standard, biens");
    assert_eq!(groups[6]["requires"], json!(["export_certificate"]));
    let version = table["version"].as_str().expect("a version");
    let same = world.get(&format!("/api/v1/tax-groups?version={version}")).by("owner").send().await;
    assert_eq!(same.expect(200).json(), table);
    let none = world.get("/api/v1/tax-groups?version=1999-01-01").by("owner").send().await;
    assert_eq!(none.expect(404).code(), "MANIFEST_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_comes_to_what_is_sealed_afterwards() {
    let world = World::start().await;
    let mut invoice = sale("outlet-gombe", 999);
    invoice["items"][0]["tax_group"] = json!("TG02");
    invoice["timestamp"] = json!("2026-11-28T08:00:00Z");
    let trial = world.post("/api/v1/tax/calculate").by("cashier").json(&invoice).send().await;
    let trial = trial.expect(200).json();
    assert_eq!(trial["totals"]["total"], "1158.84");
    assert_eq!(trial["lines"][0]["tax_amount"], "159.84");
    assert_eq!(trial["filled_in"], json!(["tax_groups", "totals", "tax_manifest_version"]));
    let call =
        world.post("/api/v1/invoices").by("cashier").idempotent("sale").json(&trial["invoice"]);
    let sealed = call.send().await.expect(201).json();
    for same in ["totals", "tax_groups", "payload_hash"] {
        assert_eq!(sealed[same], trial[same], "{same}");
    }
    invoice["totals"] = json!({ "total": "1" });
    let refused = world.post("/api/v1/tax/calculate").by("cashier").json(&invoice).send().await;
    let refused = refused.expect(422);
    assert_eq!(refused.code(), "TOTALS_MISMATCH");
    assert_eq!(refused.json()["errors"][0]["expected"]["totals"]["total"], "1158.84");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suggestion_has_its_confidence_and_its_reason() {
    let world = World::start().await;
    let classify = |body: serde_json::Value| {
        world.post("/api/v1/tax/classify").by("cashier").json(&body).send()
    };
    let beer = classify(json!({ "description": "Bière 72 cl" })).await.expect(200).json();
    assert_eq!((&beer["tax_group"], &beer["confidence"]), (&json!("TG12"), &json!("0.60")));
    assert_eq!(beer["missing_references"], json!(["excise_certificate"]));
    assert!(beer["reason"].as_str().expect("a reason").contains("biere"));
    let rice = classify(json!({ "description": "Riz" })).await.expect(200).json();
    assert_eq!((&rice["tax_group"], &rice["confidence"]), (&json!("TG02"), &json!("0.30")));
    let embassy = json!({ "description": "Riz", "classification": "embassy" });
    assert_eq!(classify(embassy).await.expect(200).json()["tax_group"], "TG01");
    let wrong = json!({ "description": "Riz", "classification": "king" });
    assert_eq!(classify(wrong).await.expect(422).pointers(), ["/classification"]);
    assert_eq!(
        classify(json!({ "description": " " })).await.expect(422).pointers(),
        ["/description"]
    );
}
