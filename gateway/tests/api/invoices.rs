//! Invoices: sealed once whatever changes in between, read whole, listed page by page.

use std::collections::BTreeSet;

use crate::support::http::Answer;
use crate::support::{LIMIT, Setup, World, sale};
use fiscus_ledger::manifest::Manifest;
use fiscus_proto::client::Answer as ClusterAnswer;
use fiscus_proto::command::{Command, PublishManifest, command};
use serde_json::{Value, json};

const INVOICES: &str = "/api/v1/invoices";

async fn seal(world: &World, key: &str, invoice: &Value) -> Answer {
    let by = if crate::support::seed::of_lualaba(invoice["outlet_id"].as_str().unwrap_or("")) {
        "other"
    } else {
        "owner"
    };
    world.post(INVOICES).by(by).idempotent(key).json(invoice).send().await
}

async fn list(world: &World, query: &str) -> Value {
    world.get(&format!("{INVOICES}?{query}")).by("owner").send().await.expect(200).json()
}

/// Every page of a list.
async fn all(world: &World, query: &str) -> Vec<Value> {
    all_from(world, query, String::new()).await
}

/// Every page from a cursor on.
async fn all_from(world: &World, query: &str, mut cursor: String) -> Vec<Value> {
    let mut found = Vec::new();
    loop {
        let page = list(world, &format!("{query}{cursor}")).await;
        found.extend(page["data"].as_array().expect("data").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

fn numbers(invoices: &[Value]) -> Vec<&str> {
    invoices.iter().map(|invoice| invoice["fiscal_number"].as_str().expect("a number")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_invoice_is_read_whole() {
    let world = World::start().await;
    let sealed = seal(&world, "sale", &sale("outlet-gombe", 1_000)).await.expect(201);
    let number = sealed.json()["fiscal_number"].as_str().expect("a number").to_owned();
    assert_eq!(sealed.header("location"), format!("{INVOICES}/{number}"));
    for query in ["", "?consistency=linearizable", "?consistency=local"] {
        let path = format!("{INVOICES}/{number}{query}");
        let full = world.get(&path).by("cashier").send().await.expect(200).json();
        for (field, value) in sealed.json().as_object().expect("an object") {
            assert_eq!(&full[field], value, "{field}");
        }
        assert_eq!(full["invoice"]["items"][0]["description"], "Farine");
        assert_eq!((&full["credited"], &full["complete"]), (&json!("none"), &json!(true)));
        assert_eq!(full["as_of"]["group"], 1);
    }
    let wrong = world.get(&format!("{INVOICES}/{number}?consistency=x")).by("owner").send().await;
    assert_eq!(wrong.expect(400).code(), "PARAMETER_INVALID");
    for unknown in ["KIN-GOMBE-999", "KIN-NOWHERE-1", "x", "%F0%9F%A6%80"] {
        let answer = world.get(&format!("{INVOICES}/{unknown}")).by("owner").send().await;
        assert_eq!(answer.expect(404).code(), "INVOICE_UNKNOWN", "{unknown}");
    }
    let other = world.get(&format!("{INVOICES}/{number}")).by("other").send().await;
    assert_eq!(other.expect(404).code(), "INVOICE_UNKNOWN");
    let broken = world.get(&format!("{INVOICES}/%ff")).by("owner").send().await;
    assert_eq!(broken.expect(400).code(), "PARAMETER_INVALID");
}

/// Publishes a table with another rate for TG02, and waits until it is in force.
async fn change_the_table(world: &mut World) {
    let builtin = Manifest::builtin();
    let soon = world.gateways[0].app().now().get() + 5_000;
    let json = builtin
        .to_json()
        .replace(r#""version":"2026-02-01""#, r#""version":"next""#)
        .replace(
            &builtin.effective_from().to_string(),
            &fiscus_ledger::time::UnixMs::new(soon).to_string(),
        )
        .replacen(r#""rate":"0.1600""#, r#""rate":"0.1800""#, 1);
    let publish =
        Command { command: Some(command::Command::PublishManifest(PublishManifest { json })) };
    let client = world.cluster.client().await;
    let answer = client.submit(0, publish, LIMIT).await.expect("an answer");
    assert!(matches!(answer, ClusterAnswer::Recorded(_) | ClusterAnswer::Done), "{answer:?}");
    let waiting = async {
        loop {
            let table = world.get("/api/v1/tax-groups").by("owner").send().await.expect(200).json();
            if table["version"] == "next" {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("the table comes into force");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_a_change_of_the_table_finds_the_first_seal() {
    let mut world = World::start().await;
    let mut plain = sale("outlet-gombe", 1_000);
    plain["items"][0]["tax_group"] = json!("TG02");
    let mut with_totals = plain.clone();
    with_totals["totals"] = json!({ "total": "1160.00" });
    let mut with_version = plain.clone();
    with_version["tax_manifest_version"] = json!("2026-02-01");
    let sales = [("plain", &plain), ("totals", &with_totals), ("version", &with_version)];
    let mut before = Vec::new();
    for (key, invoice) in sales {
        before.push(seal(&world, key, invoice).await.expect(201).body);
    }
    change_the_table(&mut world).await;
    for ((key, invoice), before) in sales.into_iter().zip(before) {
        assert_eq!(seal(&world, key, invoice).await.expect(200).body, before, "{key}");
    }
    let fresh = seal(&world, "fresh", &plain).await.expect(201).json();
    assert_eq!(
        (&fresh["totals"]["total"], &fresh["tax_manifest_version"]),
        (&json!("1180.00"), &json!("next"))
    );
    let wrong = seal(&world, "new-1", &with_totals).await.expect(422);
    assert_eq!(wrong.code(), "TOTALS_MISMATCH");
    for version in ["2026-02-01", "never"] {
        let mut stale = plain.clone();
        stale["tax_manifest_version"] = json!(version);
        let stale = seal(&world, "new-2", &stale).await.expect(409);
        assert_eq!(
            (stale.code().as_str(), stale.pointers()),
            ("MANIFEST_STALE", vec!["/tax_manifest_version".to_owned()])
        );
        assert_eq!(stale.json()["errors"][0]["expected"]["tax_manifest_version"], "next");
    }
    let mut other = with_totals.clone();
    other["client"]["name"] = json!("Autre");
    assert_eq!(seal(&world, "totals", &other).await.expect(409).code(), "IDEMPOTENCY_CONFLICT");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_merged_over_groups_and_pinned() {
    let world = World::start_with(Setup { data_groups: 2, ..Setup::default() }).await;
    for round in 0..6 {
        for outlet in ["outlet-gombe", "outlet-limete", "outlet-goma"] {
            seal(&world, &format!("s{round}"), &sale(outlet, 100 + round)).await.expect(201);
        }
    }
    seal(&world, "foreign", &sale("outlet-kenya", 1)).await.expect(201);
    for sort in ["time", "-time"] {
        let whole = all(&world, &format!("sort={sort}&limit=500&min_total=100")).await;
        assert_eq!(whole.len(), 18, "all of the tenant's, and nothing else");
        let mut times: Vec<_> =
            whole.iter().map(|invoice| invoice["timestamp"].to_string()).collect();
        if sort == "-time" {
            times.reverse();
        }
        assert!(times.is_sorted(), "{times:?}");
        for limit in [1, 4, 7] {
            // What is sealed while the pages are read is in none of them, and moves nothing.
            let first = list(&world, &format!("sort={sort}&limit={limit}")).await;
            for outlet in ["outlet-gombe", "outlet-limete"] {
                let key = format!("late-{sort}-{limit}");
                seal(&world, &key, &sale(outlet, 9)).await.expect(201);
            }
            let mut pages = first["data"].as_array().expect("data").clone();
            let cursor = first["next_cursor"].as_str().expect("more");
            let query = format!("sort={sort}&limit={limit}");
            pages.extend(all_from(&world, &query, format!("&cursor={cursor}")).await);
            let expected = pages.len();
            let unique: BTreeSet<_> = numbers(&pages).into_iter().collect();
            assert_eq!(unique.len(), expected, "nothing comes twice");
            assert!(whole.iter().all(|invoice| {
                unique.contains(invoice["fiscal_number"].as_str().expect("a number"))
            }));
            let late = pages.iter().filter(|invoice| invoice["totals"]["total"] == "9.00").count();
            let before = all(&world, &format!("sort={sort}&max_total=9")).await.len() - 2;
            assert_eq!(late, before, "no page has what came after the first: {sort} {limit}");
        }
    }
    let cursor = list(&world, "limit=1").await["next_cursor"].as_str().expect("more").to_owned();
    for query in ["limit=1&sort=time", "limit=1&currency=CDF", "outlet_id=outlet-gombe"] {
        let path = format!("{INVOICES}?{query}&cursor={cursor}");
        assert_eq!(
            world.get(&path).by("owner").send().await.expect(400).code(),
            "CURSOR_INVALID",
            "{query}"
        );
    }
    let garbage = world.get(&format!("{INVOICES}?cursor=AAAA")).by("owner").send().await;
    assert_eq!(garbage.expect(400).code(), "CURSOR_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_find_what_they_say() {
    let world = World::start().await;
    let mut other = sale("outlet-gombe", 2_000);
    other["pos_terminal_id"] = json!("till-9");
    other["cashier_id"] = json!("cashier-9");
    other["client"] = json!({ "name": "Brasserie", "nif": "C1", "classification": "company" });
    other["items"][0]["tax_group"] = json!("TG02");
    other["payments"] = json!([{ "method": "card", "amount": 2320 }]);
    let mut dollars = sale("outlet-limete", 30);
    dollars["currency"] = json!("USD");
    dollars["fx"] = json!({ "rate": 2800 });
    let first = seal(&world, "a", &sale("outlet-gombe", 1_000)).await.expect(201).json();
    let second = seal(&world, "b", &other).await.expect(201).json();
    let third = seal(&world, "c", &dollars).await.expect(201).json();
    let number = first["fiscal_number"].as_str().expect("a number");
    let void = world.post(&format!("{INVOICES}/{number}/void")).by("owner").idempotent("v");
    let credit = void.json(&json!({ "reason": "x" })).send().await.expect(201).json();
    let [a, b, c, d] = [&first, &second, &third, &credit]
        .map(|sealed| sealed["fiscal_number"].as_str().expect("a number"));
    let time = second["timestamp"].as_str().expect("a time");
    let by_time = format!("from={time}&sort=time");
    let original = format!("original_fiscal_number={a}");
    for (query, expected) in [
        ("", vec![d, c, b, a]),
        ("sort=time", vec![a, b, c, d]),
        ("outlet_id=outlet-gombe", vec![d, b, a]),
        ("outlet_id=outlet-gombe,outlet-limete&sort=time", vec![a, b, c, d]),
        ("outlet_id=outlet-gombe&outlet_id=outlet-limete", vec![d, c, b, a]),
        ("kind=credit_note", vec![d]),
        ("invoice_type=sale", vec![c, b, a]),
        ("invoice_type=sale&kind=credit_note&outlet_id=outlet-gombe", vec![d, b, a]),
        ("terminal_id=till-9", vec![b]),
        ("cashier_id=cashier-7", vec![c, a]),
        ("client_nif=C1", vec![b]),
        ("payment_method=card", vec![b]),
        ("currency=USD", vec![c]),
        ("min_total=1000.01", vec![b]),
        ("min_total=31&max_total=1000", vec![d, a]),
        ("tax_group=TG02", vec![b]),
        (&original, vec![d]),
        ("to=2020-01-01T00:00:00Z", vec![]),
        (&by_time, vec![b, c, d]),
        ("outlet_id=outlet-gombe&sort=number", vec![a, b, d]),
        ("outlet_id=outlet-gombe&sort=-number", vec![d, b, a]),
        ("outlet_id=outlet-gombe&sort=-number&kind=sale", vec![b, a]),
    ] {
        for limit in [1, 50] {
            let found = all(&world, &format!("{query}&limit={limit}")).await;
            assert_eq!(numbers(&found), expected, "{query} limit={limit}");
        }
    }
    let light = &all(&world, "terminal_id=till-9").await[0];
    assert_eq!((&light["items"], &light["client"]["name"]), (&Value::Null, &json!("Brasserie")));
    for (query, code) in
        [("outlet_id=outlet-kenya", "OUTLET_UNKNOWN"), ("outlet_id=nowhere", "OUTLET_UNKNOWN")]
    {
        let answer = world.get(&format!("{INVOICES}?{query}")).by("owner").send().await;
        assert_eq!(answer.expect(404).code(), code, "{query}");
    }
    let limited = world.get(INVOICES).by("cashier").send().await.expect(200).json();
    assert_eq!(limited["data"].as_array().expect("data").len(), 3, "the cashier's outlet only");
}

/// Seals new sales until one is refused; how.
async fn refused_at_last(world: &World, outlet: &str) -> Answer {
    let waiting = async {
        for attempt in 0.. {
            let answer = seal(world, &format!("try-{attempt}"), &sale(outlet, 1)).await;
            if answer.status != 201 {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        unreachable!("there are enough numbers")
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("it is stopped")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stopped_seals_nothing_new_and_answers_what_it_sealed() {
    let world = World::start().await;
    let before = seal(&world, "before", &sale("outlet-gombe", 1)).await.expect(201);
    let path = "/api/v1/terminals/outlet-gombe/till-1";
    let block = world.call("PATCH", path).by("manager").json(&json!({ "blocked": true }));
    block.send().await.expect(200);
    assert_eq!(
        refused_at_last(&world, "outlet-gombe").await.expect(409).code(),
        "TERMINAL_BLOCKED"
    );
    let again = seal(&world, "before", &sale("outlet-gombe", 1)).await.expect(200);
    assert_eq!(again.body, before.body);
    let path = "/api/v1/outlets/outlet-goma/suspend";
    world.post(path).by("owner").idempotent("suspend").send().await.expect(200);
    assert_eq!(refused_at_last(&world, "outlet-goma").await.expect(409).code(), "OUTLET_INACTIVE");
}
