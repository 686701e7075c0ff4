//! Reports: made once, signed, read in every form, and nobody else's.

use crate::support::http::Answer;
use crate::support::{LIMIT, World, sale};
use ed25519_dalek::{Signature, VerifyingKey};
use fiscus_ledger::hash::{Hash32, Tagged, from_hex};
use fiscus_ledger::reports::digest_of;
use fiscus_ledger::seal;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::ledger::Consistency;
use serde_json::{Value, json};

async fn sell(world: &World, key: &str, price: u32) {
    let call = world.post("/api/v1/invoices").by("owner").idempotent(key);
    call.json(&sale("outlet-gombe", price)).send().await.expect(201);
}

async fn make(world: &World, key: &str, body: &Value) -> Answer {
    world.post("/api/v1/reports").by("supervisor").idempotent(key).json(body).send().await
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} of {value}"))
}

fn hash(value: &Value, name: &str) -> Hash32 {
    from_hex(text(value, name)).unwrap_or_else(|| panic!("{name} of {value}"))
}

/// Checks a signature of a report with the key of its authority.
async fn is_signed(world: &mut World, report: &Value, message: &Hash32) {
    let client = world.cluster.client().await;
    let group = client.read_group(1, Consistency::Linearizable, LIMIT).await.expect("a group");
    let wanted = text(report, "fiscal_authority_id");
    let key = group.authorities.iter().find(|known| known.id == wanted).expect("the authority");
    let key = VerifyingKey::from_bytes(&(&*key.public_key).try_into().expect("32 bytes"));
    let signature = from_hex::<64>(text(report, "signature")).expect("a signature");
    let checked = key.expect("a key").verify_strict(message, &Signature::from_bytes(&signature));
    checked.expect("the authority has signed it");
}

/// The text of the member `report`, byte for byte.
fn raw_report(answer: &Answer) -> String {
    let text = answer.text();
    let begin = text.find("\"report\":{").expect("a report") + "\"report\":".len();
    let length = {
        let mut stream = serde_json::Deserializer::from_str(&text[begin..]).into_iter::<Value>();
        stream.next().expect("a value").expect("JSON");
        stream.byte_offset()
    };
    text[begin..begin + length].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_x_is_kept_as_it_was_signed() {
    let mut world = World::start().await;
    sell(&world, "sale-1", 1_000).await;
    let body = json!({"type": "x", "outlet_id": "outlet-gombe"});
    let made = make(&world, "x-1", &body).await.expect(201);
    sell(&world, "sale-2", 500).await;
    let again = make(&world, "x-1", &body).await.expect(200);
    assert_eq!(again.body, made.body, "a repetition is answered with the same report");
    let other = make(&world, "x-1", &json!({"type": "x", "outlet_id": "outlet-limete"})).await;
    assert_eq!(other.expect(409).code(), "IDEMPOTENCY_CONFLICT");

    let report = made.json();
    assert_eq!((text(&report, "type"), text(&report, "scope")), ("x", "outlet"));
    assert_eq!(digest_of(&raw_report(&made)), Some(hash(&report, "digest")));
    let digest = hash(&report, "digest");
    is_signed(&mut world, &report, &digest).await;

    let place = format!("/api/v1/reports/{}", text(&report, "report_id"));
    let read = world.get(&place).by("auditor").send().await.expect(200);
    assert_eq!(read.json(), report);
    let csv =
        world.get(&format!("{place}?format=csv&lang=en")).by("auditor").send().await.expect(200);
    assert!(csv.header("content-type").starts_with("text/csv"));
    assert!(csv.text().contains(text(&report, "digest")), "{}", csv.text());
    let pdf = world.get(&place).by("auditor").header("accept", "application/pdf").send().await;
    let pdf = pdf.expect(200);
    assert!(pdf.body.starts_with(b"%PDF-"));
    assert!(pdf.header("content-disposition").ends_with(".pdf\""), "{pdf:?}");
    let none = world.get(&place).by("auditor").header("accept", "image/gif").send().await;
    assert_eq!(none.expect(406).code(), "NOT_ACCEPTABLE");

    let shift = json!({"type": "x", "outlet_id": "outlet-gombe", "scope": "terminal", "pos_terminal_id": "till-1"});
    let shift = make(&world, "x-2", &shift).await.expect(201).json();
    assert_eq!(text(&shift["report"], "scope"), "shift");
    let shut = json!({"type": "x", "outlet_id": "outlet-limete", "scope": "terminal", "pos_terminal_id": "till-1"});
    assert_eq!(make(&world, "x-3", &shut).await.expect(409).code(), "SHIFT_NOT_OPEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_z_closes_the_day_once() {
    let mut world = World::start().await;
    sell(&world, "sale-1", 1_000).await;
    let body = json!({"type": "z", "outlet_id": "outlet-gombe", "operator": "cashier-7"});
    let first = make(&world, "z-1", &body).await.expect(201);
    let again = make(&world, "z-1", &body).await.expect(200);
    assert_eq!(again.body, first.body);
    let z = first.json();
    assert_eq!((z["z_number"].clone(), text(&z, "made_by")), (json!(1), "cashier-7"));
    let payload = raw_report(&first);
    assert_eq!(digest_of(&payload), Some(hash(&z, "digest")));

    // The entry hash is made of what the answer says, and is what was signed.
    let record = &z["record"];
    let payload_hash = fiscus_ledger::hash::payload_hash(payload.as_bytes());
    let position = record["position"].as_u64().expect("a position");
    let (blind, previous) = (hash(record, "blind"), hash(record, "previous_hash"));
    let hidden = seal::hidden_hash("outlet-gombe", position, &payload_hash, &blind, &previous);
    let time = UnixMs::parse_canonical(text(record, "timestamp")).expect("a time").get();
    let authority = text(&z, "fiscal_authority_id");
    let entry = seal::entry_hash(authority, "", time, "z_closure", "", "", &hidden);
    assert_eq!(entry, hash(record, "entry_hash"));
    is_signed(&mut world, &z, &entry).await;

    let second = make(&world, "z-2", &json!({"type": "z", "outlet_id": "outlet-gombe"})).await;
    let second = second.expect(201).json();
    assert_eq!(
        (second["z_number"].clone(), second["report"]["empty"].clone()),
        (json!(2), json!(true))
    );
    assert_eq!(text(&second, "made_by"), "supervisor", "the key's name, unless said");

    let x = json!({"type": "x", "outlet_id": "outlet-gombe"});
    let x = make(&world, "x-1", &x).await.expect(201).json();
    let mut listed = Vec::new();
    let mut path = "/api/v1/reports?outlet_id=outlet-gombe&limit=2".to_owned();
    loop {
        let page = world.get(&path).by("auditor").send().await.expect(200).json();
        for report in page["data"].as_array().expect("data") {
            assert!(report.get("report").is_none(), "lists are without texts");
            listed.push(text(report, "report_id").to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => {
                path = format!("/api/v1/reports?outlet_id=outlet-gombe&limit=2&cursor={cursor}");
            }
            None => break,
        }
    }
    let mut wanted = vec![text(&second, "report_id"), text(&z, "report_id"), text(&x, "report_id")];
    wanted.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, wanted, "each once");
    let only =
        world.get("/api/v1/reports?outlet_id=outlet-gombe&type=x").by("auditor").send().await;
    assert_eq!(only.expect(200).json()["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_a_lists_every_line_and_is_signed_as_a_whole() {
    let mut world = World::start().await;
    for number in 1..=5_u32 {
        sell(&world, &format!("sale-{number}"), number * 100).await;
    }
    let body =
        json!({"type": "a", "outlet_id": "outlet-gombe", "from_sequence": 2, "to_sequence": 4});
    let made = make(&world, "a-1", &body).await.expect(201).json();
    assert!(made.get("report").is_none(), "it is read under its id: {made}");
    let place = format!("/api/v1/reports/{}", text(&made, "report_id"));
    let read = world.get(&place).by("auditor").send().await.expect(200);
    let report = read.json();
    let lines = report["report"]["lines"].as_array().expect("lines");
    assert_eq!(
        lines.iter().map(|line| text(line, "unit_price")).collect::<Vec<_>>(),
        ["200.00", "300.00", "400.00"]
    );
    assert_eq!(text(&report["report"], "first_fiscal_number"), "KIN-GOMBE-2");
    assert_eq!(text(&report["report"], "last_fiscal_number"), "KIN-GOMBE-4");
    assert_eq!(report["report"]["tax_manifest_versions"].as_array().map(Vec::len), Some(1));

    // Each line of NDJSON is the text that the digest is over.
    let stream =
        world.get(&format!("{place}?format=ndjson")).by("auditor").send().await.expect(200);
    let stream = stream.text();
    let mut parts: Vec<&str> = stream.lines().collect();
    let seal: Value = serde_json::from_str(parts.pop().expect("a seal")).expect("JSON");
    let count = u64::try_from(parts.len() - 1).expect("few");
    let mut digest = Tagged::new("fiscus/article-report/v1");
    parts.iter().for_each(|part| {
        digest.str(part);
    });
    let digest = digest.u64(count).finish();
    assert_eq!((count, digest), (3, hash(&seal, "digest")));
    is_signed(&mut world, &seal, &digest).await;

    let csv = world.get(&format!("{place}?format=csv")).by("auditor").send().await.expect(200);
    assert_eq!(csv.text().matches("KIN-GOMBE-3").count(), 1, "{}", csv.text());
    let pdf = world.get(&format!("{place}?format=pdf")).by("auditor").send().await.expect(200);
    assert!(pdf.body.starts_with(b"%PDF-"));

    let today =
        json!({"type": "a", "outlet_id": "outlet-gombe", "from": "2020-01-01", "to": "2100-01-01"});
    let today = make(&world, "a-2", &today).await.expect(201).json();
    assert_eq!(today["from_position"], 1);
    for (key, bounds, code) in [
        ("a-3", json!({"from": "2020-01-01", "to": "2020-01-02"}), "RANGE_EMPTY"),
        ("a-4", json!({"from": "2020-01-01", "to_position": 3}), "RANGE_INVALID"),
        ("a-5", json!({"from": "soon"}), "FIELD_INVALID"),
        ("a-6", json!({"operator": "cashier-7"}), "FIELD_INVALID"),
    ] {
        let mut body = bounds;
        body["type"] = json!("a");
        body["outlet_id"] = json!("outlet-gombe");
        assert_eq!(make(&world, key, &body).await.expect(422).code(), code, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_reports_do_not_exist() {
    let world = World::start().await;
    sell(&world, "sale-1", 1_000).await;
    let mut ids = Vec::new();
    for kind in ["z", "x", "a"] {
        let body = json!({"type": kind, "outlet_id": "outlet-gombe"});
        let made = make(&world, &format!("{kind}-1"), &body).await.expect(201).json();
        ids.push(text(&made, "report_id").to_owned());
        let foreign = world.post("/api/v1/reports").by("other").idempotent("mine").json(&body);
        assert_eq!(foreign.send().await.expect(404).code(), "OUTLET_UNKNOWN");
        let lacking = world.post("/api/v1/reports").by("sealer").idempotent("mine").json(&body);
        assert_eq!(lacking.send().await.expect(403).code(), "SCOPE_MISSING");
    }
    ids.push("z-none".to_owned());
    for id in &ids {
        let foreign = world.get(&format!("/api/v1/reports/{id}")).by("other").send().await;
        assert_eq!(foreign.expect(404).code(), "REPORT_UNKNOWN", "{id}");
    }
    let list = world.get("/api/v1/reports?outlet_id=outlet-gombe").by("other").send().await;
    assert_eq!(list.expect(404).code(), "OUTLET_UNKNOWN");
    let z = json!({"type": "z", "outlet_id": "outlet-gombe"});
    let auditor =
        world.post("/api/v1/reports").by("auditor").idempotent("mine").json(&z).send().await;
    assert_eq!(auditor.expect(403).code(), "SCOPE_MISSING", "an auditor changes nothing");
}
