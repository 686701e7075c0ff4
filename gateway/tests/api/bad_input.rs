//! Bad input of every kind: its own status, its own code, and the place that is wrong.

use crate::support::{World, sale};
use serde_json::{Value, json};

/// What is sent, and what is answered.
struct Row {
    what: &'static str,
    by: &'static str,
    key: Option<&'static str>,
    content_type: &'static str,
    body: Vec<u8>,
    expected: (u16, &'static str, &'static str),
}

fn row(
    what: &'static str,
    body: impl Into<Vec<u8>>,
    expected: (u16, &'static str, &'static str),
) -> Row {
    let (key, content_type) = (Some("bad"), "application/json");
    Row { what, by: "cashier", key, content_type, body: body.into(), expected }
}

fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut invoice = sale("outlet-gombe", 1_000);
    change(&mut invoice);
    invoice.to_string().into_bytes()
}

fn credit(invoice: &mut Value, original: &str) {
    invoice["invoice_type"] = json!("credit_note");
    invoice["original_fiscal_number"] = json!(original);
}

fn text(from: &str, to: &str) -> Vec<u8> {
    let text = sale("outlet-gombe", 1_000).to_string();
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1).into_bytes()
}

fn forms() -> Vec<Row> {
    let good = || sale("outlet-gombe", 1_000).to_string();
    let deep = format!("{{\"metadata\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let mut latin = good().into_bytes();
    latin.truncate(latin.len() - 1);
    latin.extend(b",\"metadata\":{\"a\":\"\xe9\"}}");
    let invalid = (400, "JSON_INVALID", "");
    vec![
        row("an empty body", "", invalid),
        row("white space", "  \n", invalid),
        row("broken JSON", &good().as_bytes()[..40], (400, "JSON_INVALID", "/client")),
        row("something after it", format!("{} x", good()), invalid),
        row("not an object", "[]", (422, "FIELD_INVALID", "")),
        row("null", "null", (422, "FIELD_INVALID", "")),
        row(
            "a NUL byte",
            text("Farine", "Far\u{0}ine"),
            (400, "JSON_INVALID", "/items/0/description"),
        ),
        row("deep nesting", deep, (422, "FIELD_INVALID", "/metadata")),
        row("not UTF-8", latin, (400, "UTF8_INVALID", "")),
        row(
            "a key twice",
            text("\"currency\"", "\"outlet_id\":\"x\",\"currency\""),
            (400, "JSON_DUPLICATE_KEY", "/outlet_id"),
        ),
        row(
            "a key twice in a line",
            text("\"code\"", "\"code\":\"x\",\"code\""),
            (400, "JSON_DUPLICATE_KEY", "/items/0/code"),
        ),
        row("2 MiB", vec![b' '; 2 << 20], (413, "BODY_TOO_LARGE", "")),
        Row {
            content_type: "text/plain",
            ..row("another type", good(), (415, "CONTENT_TYPE_UNSUPPORTED", "Content-Type"))
        },
        Row {
            content_type: "",
            ..row("no type", good(), (415, "CONTENT_TYPE_UNSUPPORTED", "Content-Type"))
        },
        Row {
            key: None,
            ..row("no key", good(), (400, "IDEMPOTENCY_KEY_REQUIRED", "Idempotency-Key"))
        },
        Row {
            key: Some(""),
            ..row("an empty key", good(), (400, "IDEMPOTENCY_KEY_INVALID", "Idempotency-Key"))
        },
    ]
}

// long: a table, one row for each kind of input
fn fields() -> Vec<Row> {
    let items = |count: usize| {
        changed(|invoice| invoice["items"] = json!(vec![invoice["items"][0].clone(); count]))
    };
    let line = |name: &'static str, value: Value| changed(|i| i["items"][0][name] = value);
    vec![
        row(
            "an unknown field",
            changed(|i| i["colour"] = json!("red")),
            (422, "FIELD_UNKNOWN", "/colour"),
        ),
        row(
            "an unknown field of a line",
            line("colour", json!(1)),
            (422, "FIELD_UNKNOWN", "/items/0/colour"),
        ),
        row(
            "a missing field",
            changed(|i| i["client"] = json!(null)),
            (422, "FIELD_MISSING", "/client"),
        ),
        row("no line", items(0), (422, "ITEMS_EMPTY", "/items")),
        row("2,001 lines", items(2_001), (422, "LIMIT_EXCEEDED", "/items")),
        row(
            "a negative price",
            line("unit_price", json!("-5.00")),
            (422, "FIELD_INVALID", "/items/0/unit_price"),
        ),
        row(
            "a quantity of nothing",
            line("quantity", json!(0)),
            (422, "FIELD_INVALID", "/items/0/quantity"),
        ),
        row(
            "a huge number",
            text("\"1000.00\"", "1e400"),
            (422, "LIMIT_EXCEEDED", "/items/0/unit_price"),
        ),
        row(
            "a very long number",
            text("\"1000.00\"", &"9".repeat(5_000)),
            (422, "LIMIT_EXCEEDED", "/items/0/unit_price"),
        ),
        row(
            "too many decimals",
            line("unit_price", json!("1.005")),
            (422, "FIELD_INVALID", "/items/0/unit_price"),
        ),
        row(
            "no such group",
            line("tax_group", json!("TG15")),
            (422, "TAX_GROUP_UNKNOWN", "/items/0/tax_group"),
        ),
        row(
            "a missing reference",
            line("tax_group", json!("TG12")),
            (422, "GROUP_NOT_ALLOWED", "/items/0/tax_group"),
        ),
        row(
            "a discount over its line",
            line("discount", json!("1000.01")),
            (422, "DISCOUNT_EXCEEDS_LINE", "/items/0/discount"),
        ),
        row(
            "a long text",
            line("description", json!("x".repeat(513))),
            (422, "LIMIT_EXCEEDED", "/items/0/description"),
        ),
        row(
            "a company without its number",
            changed(|i| i["client"] = json!({ "classification": "company" })),
            (422, "CLIENT_NIF_REQUIRED", "/client/nif"),
        ),
        row(
            "wrong totals",
            changed(|i| i["totals"] = json!({ "total": "999.99" })),
            (422, "TOTALS_MISMATCH", "/totals/total"),
        ),
        row(
            "wrong groups",
            changed(|i| i["tax_groups"] = json!([{ "code": "TG01", "base_amount": 1 }])),
            (422, "TAX_GROUPS_MISMATCH", "/tax_groups/0/base_amount"),
        ),
        row(
            "dollars without a rate",
            changed(|i| i["currency"] = json!("USD")),
            (422, "FX_REQUIRED", "/fx"),
        ),
        row(
            "an expired table",
            changed(|i| i["tax_manifest_version"] = json!("2025-01-01")),
            (409, "MANIFEST_STALE", "/tax_manifest_version"),
        ),
        row(
            "an unknown outlet",
            changed(|i| i["outlet_id"] = json!("outlet-x")),
            (404, "OUTLET_UNKNOWN", "/outlet_id"),
        ),
        row(
            "another tenant's outlet",
            changed(|i| i["outlet_id"] = json!("outlet-kenya")),
            (404, "OUTLET_UNKNOWN", "/outlet_id"),
        ),
        row(
            "another merchant",
            changed(|i| i["merchant_nif"] = json!("B7654321C")),
            (422, "IDENTITY_MISMATCH", "/merchant_nif"),
        ),
        row(
            "a credit of nothing",
            changed(|i| i["invoice_type"] = json!("credit_note")),
            (422, "ORIGINAL_REQUIRED", "/original_fiscal_number"),
        ),
        Row {
            by: "supervisor",
            ..row(
                "a credit of what is not there",
                changed(|i| credit(i, "KIN-GOMBE-999")),
                (422, "ORIGINAL_NOT_FOUND", "/original_fiscal_number"),
            )
        },
        row(
            "a credit by a key that only sells",
            changed(|i| credit(i, "KIN-GOMBE-1")),
            (403, "SCOPE_MISSING", "/invoice_type"),
        ),
        Row {
            by: "revoked",
            ..row("a revoked key", "{}", (401, "UNAUTHENTICATED", "Authorization"))
        },
        Row {
            by: "expired",
            ..row("an expired key", "{}", (401, "UNAUTHENTICATED", "Authorization"))
        },
        Row { by: "auditor", ..row("a key without the scope", "{}", (403, "SCOPE_MISSING", "")) },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_bad_input_has_its_answer() {
    let world = World::start().await;
    let mut wrong = Vec::new();
    for row in forms().into_iter().chain(fields()) {
        let mut call = world.post("/api/v1/invoices").by(row.by);
        if let Some(key) = row.key {
            call = call.idempotent(key);
        }
        let answer = call.body(row.content_type, row.body).send().await;
        let pointer = answer.pointers().first().cloned().unwrap_or_default();
        let code = answer.code();
        let told = (answer.status, code.as_str(), pointer.as_str());
        let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
        if told != row.expected || detail.is_empty() {
            wrong.push(format!("{}: {told:?} and not {:?}: {detail}", row.what, row.expected));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let good = world.post("/api/v1/invoices").by("cashier").idempotent("bad");
    good.json(&sale("outlet-gombe", 1_000)).send().await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn expected_figures_come_with_wrong_ones_and_credits_stay_within_their_original() {
    let world = World::start().await;
    let seal = |key: &'static str, invoice: &Value| {
        world.post("/api/v1/invoices").by("owner").idempotent(key).json(invoice).send()
    };
    let mut wrong = sale("outlet-gombe", 1_000);
    wrong["items"][0]["tax_group"] = json!("TG02");
    wrong["totals"] = json!({ "total": "1000.00" });
    let answer = seal("wrong", &wrong).await.expect(422).json();
    assert_eq!(answer["errors"][0]["expected"]["totals"]["total"], "1160.00");
    assert_eq!(answer["errors"][0]["expected"]["tax_groups"][0]["tax_amount"], "160.00");

    let sold = seal("sold", &sale("outlet-gombe", 1_000)).await.expect(201).json();
    let mut credit = sale("outlet-gombe", 1_001);
    credit["invoice_type"] = json!("credit_note");
    credit["original_fiscal_number"] = sold["fiscal_number"].clone();
    assert_eq!(seal("credit", &credit).await.expect(422).code(), "CREDIT_EXCEEDS_ORIGINAL");
    let mut foreign = credit.clone();
    foreign["outlet_id"] = json!("outlet-limete");
    assert_eq!(seal("foreign", &foreign).await.expect(422).code(), "ORIGINAL_NOT_FOUND");
    assert_eq!(
        seal("sold", &sale("outlet-gombe", 2)).await.expect(409).code(),
        "IDEMPOTENCY_CONFLICT"
    );
    let nowhere = world.post("/api/v1/nowhere").by("owner").send().await.expect(404);
    assert_eq!(nowhere.code(), "ROUTE_UNKNOWN");
    let method = world.call("DELETE", "/api/v1/invoices").by("owner").send().await.expect(405);
    assert_eq!(method.code(), "METHOD_NOT_ALLOWED");
    for name in ["GET", "HEAD", "POST"] {
        assert!(method.header("allow").contains(name), "{}", method.header("allow"));
    }
    let options = world.call("OPTIONS", "/api/v1/invoices").by("owner").send().await.expect(405);
    assert_eq!(options.header("allow"), method.header("allow"));
    let head = world.call("HEAD", "/api/v1/invoices").by("owner").send().await.expect(200);
    assert!(head.body.is_empty() && !head.header("as-of").is_empty(), "{head:?}");
    let nobody = world.get("/api/v1/invoices").send().await.expect(401);
    assert_eq!(
        (nobody.code().as_str(), nobody.header("www-authenticate")),
        ("UNAUTHENTICATED", "Bearer")
    );
    let packed = world.post("/api/v1/invoices").by("owner").idempotent("packed");
    let packed = packed.header("content-encoding", "gzip").json(&sale("outlet-gombe", 1));
    let packed = packed.send().await.expect(415);
    assert_eq!(packed.pointers(), ["Content-Encoding"]);
    let parameter = world.get("/api/v1/invoices?colour=red").by("owner").send().await.expect(400);
    assert_eq!(
        (parameter.code().as_str(), parameter.pointers()),
        ("PARAMETER_UNKNOWN", vec!["colour".to_owned()])
    );
}

/// Whatever a client makes up for a cursor or an id is its own fault, and nobody else's data.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_up_is_refused_and_no_failure() {
    let world = World::start().await;
    let cursor = |text: &str| fiscus_ledger::base64::encode_url(text.as_bytes());
    let most = u64::MAX;
    for (path, made_up) in [
        ("invoices?sort=time", json!({"f": "0000000000000000", "s": []})),
        ("merchants?", json!({"after": "\u{0}"})),
        ("audit/actions?", json!({"place": "x".repeat(5_000)})),
        (
            "reports?outlet_id=outlet-gombe",
            json!({"outlet": "outlet-gombe", "below_leaf": most, "below_number": 0}),
        ),
        (
            "reports?outlet_id=outlet-gombe",
            json!({"outlet": "outlet-kenya", "below_leaf": 1, "below_number": 0}),
        ),
        (
            "shifts?outlet_id=outlet-gombe",
            json!({"outlet": "outlet-gombe", "status": null, "place": {"below": most, "closed": [most, 0]}}),
        ),
    ] {
        let path = format!("/api/v1/{path}&cursor={}", cursor(&made_up.to_string()));
        let answer = world.get(&path).by("owner").send().await;
        assert!([200, 400].contains(&answer.status), "{path}: {}", answer.text());
        assert!(!answer.text().contains("outlet-kenya"), "{path}: {}", answer.text());
    }
    let id = |letter: &str, outlet: &str, number: u64| {
        format!("{letter}-{}-{number}", fiscus_ledger::base64::encode_url(outlet.as_bytes()))
    };
    for path in [
        format!("reports/{}", id("z", "outlet-gombe", 0)),
        format!("reports/{}", id("z", "outlet-gombe", most)),
        format!("reports/{}", id("x", "outlet-gombe", most)),
        format!("reports/{}", id("z", "outlet-kenya", 1)),
        format!("audit/export/{}", id("e", "outlet-gombe", most)),
        "audit/proofs/consistency?group=99&from_size=0".to_owned(),
        "audit/proofs/inclusion?outlet_id=outlet-gombe&position=18446744073709551615".to_owned(),
    ] {
        let answer = world.get(&format!("/api/v1/{path}")).by("owner").send().await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
}
