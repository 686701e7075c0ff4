//! Webhooks, from the endpoint that is made to the message that comes, and what becomes of one that does not.

use std::time::Duration;

use fiscus_gateway::webhooks::signature::Verifier;
use fiscus_proto::client::ClusterClient;
use fiscus_proto::command::{PutDocuments, command};
use serde_json::{Value, json};

use crate::devices::activate;
use crate::support::http::Answer;
use crate::support::receiver::{Came, Receiver};
use crate::support::{LIMIT, Setup, World, sale, seed, until};

async fn post(world: &World, path: &str, key: &str, body: &Value) -> Answer {
    world
        .post(&format!("/api/v1/webhooks{path}"))
        .by("owner")
        .idempotent(key)
        .json(body)
        .send()
        .await
}

async fn get(world: &World, path: &str) -> Value {
    world.get(&format!("/api/v1/webhooks{path}")).by("owner").send().await.expect(200).json()
}

/// An endpoint's id and its secret.
async fn make(world: &World, key: &str, body: &Value) -> (String, String) {
    let made = post(world, "", key, body).await.expect(201).json();
    let text = |name: &str| made[name].as_str().expect("text").to_owned();
    (text("endpoint_id"), text("secret"))
}

async fn seal(world: &World, outlet_id: &str, price: u32) -> Value {
    let key = format!("{outlet_id}-{price}");
    let call = world.post("/api/v1/invoices").by("owner").idempotent(&key);
    call.json(&sale(outlet_id, price)).send().await.expect(201).json()
}

fn believed(came: &Came, secret: &str) -> bool {
    let verifier = Verifier::parse(secret).expect("a secret");
    verifier.check(&came.id, came.timestamp, &came.signatures, &came.body, came.timestamp).is_ok()
}

/// Waits until something that is asked for through the API holds.
async fn told(world: &World, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        loop {
            let value = get(world, path).await;
            if holds(&value) {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(LIMIT, waiting).await;
    waited.unwrap_or_else(|_| panic!("{path} does not come to say so"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_invoice_is_told_signed_and_numbered() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    seal(&world, "outlet-gombe", 1).await;
    let body =
        json!({"url": receiver.url("/ok/all"), "mode": "ordered", "events": ["invoice.sealed"]});
    let (id, secret) = make(&world, "a", &body).await;
    let again = post(&world, "", "a", &body).await.expect(200).json();
    assert_eq!(again["secret"], json!(secret), "a lost answer can be asked for again");
    let region = json!({"region_id": "goma", "name": "Goma"});
    world
        .post("/api/v1/regions")
        .by("owner")
        .idempotent("r")
        .json(&region)
        .send()
        .await
        .expect(201);
    let goma = json!({"url": receiver.url("/ok/goma"), "regions": ["goma"]});
    make(&world, "b", &goma).await;
    let one = seal(&world, "outlet-gombe", 100).await;
    let two = seal(&world, "outlet-goma", 200).await;
    until("both have come", || {
        receiver.ids("/ok/all").len() == 2 && receiver.ids("/ok/goma").len() == 1
    })
    .await;

    let came = receiver.came("/ok/all");
    let data = |at: usize| came[at].json()["data"].clone();
    assert_eq!(came[0].json()["type"], "invoice.sealed");
    assert_eq!(
        (&data(0)["fiscal_number"], &data(1)["fiscal_number"]),
        (&one["fiscal_number"], &two["fiscal_number"])
    );
    assert_eq!(
        (&data(0)["sequence"], &data(1)["sequence"]),
        (&json!(0), &json!(1)),
        "what was before is not told"
    );
    for (field, of) in [
        ("record_hash", "entry_hash"),
        ("previous_hash", "previous_hash"),
        ("tree_index", "leaf_index"),
        ("fiscal_authority_id", "fiscal_authority_id"),
        ("tax_groups", "tax_groups"),
        ("totals", "totals"),
        ("auth_code", "auth_code"),
        ("signature", "signature"),
        ("position", "position"),
    ] {
        assert_eq!(data(0)[field], one[of], "{field}");
    }
    assert_eq!((&data(0)["branch"], &data(0)["region"]), (&json!("KIN-GOMBE"), &json!("kinshasa")));
    assert_eq!(came[0].id, format!("msg_{id}_1_{}", one["leaf_index"]));
    assert!(came[0].body.len() < 20_000);
    let public =
        get(&world, &format!("/{id}")).await["public_keys"][0].as_str().expect("a key").to_owned();
    for message in &came {
        assert!(believed(message, &secret) && believed(message, &public), "{message:?}");
    }
    let schema = get(&world, "/events").await;
    let schema =
        schema["data"].as_array().expect("data").iter().find(|it| it["name"] == "invoice.sealed");
    let required = schema.expect("it is there")["schema"]["properties"]["data"]["required"].clone();
    for field in required.as_array().expect("fields") {
        assert!(data(0).get(field.as_str().expect("text")).is_some(), "{field}");
    }
}

/// A sale with as many lines, groups, payments and words of metadata as the rules allow.
fn largest() -> Value {
    let wide = |text: &str, bytes: usize| format!("{text}{}", "x".repeat(bytes - text.len()));
    let references = json!({
        "funding_source": "BM", "regime_registration": "R1", "mining_license": "M1", "excise_certificate": "E1",
        "telecom_operator": "T1", "professional_approval_id": "P1",
    });
    // TG07 is on exports only.
    let groups: Vec<u32> = (1..=14).filter(|group| *group != 7).collect();
    let items: Vec<Value> = (0..2_000)
        .map(|at| {
            json!({
                "code": wide(&at.to_string(), 64), "description": wide("Farine", 160), "quantity": "1.125",
                "unit_price": "99999.99", "tax_group": format!("TG{:02}", groups[at % groups.len()]),
                "references": references,
            })
        })
        .collect();
    let payments: Vec<Value> = (0..64)
        .map(
            |at| json!({"method": "card", "amount": "1.00", "instrument_id": format!("card-{at}")}),
        )
        .collect();
    let mut metadata: serde_json::Map<String, Value> =
        (1..32).map(|at| (format!("note-{at}"), json!("n".repeat(256)))).collect();
    metadata.insert("tax_override_reason".to_owned(), json!("everything at once"));
    let mut sale = sale("outlet-gombe", 1);
    sale["cashier_id"] = json!("\u{1}".repeat(64));
    sale["client"] =
        json!({"name": wide("Acheteur", 64), "nif": "A1", "classification": "company"});
    (sale["items"], sale["payments"]) = (json!(items), json!(payments));
    sale["metadata"] = json!(metadata);
    sale
}

#[tokio::test(flavor = "multi_thread")]
async fn the_message_of_the_largest_invoice_is_small_and_has_what_books_are_reconciled_by() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    let body = json!({"url": receiver.url("/ok/all"), "events": ["invoice.sealed"]});
    let (_, secret) = make(&world, "a", &body).await;
    let sale = largest();
    let size = sale.to_string().len();
    assert!(size > 700_000, "{size} bytes are not much");
    let call = world.post("/api/v1/invoices").by("owner").idempotent("largest");
    let sealed = call.json(&sale).send().await.expect(201).json();
    until("it has come", || receiver.ids("/ok/all").len() == 1).await;

    let came = receiver.came("/ok/all").remove(0);
    assert!(came.body.len() < 20_000, "{} bytes", came.body.len());
    assert!(believed(&came, &secret));
    let data = came.json()["data"].clone();
    assert_eq!(data["tax_groups"].as_array().map(Vec::len), Some(13));
    for (field, of) in [
        ("fiscal_number", "fiscal_number"),
        ("outlet_id", "outlet_id"),
        ("record_hash", "entry_hash"),
        ("previous_hash", "previous_hash"),
        ("tree_index", "leaf_index"),
        ("fiscal_authority_id", "fiscal_authority_id"),
        ("tax_groups", "tax_groups"),
        ("totals", "totals"),
    ] {
        assert!(!data[field].is_null() && data[field] == sealed[of], "{field}");
    }
    assert_eq!((&data["branch"], &data["device_id"]), (&json!("KIN-GOMBE"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_changed_while_both_sign_and_a_pause_loses_nothing() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    let (id, old) = make(&world, "a", &json!({"url": receiver.url("/ok/a")})).await;
    let rotated = post(&world, &format!("/{id}/rotate"), "r", &json!({"overlap_hours": 1}))
        .await
        .expect(201)
        .json();
    let new = rotated["secret"].as_str().expect("text").to_owned();
    assert_ne!(old, new);
    let test = post(&world, &format!("/{id}/test"), "t", &json!({})).await.expect(200).json();
    assert_eq!((&test["outcome"], &test["status"]), (&json!("delivered"), &json!(204)));
    let came = receiver.came("/ok/a");
    assert_eq!(came[0].json()["type"], "endpoint.test");
    assert!(believed(&came[0], &old) && believed(&came[0], &new), "both sign during the overlap");
    let tests = get(&world, &format!("/{id}/attempts?event=endpoint.test")).await;
    assert_eq!(
        (&tests["data"][0]["outcome"], &tests["data"][1]),
        (&json!("delivered"), &Value::Null)
    );
    assert_eq!(tests["data"][0]["message_id"], json!(came[0].id));
    post(&world, &format!("/{id}/rotate"), "s", &json!({"overlap_hours": 0})).await.expect(201);
    post(&world, &format!("/{id}/test"), "u", &json!({})).await.expect(200);
    assert!(!believed(&receiver.came("/ok/a")[1], &old), "the first one is over");

    post(&world, &format!("/{id}/pause"), "", &json!({})).await.expect(200);
    let sealed = seal(&world, "outlet-gombe", 100).await;
    told(&world, &format!("/{id}/statistics"), |it| it["pending"] == 1).await;
    assert_eq!(receiver.came("/ok/a").len(), 2, "nothing is sent while it is paused");
    post(&world, &format!("/{id}/resume"), "", &json!({})).await.expect(200);
    until("it comes when it is resumed", || receiver.came("/ok/a").len() == 3).await;
    assert_eq!(receiver.came("/ok/a")[2].json()["data"]["fiscal_number"], sealed["fiscal_number"]);
    let statistics = told(&world, &format!("/{id}/statistics"), |it| it["delivered"] == 1).await;
    assert_eq!(
        (&statistics["lag_events"], &statistics["success_percent"]),
        (&json!(0), &json!(100))
    );
    let attempts =
        told(&world, &format!("/{id}/attempts?event=invoice.sealed"), |it| it["data"] != json!([]))
            .await;
    assert_eq!(attempts["data"][0]["outcome"], "delivered");

    let gone = world.call("DELETE", &format!("/api/v1/webhooks/{id}")).by("owner").send().await;
    gone.expect(204);
    let unknown = world.get(&format!("/api/v1/webhooks/{id}")).by("owner").send().await.expect(404);
    assert_eq!(unknown.code(), "WEBHOOK_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_under_another_api_key_is_told_no_secret() {
    let world = World::start().await;
    let body = json!({"url": "https://nowhere.invalid/"});
    let (id, secret) = make(&world, "a", &body).await;
    let rotation = json!({"overlap_hours": 1});
    let rotate = format!("/{id}/rotate");
    let rotated = post(&world, &rotate, "r", &rotation).await.expect(201).json();
    for (path, key, body, secret) in
        [("", "a", &body, &json!(secret)), (&*rotate, "r", &rotation, &rotated["secret"])]
    {
        let own = post(&world, path, key, body).await.expect(200).json();
        assert_eq!((&own["endpoint_id"], &own["secret"]), (&json!(id), secret));
        let call = world.post(&format!("/api/v1/webhooks{path}")).by("growth").idempotent(key);
        let other = call.json(body).send().await.expect(200).json();
        assert_eq!((&other["endpoint_id"], other.get("secret")), (&json!(id), None), "{path}");
    }
    // One that signs no more is told to nobody.
    let over = json!({"overlap_hours": 0});
    for key in ["s", "t"] {
        post(&world, &rotate, key, &over).await.expect(201);
    }
    let own = post(&world, "", "a", &body).await.expect(200).json();
    assert_eq!(own.get("secret"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_given_up_and_sent_again_when_somebody_asks() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    receiver.fail(true);
    let (id, _) = make(&world, "a", &json!({"url": receiver.url("/switch/a")})).await;
    let (moved, _) =
        make(&world, "b", &json!({"url": receiver.url("/redirect"), "events": ["invoice.sealed"]}))
            .await;
    let (well, _) = make(&world, "c", &json!({"url": receiver.url("/ok/c")})).await;
    let sealed = seal(&world, "outlet-gombe", 100).await;
    let letters = told(&world, &format!("/{id}/dead-letters"), |it| it["data"] != json!([])).await;
    let letter = &letters["data"][0];
    assert_eq!(letter["attempts"], 3);
    let message = letter["message_id"].as_str().expect("text").to_owned();
    assert_eq!(receiver.came("/switch/a").len(), 3);
    assert!(
        receiver.came("/switch/a").iter().all(|came| came.id == message),
        "the id is the event's"
    );
    let moved = told(&world, &format!("/{moved}/dead-letters"), |it| it["data"] != json!([])).await;
    let reason = moved["data"][0]["reason"].as_str().expect("text").to_owned();
    assert!(reason.contains("redirects are not followed"), "{reason}");
    assert!(receiver.came("/ok/redirected").is_empty());
    assert_eq!(receiver.came("/ok/c").len(), 1, "others are delayed by nothing");

    receiver.fail(false);
    post(&world, &format!("/{id}/replay"), "r1", &json!({"failed": true})).await.expect(202);
    until("it comes", || receiver.came("/switch/a").len() == 4).await;
    let again = receiver.came("/switch/a")[3].clone();
    assert_eq!(
        (&again.id, &again.json()["data"]["fiscal_number"]),
        (&message, &sealed["fiscal_number"])
    );
    told(&world, &format!("/{id}/statistics"), |it| it["replays_done"] == 1).await;
    told(&world, &format!("/{id}/dead-letters"), |it| it["data"] == json!([])).await;
    post(&world, &format!("/{id}/replay"), "r2", &json!({"message_id": message})).await.expect(202);
    let hours = json!({"from": "2026-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z"});
    post(&world, &format!("/{well}/replay"), "r3", &hours).await.expect(202);
    until("one and a range come", || {
        receiver.came("/switch/a").len() == 5 && receiver.came("/ok/c").len() >= 2
    })
    .await;
    let wrong = post(&world, &format!("/{id}/replay"), "r4", &json!({"message_id": "msg_x_1_1"}))
        .await
        .expect(422);
    assert_eq!(wrong.code(), "FIELD_INVALID");
    for place in ["1_18446744073709551615", "n_18446744073709551615", "n_0", "1_1000000", "77_0"] {
        let none = json!({"message_id": format!("msg_{id}_{place}")});
        let refused = post(&world, &format!("/{id}/replay"), place, &none).await.expect(422);
        assert_eq!(refused.pointers(), ["/message_id"], "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_a_time_has_everything_of_that_time_devices_too_and_nothing_else() {
    let mut world = World::start().await;
    let client = world.cluster.client().await;
    let receiver = Receiver::start().await;
    let (id, _) = make(&world, "a", &json!({"url": receiver.url("/ok/a")})).await;
    let count = |wanted: usize| {
        let receiver = &receiver;
        async move { until("all have come", || receiver.came("/ok/a").len() >= wanted).await }
    };
    seal(&world, "outlet-gombe", 1).await;
    count(1).await;
    let device = json!({"device_id": "def-1", "outlet_id": "outlet-gombe", "name": "Caisse"});
    let made = world.post("/api/v1/devices").by("owner").idempotent("d").json(&device);
    let made = made.send().await.expect(201).json();
    activate(&client, made["activation_code"].as_str().expect("a code")).await;
    count(2).await;
    seal(&world, "outlet-goma", 2).await;
    count(3).await;
    seal(&world, "outlet-gombe", 3).await;
    count(4).await;
    let came: Vec<Value> = receiver.came("/ok/a").iter().map(Came::json).collect();
    let kinds: Vec<_> = came.iter().map(|one| one["type"].as_str().unwrap_or_default()).collect();
    assert_eq!(kinds, ["invoice.sealed", "device.activated", "invoice.sealed", "invoice.sealed"]);

    let hours = json!({"from": came[1]["timestamp"], "to": came[3]["timestamp"]});
    post(&world, &format!("/{id}/replay"), "r", &hours).await.expect(202);
    told(&world, &format!("/{id}/statistics"), |it| it["replays_done"] == 1).await;
    count(6).await;
    let again: std::collections::BTreeSet<String> =
        receiver.came("/ok/a")[4..].iter().map(|one| one.id.clone()).collect();
    let before = receiver.came("/ok/a")[1..3].iter().map(|one| one.id.clone()).collect();
    assert_eq!(again, before);

    // What is another organisation's is nothing.
    let call = world.post("/api/v1/invoices").by("other").idempotent("k");
    let theirs = call.json(&sale("outlet-kenya", 1)).send().await.expect(201).json();
    let message = json!({"message_id": format!("msg_{id}_1_{}", theirs["leaf_index"])});
    post(&world, &format!("/{id}/replay"), "s", &message).await.expect(202);
    let done = told(&world, &format!("/{id}/statistics"), |it| it["replays_done"] == 2).await;
    assert_eq!((&done["dead"], &done["failed_attempts"]), (&json!(0), &json!(0)));
    assert_eq!(receiver.came("/ok/a").len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_report_is_told_to_those_who_want_its_outlet() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    for (path, more) in [
        ("all", json!({"mode": "ordered"})),
        ("limete", json!({"outlets": ["outlet-limete"]})),
        ("sales", json!({"events": ["invoice.sealed"]})),
    ] {
        let mut body = json!({"url": receiver.url(&format!("/ok/{path}"))});
        let more = more.as_object().expect("an object").clone();
        body.as_object_mut().expect("an object").extend(more);
        make(&world, path, &body).await;
    }
    seal(&world, "outlet-gombe", 100).await;
    let mut made = Vec::new();
    for kind in ["x", "a", "z", "x"] {
        let key = format!("{kind}-{}", made.len());
        let call = world.post("/api/v1/reports").by("owner").idempotent(&key);
        let body = json!({"type": kind, "outlet_id": "outlet-gombe"});
        let report = call.json(&body).send().await.expect(201).json();
        made.push(report["report_id"].as_str().expect("an id").to_owned());
    }
    // What is repeated is the same report.
    let call = world.post("/api/v1/reports").by("owner").idempotent("x-3");
    call.json(&json!({"type": "x", "outlet_id": "outlet-gombe"})).send().await.expect(200);
    until("each is told", || receiver.ids("/ok/all").len() > made.len()).await;
    let catalogue = get(&world, "/events").await;
    let events = catalogue["data"].as_array().expect("events");
    let schema = &events.iter().find(|it| it["name"] == "report.generated").expect("it")["schema"];
    let fields = &schema["properties"]["data"]["properties"];
    let told: Vec<Value> = receiver.came("/ok/all").iter().map(Came::json).collect();
    let reports: Vec<&Value> = told.iter().filter(|it| it["type"] == "report.generated").collect();
    let mut ids: Vec<&str> =
        reports.iter().map(|it| it["data"]["report_id"].as_str().expect("an id")).collect();
    ids.sort_unstable();
    made.sort_unstable();
    assert_eq!(ids, made);
    for report in reports {
        let data = report["data"].as_object().expect("data");
        assert_eq!(data["branch"], "KIN-GOMBE");
        let names: Vec<&String> = data.keys().collect();
        let known: Vec<&String> = fields.as_object().expect("fields").keys().collect();
        assert_eq!(names, known, "all three have the same fields");
        for (name, value) in data {
            let kind = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "integer",
                Value::String(_) => "string",
                other => panic!("{other}"),
            };
            let types = &fields[name]["type"];
            let fits =
                types == kind || types.as_array().is_some_and(|it| it.contains(&json!(kind)));
            assert!(fits, "{name} is {value}, and {types} is allowed");
        }
    }
    assert!(receiver.came("/ok/limete").is_empty(), "another outlet's");
    assert_eq!(receiver.ids("/ok/sales").len(), 1);
    // A report is sent again like a record.
    let id = receiver.ids("/ok/all").into_iter().find(|id| id.contains("_n_")).expect("a notice");
    let endpoint = id.split('_').nth(1).expect("an endpoint");
    let again = json!({"message_id": id});
    post(&world, &format!("/{endpoint}/replay"), "again", &again).await.expect(202);
    until("it comes again", || {
        receiver.came("/ok/all").iter().filter(|came| came.id == id).count() == 2
    })
    .await;
}

/// What a device's proxy tells, over what it told before.
async fn tell_health(client: &ClusterClient, seen: u64, change: &Value) {
    let mut told = json!({
        "state": "up", "firmware_version": "2.4.1", "last_sequence": 0, "imported_sequence": 0,
        "role": "serve", "free_memory_bytes": 1_000_000_000, "queue_depth": 0, "reconnects": 0, "import_stopped": false,
    });
    let told_of = told.as_object_mut().expect("an object");
    told_of.extend(change.as_object().expect("an object").clone());
    let mut put = seed::json("device_health", "def-1", &told);
    put.expected_version = seen;
    let puts = PutDocuments { puts: vec![put] };
    seed::done(client, command::Command::PutDocuments(puts)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_be_looked_at_is_told_once_whichever_gateways_look() {
    let mut world = World::start_with(Setup { gateways: 2, ..Setup::default() }).await;
    let client = world.cluster.client().await;
    let receiver = Receiver::start().await;
    let new = json!({"device_id": "def-1", "outlet_id": "outlet-gombe", "name": "Caisse 1"});
    let made = world.post("/api/v1/devices").by("owner").idempotent("d").json(&new).send().await;
    let code = made.expect(201).json()["activation_code"].as_str().expect("a code").to_owned();
    activate(&client, &code).await;
    let wanted = json!(["outlet.offline_alert", "device.unhealthy"]);
    let body = json!({"url": receiver.url("/ok/a"), "events": wanted, "outlets": ["outlet-gombe"]});
    make(&world, "a", &body).await;
    let other = json!({"url": receiver.url("/ok/b"), "events": wanted, "outlets": ["outlet-goma"]});
    make(&world, "b", &other).await;
    // What a gateway that is killed has sent may come again, under its id.
    let told = || {
        let mut once: Vec<Came> = Vec::new();
        for came in receiver.came("/ok/a") {
            if once.iter().all(|known| known.id != came.id) {
                once.push(came);
            }
        }
        once.iter().map(Came::json).collect::<Vec<_>>()
    };
    let kinds = || {
        let kind = |one: &Value| one["type"].as_str().expect("text").to_owned();
        told().iter().map(kind).collect::<Vec<_>>()
    };
    tell_health(&client, 0, &json!({"last_seen": "2026-01-01T00:00:00.000Z"})).await;
    until("an outlet's silence is told", || kinds() == ["outlet.offline_alert"]).await;
    let data = receiver.came("/ok/a")[0].json()["data"].clone();
    assert_eq!(
        (&data["outlet_id"], &data["branch"]),
        (&json!("outlet-gombe"), &json!("KIN-GOMBE"))
    );
    assert_eq!(data["devices"][0]["device_id"], "def-1");
    // One of the two is killed; the other one looks after everything, and knows what was told.
    drop(world.gateways.remove(0));
    let away = json!({"last_seen": "2099-01-01T00:00:00.000Z", "state": "away"});
    tell_health(&client, 1, &away).await;
    until("a device that is away is told", || kinds().len() >= 2).await;
    let data = told()[1]["data"].clone();
    assert_eq!(
        (&data["device_id"], &data["problems"][0]["code"]),
        (&json!("def-1"), &json!("DEVICE_AWAY"))
    );
    tell_health(&client, 2, &json!({"last_seen": "2099-01-01T00:00:00.000Z"})).await;
    tell_health(&client, 3, &json!({"last_seen": "2026-01-01T00:00:00.000Z"})).await;
    until("what comes back is told again", || kinds().len() >= 3).await;
    assert_eq!(kinds(), ["outlet.offline_alert", "device.unhealthy", "outlet.offline_alert"]);
    assert!(receiver.came("/ok/b").is_empty(), "another outlet's");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_gone_is_disabled_and_the_others_are_told() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    let (gone, _) = make(&world, "a", &json!({"url": receiver.url("/status/410")})).await;
    make(&world, "b", &json!({"url": receiver.url("/ok/b"), "events": ["endpoint.disabled"]}))
        .await;
    seal(&world, "outlet-gombe", 100).await;
    until("the other one is told", || !receiver.came("/ok/b").is_empty()).await;
    let told_of = receiver.came("/ok/b")[0].json();
    assert_eq!(
        (&told_of["type"], &told_of["data"]["endpoint_id"]),
        (&json!("endpoint.disabled"), &json!(gone))
    );
    assert_eq!(told_of["data"]["url"], json!(receiver.url("")), "its path may hold a secret");
    let shown = get(&world, &format!("/{gone}")).await;
    assert_eq!((&shown["state"], &shown["state_reason"]), (&json!("disabled"), &json!("gone")));
    assert_eq!(receiver.came("/status/410").len(), 1);
    let log = world.get("/api/v1/audit/actions?action=webhook.disable").by("owner").send().await;
    assert_eq!(log.expect(200).json()["data"][0]["object_id"], json!(gone));
    let shown = "fiscus_delivery_active{destination=\"webhook/org-kivu/";
    let waiting = async {
        while !world.admin(0, "/metrics").send().await.text().contains(shown) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("the figures show it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_must_be_on_the_internet_and_the_organisations() {
    let world = World::start().await;
    for url in [
        "ftp://a.cd/",
        "https://u@a.cd/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://169.254.169.254/latest",
    ] {
        let refused = post(&world, "", "u", &json!({"url": url})).await.expect(422);
        assert_eq!(refused.pointers(), ["/url"], "{url}");
    }
    let foreign =
        post(&world, "", "f", &json!({"url": "https://a.cd/", "outlets": ["outlet-kenya"]})).await;
    assert_eq!(foreign.expect(404).code(), "OUTLET_UNKNOWN");
    for (by, code) in
        [("cashier", "SCOPE_MISSING"), ("goma", "KEY_LIMITED"), ("auditor", "SCOPE_MISSING")]
    {
        let refused = world.get("/api/v1/webhooks").by(by).send().await.expect(403);
        assert_eq!(refused.code(), code, "{by}");
    }
    let (id, secret) = make(&world, "a", &json!({"url": "https://nowhere.invalid/"})).await;
    let before = get(&world, &format!("/{id}")).await;
    let replay = json!({"message_id": format!("msg_{id}_1_0")});
    for (method, path, body) in [
        ("GET", "", None),
        ("PATCH", "", Some(json!({"url": "https://a.cd/"}))),
        ("DELETE", "", None),
        ("POST", "/test", Some(json!({}))),
        ("POST", "/rotate", Some(json!({"overlap_hours": 0}))),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
        ("POST", "/replay", Some(replay)),
        ("GET", "/attempts", None),
        ("GET", "/dead-letters", None),
        ("GET", "/statistics", None),
    ] {
        let call = world.call(method, &format!("/api/v1/webhooks/{id}{path}")).by("other");
        let call = call.idempotent(&format!("{method}{path}"));
        let call = if let Some(body) = &body { call.json(body) } else { call };
        let hidden = call.send().await.expect(404);
        assert_eq!(hidden.code(), "WEBHOOK_UNKNOWN", "{method} {path}");
    }
    assert_eq!(get(&world, &format!("/{id}")).await, before, "nothing of it was changed");
    for shown in [get(&world, "").await, get(&world, &format!("/{id}")).await] {
        assert!(!shown.to_string().contains(secret.trim_start_matches("whsec_")), "{shown}");
    }
    let test = post(&world, &format!("/{id}/test"), "t", &json!({})).await.expect(200).json();
    assert_eq!((&test["outcome"], &test["status"]), (&json!("failed"), &Value::Null));
}
