//! Batches: an answer for each item, in order; one bad item fails no other.

use std::collections::BTreeMap;

use crate::support::http::Answer;
use crate::support::{LIMIT, Setup, World, sale};
use serde_json::{Value, json};

const BATCH: &str = "/api/v1/invoices/batch";

fn item(key: &str, outlet: &str, price: u32) -> Value {
    json!({ "idempotency_key": key, "invoice": sale(outlet, price) })
}

async fn send(world: &World, items: &[Value]) -> Answer {
    world.post(BATCH).by("owner").json(&json!({ "invoices": items })).send().await
}

fn lines(answer: &Answer) -> Vec<Value> {
    let lines = answer.text();
    lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_answered_in_order_and_sealed_once() {
    let world = World::start().await;
    let mut items = Vec::new();
    for at in 0..60 {
        let outlet = ["outlet-gombe", "outlet-limete", "outlet-goma"][at % 3];
        items.push(item(&format!("i-{at}"), outlet, 100 + u32::try_from(at).expect("small")));
    }
    items[5]["invoice"]["totals"] = json!({ "total": "1" });
    items[9]["invoice"]["outlet_id"] = json!("outlet-kenya");
    items[12] = json!(17);
    items[13] = json!({ "idempotency_key": "i-13", "invoice": {} });
    items[20]["invoice"]["items"][0]["unit_price"] = json!(-1);
    items[30] = items[3].clone();
    items[33]["idempotency_key"] = json!("i-3");
    items[34]["idempotency_key"] = json!("");
    items[35].as_object_mut().expect("an object").remove("idempotency_key");
    let first = send(&world, &items).await.expect(200).json();
    let data = first["data"].as_array().expect("data");
    assert_eq!(data.len(), 60);
    let bad = [
        (5, 422, "TOTALS_MISMATCH", "/invoice/totals/total"),
        (9, 404, "OUTLET_UNKNOWN", "/invoice/outlet_id"),
        (12, 422, "FIELD_INVALID", ""),
        (13, 422, "FIELD_MISSING", "/invoice/merchant_nif"),
        (20, 422, "FIELD_INVALID", "/invoice/items/0/unit_price"),
        (33, 409, "IDEMPOTENCY_CONFLICT", "/idempotency_key"),
        (34, 400, "IDEMPOTENCY_KEY_INVALID", "/idempotency_key"),
        (35, 400, "IDEMPOTENCY_KEY_REQUIRED", "/idempotency_key"),
    ];
    for (at, status, code, pointer) in bad {
        assert_eq!(
            (&data[at]["status"], &data[at]["problem"]["code"]),
            (&json!(status), &json!(code)),
            "{at}"
        );
        let told = data[at]["problem"]["errors"][0]["pointer"].as_str().unwrap_or("");
        assert_eq!(told, pointer, "{at}");
    }
    let mut last = [0_u64; 3];
    for (at, answer) in data.iter().enumerate() {
        assert_eq!(answer["index"], json!(at));
        if at == 30 {
            assert_eq!((&answer["status"], &answer["invoice"]), (&json!(200), &data[3]["invoice"]));
        } else if bad.iter().all(|(bad, ..)| *bad != at) {
            assert_eq!(answer["status"], 201, "{answer}");
            let sequence = answer["invoice"]["sequence"].as_u64().expect("a number");
            assert!(sequence > last[at % 3], "numbers ascend as the batch does");
            last[at % 3] = sequence;
        }
    }
    assert_eq!(
        (&first["sealed"], &first["repeated"], &first["refused"], &first["unanswered"]),
        (&json!(51), &json!(1), &json!(8), &json!(0))
    );
    let again = send(&world, &items).await.expect(200).json();
    assert_eq!((&again["sealed"], &again["repeated"]), (&json!(0), &json!(52)));
    for (before, after) in data.iter().zip(again["data"].as_array().expect("data")) {
        assert_eq!(before["invoice"], after["invoice"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_go_in_and_come_out() {
    let world = World::start().await;
    let mut body = String::new();
    for at in 0..150 {
        let item = item(&format!("l-{at}"), "outlet-gombe", 100 + at);
        body.push_str(&format!("{item}\n\n"));
    }
    body.push_str("{ broken\n");
    body.push_str(&item("last", "outlet-gombe", 5).to_string());
    let call = || world.post(BATCH).by("owner").body("application/x-ndjson", body.clone());
    let answer = call().header("accept", "application/x-ndjson").send().await.expect(200);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let told = lines(&answer);
    assert_eq!(told.len(), 152);
    assert!(
        told[..150]
            .iter()
            .enumerate()
            .all(|(at, line)| line["status"] == 201 && line["index"] == json!(at))
    );
    assert_eq!(
        (&told[150]["status"], &told[150]["problem"]["code"]),
        (&json!(400), &json!("JSON_INVALID"))
    );
    assert_eq!(told[151]["status"], 201);
    let again = call().send().await.expect(200).json();
    assert_eq!((&again["repeated"], &again["refused"]), (&json!(151), &json!(1)));

    let items = json!({ "invoices": [item("s", "outlet-gombe", 7)] });
    let path = format!("{BATCH}?stream=true");
    let streamed = world.post(&path).by("owner").json(&items).send().await.expect(200);
    assert_eq!(lines(&streamed)[0]["status"], 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_items_follow_from_the_batchs() {
    let world = World::start().await;
    let body = json!({ "invoices": [{ "invoice": sale("outlet-gombe", 1) }, { "invoice": sale("outlet-gombe", 1) }] });
    let send = |key: &'static str| world.post(BATCH).by("owner").idempotent(key).json(&body).send();
    let first = send("day").await.expect(200).json();
    assert_eq!(first["sealed"], 2, "two alike are two sales");
    assert_eq!(send("day").await.expect(200).json()["repeated"], 2);
    let derived = first["data"][1]["idempotency_key"].as_str().expect("a key");
    let alone = world.post("/api/v1/invoices").by("owner").idempotent(derived);
    let alone = alone.json(&sale("outlet-gombe", 1)).send().await.expect(200).json();
    assert_eq!(alone, first["data"][1]["invoice"], "an item may be repeated alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_have_limits() {
    let world = World::start_with(Setup {
        configure: |config| config.limits.batch_bytes_max = 2 << 20,
        ..Setup::default()
    })
    .await;
    let many: Vec<Value> = (0..1_001).map(|_| json!({})).collect();
    let over = send(&world, &many).await.expect(422);
    assert_eq!(
        (over.code().as_str(), over.pointers()),
        ("LIMIT_EXCEEDED", vec!["/invoices/1000".to_owned()])
    );
    let body = many.iter().map(|item| format!("{item}\n")).collect::<String>();
    let over = world
        .post(BATCH)
        .by("owner")
        .body("application/x-ndjson", body)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(over["data"][1_000]["problem"]["code"], "LIMIT_EXCEEDED");
    assert_eq!(send(&world, &[]).await.expect(422).code(), "FIELD_INVALID");

    let mut large = item("large", "outlet-gombe", 1);
    large["invoice"]["metadata"] = json!({ "x": "x".repeat(1_100_000) });
    let one =
        send(&world, &[large.clone(), item("small", "outlet-gombe", 1)]).await.expect(200).json();
    assert_eq!(one["data"][0]["problem"]["code"], "BODY_TOO_LARGE");
    assert_eq!(one["data"][1]["status"], 201);
    assert_eq!(send(&world, &[large.clone(), large]).await.expect(413).code(), "BODY_TOO_LARGE");
    for (body, code, status) in [
        ("[]", "FIELD_INVALID", 422),
        ("{", "JSON_INVALID", 400),
        ("{\"a\":1}", "FIELD_UNKNOWN", 422),
        ("{\"invoices\":[],\"invoices\":[]}", "JSON_DUPLICATE_KEY", 400),
        ("", "JSON_INVALID", 400),
    ] {
        let answer = world.post(BATCH).by("owner").body("application/json", body).send().await;
        assert_eq!(answer.expect(status).code(), code, "{body}");
    }
    let text = world.post(BATCH).by("owner").body("text/plain", "x").send().await.expect(415);
    assert_eq!(text.code(), "CONTENT_TYPE_UNSUPPORTED");
    let auditor = world.post(BATCH).by("auditor").json(&json!({ "invoices": [] })).send().await;
    assert_eq!(auditor.expect(403).code(), "SCOPE_MISSING");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_costs_its_items() {
    let world = World::start().await;
    let items: Vec<Value> =
        (0..150).map(|at| item(&format!("r-{at}"), "outlet-gombe", 1)).collect();
    let body = json!({ "invoices": items });
    let sent = world.post(BATCH).by("growth").json(&body).send().await.expect(200).json();
    assert_eq!(sent["sealed"], 150, "it is let in as one");
    let next = world.get("/api/v1/tax-groups").by("growth").send().await.expect(429);
    assert_eq!(next.code(), "RATE_LIMITED");
    let wait = next.header("retry-after").parse::<u64>().expect("seconds");
    assert!((1..=91).contains(&wait), "of 151 at sixty a minute 91 are owed at first: {wait}");
}

const OUTLETS: [&str; 4] = ["outlet-gombe", "outlet-limete", "outlet-goma", "outlet-essai"];

/// A thousand items with one bad in every ten, and what each bad one is answered.
fn a_thousand(name: &str) -> (Vec<Value>, BTreeMap<usize, (u16, &'static str)>) {
    let mut bad = BTreeMap::new();
    let items = (0..1_000_usize).map(|at| {
        let price = 100 + u32::try_from(at).expect("small");
        let mut item = item(&format!("{name}-{at}"), OUTLETS[at % OUTLETS.len()], price);
        let invoice = &mut item["invoice"];
        let answer = match at % 50 {
            7 => {
                invoice["totals"] = json!({ "total": "1" });
                (422, "TOTALS_MISMATCH")
            }
            17 => {
                invoice["outlet_id"] = json!("outlet-kenya");
                (404, "OUTLET_UNKNOWN")
            }
            27 => {
                invoice["items"][0]["unit_price"] = json!(-1);
                (422, "FIELD_INVALID")
            }
            37 => {
                item["idempotency_key"] = json!("");
                (400, "IDEMPOTENCY_KEY_INVALID")
            }
            47 => {
                *invoice = json!("an invoice");
                (422, "FIELD_INVALID")
            }
            _ => return item,
        };
        bad.insert(at, answer);
        item
    });
    (items.collect(), bad)
}

async fn send_thousand(world: &World, items: &[Value], as_lines: bool) -> Vec<Value> {
    let call = world.post(BATCH).by("owner");
    let call = if as_lines {
        let body: String = items.iter().map(|item| format!("{item}\n")).collect();
        call.header("accept", "application/x-ndjson").body("application/x-ndjson", body)
    } else {
        call.json(&json!({ "invoices": items }))
    };
    // A batch has the time of many requests.
    let sent = tokio::time::timeout(4 * LIMIT, call.try_send()).await.expect("an answer in time");
    let answer = sent.expect("an answer").expect(200);
    if as_lines { lines(&answer) } else { answer.json()["data"].as_array().expect("data").clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_the_good_ones_are_sealed_once_and_the_bad_ones_told() {
    let configure = |config: &mut fiscus_gateway::config::GatewayConfig| {
        config.limits.batch_timeout_ms = 240_000;
    };
    let world = World::start_with(Setup { configure, ..Setup::default() }).await;
    let mut good = [0_u64; OUTLETS.len()];
    for (name, first_as_lines) in [("j", false), ("l", true)] {
        let (items, bad) = a_thousand(name);
        let first = send_thousand(&world, &items, first_as_lines).await;
        let again = send_thousand(&world, &items, !first_as_lines).await;
        assert_eq!((first.len(), again.len(), bad.len()), (1_000, 1_000, 100));
        for (at, (first, again)) in first.iter().zip(&again).enumerate() {
            assert_eq!((&first["index"], &again["index"]), (&json!(at), &json!(at)));
            if let Some((status, code)) = bad.get(&at) {
                for told in [first, again] {
                    assert_eq!(told["status"], json!(status), "{at}: {told}");
                    assert_eq!(told["problem"]["code"], json!(code), "{at}: {told}");
                }
                continue;
            }
            assert_eq!((&first["status"], &again["status"]), (&json!(201), &json!(200)), "{at}");
            assert_eq!(first["invoice"], again["invoice"], "{at} was sealed once");
            good[at % OUTLETS.len()] += 1;
        }
    }
    for (outlet, good) in OUTLETS.into_iter().zip(good) {
        let path = format!("/api/v1/outlets/{outlet}/status");
        let status = world.get(&path).by("owner").send().await.expect(200).json();
        assert_eq!(status["last_sequence"], json!(good), "{outlet}: no number is used twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_note_in_a_batch_needs_the_scope_of_credits() {
    let world = World::start().await;
    let mut credit = item("credit", "outlet-gombe", 100);
    credit["invoice"]["invoice_type"] = json!("credit_note");
    credit["invoice"]["original_fiscal_number"] = json!("KIN-GOMBE-1");
    let body = json!({ "invoices": [item("sale", "outlet-gombe", 100), credit] });
    let send = |by: &'static str| world.post(BATCH).by(by).json(&body).send();
    let told = send("cashier").await.expect(200).json();
    assert_eq!(told["data"][0]["status"], 201);
    let problem = &told["data"][1]["problem"];
    assert_eq!((&problem["code"], &problem["status"]), (&json!("SCOPE_MISSING"), &json!(403)));
    assert_eq!(problem["errors"][0]["pointer"], "/invoice/invoice_type");
    let told = send("owner").await.expect(200).json();
    assert_eq!(
        (&told["data"][0]["status"], &told["data"][1]["status"]),
        (&json!(200), &json!(201))
    );
}
