//! Credit notes: voids and refunds fit their original to the cent, and happen once.

use crate::support::http::Answer;
use crate::support::{World, sale};
use serde_json::{Value, json};

const INVOICES: &str = "/api/v1/invoices";

async fn seal(world: &World, key: &str, invoice: &Value) -> String {
    let call = world.post(INVOICES).by("owner").idempotent(key).json(invoice);
    let sealed = call.send().await.expect(201).json();
    sealed["fiscal_number"].as_str().expect("a number").to_owned()
}

async fn ask(world: &World, number: &str, what: &str, key: &str, body: &Value) -> Answer {
    let path = format!("{INVOICES}/{number}/{what}");
    world.post(&path).by("supervisor").idempotent(key).json(body).send().await
}

async fn read(world: &World, number: &str) -> Value {
    let path = format!("{INVOICES}/{number}");
    world.get(&path).by("supervisor").send().await.expect(200).json()
}

fn taxed(lines: &[(&str, &str, &str)]) -> Value {
    let mut invoice = sale("outlet-gombe", 1);
    let items = lines.iter().map(|(quantity, price, group)| {
        json!({ "description": "Article", "quantity": quantity, "unit_price": price, "tax_group": group })
    });
    invoice["items"] = items.collect();
    invoice["payments"] = json!([]);
    invoice
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_takes_everything_back_once() {
    let world = World::start().await;
    let mut invoice =
        taxed(&[("3", "33.33", "TG02"), ("1", "5000", "TG03"), ("2", "0.33", "TG02")]);
    invoice["payments"] = json!([{ "method": "cash", "amount": "5916.76" }]);
    let number = seal(&world, "sale", &invoice).await;
    let why = json!({ "reason": "Erreur de caisse" });
    let void = ask(&world, &number, "void", "void", &why).await.expect(201);
    let note = void.json();
    assert_eq!(note["kind"], "credit_note");
    assert_eq!(
        void.header("location"),
        format!("{INVOICES}/{}", note["fiscal_number"].as_str().expect("a number"))
    );
    let again = ask(&world, &number, "void", "void", &why).await.expect(200);
    assert_eq!(again.body, void.body, "a repetition is answered with the same bytes");

    let full = read(&world, &number).await;
    assert_eq!(full["credited"], "fully");
    assert_eq!(full["credits"][0]["fiscal_number"], note["fiscal_number"]);
    assert_eq!(note["totals"], full["totals"]);
    let credit = read(&world, note["fiscal_number"].as_str().expect("a number")).await;
    assert_eq!(credit["invoice"]["original_fiscal_number"], json!(number));
    assert_eq!(credit["invoice"]["metadata"]["credit_reason"], "Erreur de caisse");
    assert_eq!(credit["invoice"]["payments"], full["invoice"]["payments"]);

    let more = ask(&world, &number, "void", "another", &why).await.expect(422);
    assert_eq!(more.code(), "CREDIT_EXCEEDS_ORIGINAL");
    let other = json!({ "reason": "Autre" });
    let taken = ask(&world, &number, "void", "void", &other).await.expect(409);
    assert_eq!(taken.code(), "IDEMPOTENCY_CONFLICT");
    let note = note["fiscal_number"].as_str().expect("a number");
    let of_note = ask(&world, note, "void", "of-note", &why).await.expect(422);
    assert_eq!(of_note.code(), "ORIGINAL_MISMATCH");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_add_up_to_the_whole_whatever_rounding_does() {
    let world = World::start().await;
    // Three parts of 0.33 have a tax of 0.05 each; the line of 0.99 has one of 0.16.
    for (at, price_mode) in ["exclusive", "inclusive"].into_iter().enumerate() {
        let mut invoice =
            taxed(&[("3", "0.33", "TG02"), ("7", "0.04", "TG02"), ("1", "0.99", "TG04")]);
        invoice["price_mode"] = json!(price_mode);
        let number = seal(&world, &format!("sale-{at}"), &invoice).await;
        for part in 0..3 {
            let lines = json!({ "reason": "Retour", "lines": [{ "line": 1, "quantity": 1 }] });
            let key = format!("part-{at}-{part}");
            ask(&world, &number, "refund", &key, &lines).await.expect(201);
        }
        for part in 0..5 {
            let lines = json!({ "reason": "Retour", "lines": [{ "line": 2, "quantity": "1" }] });
            let key = format!("small-{at}-{part}");
            ask(&world, &number, "refund", &key, &lines).await.expect(201);
        }
        let full = read(&world, &number).await;
        assert_eq!(full["credited"], "partly");
        let void = json!({ "reason": "Solde" });
        ask(&world, &number, "void", &format!("void-{at}"), &void).await.expect(201);
        let full = read(&world, &number).await;
        assert_eq!(full["credited"], "fully", "{full}");
        for group in full["credited_groups"].as_array().expect("groups") {
            assert_eq!(
                group["credited_base_amount"], group["base_amount"],
                "{price_mode}: {group}"
            );
            assert_eq!(group["credited_tax_amount"], group["tax_amount"], "{price_mode}: {group}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_are_taken_back_with_their_tax() {
    let world = World::start().await;
    let number = seal(&world, "sale", &taxed(&[("1", "1000", "TG02"), ("1", "500", "TG03")])).await;
    let refund = json!({
        "reason": "Remise",
        "amounts": [{ "tax_group": "TG02", "amount": "116.00" }],
        "payment": { "method": "mobile_money", "provider": "mpesa", "reference": "R-1" },
        "pos_terminal_id": "till-1", "cashier_id": "supervisor-2"
    });
    let note = ask(&world, &number, "refund", "r1", &refund).await.expect(201).json();
    assert_eq!(note["totals"]["total"], "116.00");
    assert_eq!(note["tax_groups"][0]["base_amount"], "100.00");
    let credit = read(&world, note["fiscal_number"].as_str().expect("a number")).await;
    let payment = &credit["invoice"]["payments"][0];
    assert_eq!((&payment["instrument_id"], &payment["amount"]), (&json!("R-1"), &json!("116.00")));
    assert_eq!(credit["invoice"]["cashier_id"], "supervisor-2");

    let all =
        json!({ "reason": "Reste", "amounts": [{ "tax_group": "TG02", "amount": "1044.00" }] });
    ask(&world, &number, "refund", "r2", &all).await.expect(201);
    let full = read(&world, &number).await;
    assert_eq!(full["credited_groups"][0]["credited"], "fully");
    assert_eq!(full["credited_groups"][1]["credited"], "none");
    assert_eq!(full["credited"], "partly");
    let more = json!({ "reason": "Trop", "amounts": [{ "tax_group": "TG02", "amount": "0.01" }] });
    let more = ask(&world, &number, "refund", "r3", &more).await.expect(422);
    assert_eq!(more.code(), "CREDIT_EXCEEDS_ORIGINAL");
}

// long: a table, one row for each kind of refusal
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_refunded_is_told_by_its_place() {
    let world = World::start().await;
    let number = seal(&world, "sale", &taxed(&[("2", "1000", "TG02")])).await;
    let refused = [
        (json!({ "reason": "", "lines": [{ "line": 1 }] }), "FIELD_INVALID", "/reason"),
        (json!({ "reason": "x" }), "FIELD_INVALID", "/lines"),
        (json!({ "reason": "x", "lines": [] }), "FIELD_INVALID", "/lines"),
        (json!({ "reason": "x", "lines": [{ "line": 2 }] }), "FIELD_INVALID", "/lines/0/line"),
        (json!({ "reason": "x", "lines": [{ "line": 0 }] }), "FIELD_INVALID", "/lines/0/line"),
        (
            json!({ "reason": "x", "lines": [{ "line": 1 }, { "line": 1 }] }),
            "FIELD_INVALID",
            "/lines/1/line",
        ),
        (
            json!({ "reason": "x", "lines": [{ "line": 1, "quantity": "2.5" }] }),
            "CREDIT_EXCEEDS_ORIGINAL",
            "/lines/0/quantity",
        ),
        (
            json!({ "reason": "x", "lines": [{ "line": 1, "quantity": "0" }] }),
            "FIELD_INVALID",
            "/lines/0/quantity",
        ),
        (
            json!({ "reason": "x", "amounts": [{ "tax_group": "TG99", "amount": 1 }] }),
            "TAX_GROUP_UNKNOWN",
            "/amounts/0/tax_group",
        ),
        (
            json!({ "reason": "x", "amounts": [{ "tax_group": "TG03", "amount": 1 }] }),
            "CREDIT_EXCEEDS_ORIGINAL",
            "/amounts/0/tax_group",
        ),
        (
            json!({ "reason": "x", "amounts": [{ "tax_group": "TG02", "amount": "-1" }] }),
            "FIELD_INVALID",
            "/amounts/0/amount",
        ),
        (
            json!({ "reason": "x", "lines": [{ "line": 1 }], "payment": { "method": "gold" } }),
            "FIELD_INVALID",
            "/payment/method",
        ),
        (
            json!({ "reason": "x", "lines": [{ "line": 1 }], "payment": { "method": "cash", "provider": "mpesa" } }),
            "PROVIDER_NOT_ALLOWED",
            "/payment/provider",
        ),
        (
            json!({ "reason": "x".repeat(300), "lines": [{ "line": 1 }] }),
            "LIMIT_EXCEEDED",
            "/reason",
        ),
    ];
    for (body, code, pointer) in refused {
        let answer = ask(&world, &number, "refund", "r", &body).await.expect(422);
        assert_eq!(
            (answer.code().as_str(), answer.pointers()),
            (code, vec![pointer.to_owned()]),
            "{body}"
        );
    }
    let why = json!({ "reason": "x" });
    let unknown = ask(&world, "KIN-GOMBE-999", "void", "u", &why).await.expect(404);
    assert_eq!(unknown.code(), "INVOICE_UNKNOWN");
    let path = format!("{INVOICES}/{number}/void");
    let cashier = world.post(&path).by("cashier").idempotent("c").json(&why).send().await;
    assert_eq!(cashier.expect(403).code(), "SCOPE_MISSING");
    let other = world.post(&path).by("other").idempotent("o").json(&why).send().await;
    assert_eq!(other.expect(404).code(), "INVOICE_UNKNOWN");
}
