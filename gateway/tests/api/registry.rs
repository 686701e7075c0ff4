//! The registry: organisations, regions, merchants, outlets, terminals and cashiers, made and changed through the API.

use crate::support::http::Answer;
use crate::support::{Setup, World, sale};
use serde_json::{Value, json};

async fn post(world: &World, by: &str, path: &str, key: &str, body: &Value) -> Answer {
    world.post(&format!("/api/v1/{path}")).by(by).idempotent(key).json(body).send().await
}

async fn get(world: &World, by: &str, path: &str) -> Answer {
    world.get(&format!("/api/v1/{path}")).by(by).send().await
}

async fn patch(world: &World, by: &str, path: &str, body: &Value) -> Answer {
    world.call("PATCH", &format!("/api/v1/{path}")).by(by).json(body).send().await
}

fn ids(list: &Value, name: &str) -> Vec<String> {
    let data = list["data"].as_array().expect("data").iter();
    data.map(|item| item[name].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_makes_a_tenant_and_its_owner_the_rest() {
    let world = World::start().await;
    let new = json!({"organization_id": "org-equateur", "name": "Équateur Distribution"});
    let made = post(&world, "platform", "organizations", "org", &new).await.expect(201);
    assert_eq!(made.header("etag"), "\"1\"");
    let again = post(&world, "platform", "organizations", "org", &new).await.expect(200);
    assert_eq!(again.body, made.body, "a repetition makes nothing");
    let other = json!({"organization_id": "org-equateur", "name": "Another"});
    let conflict = post(&world, "platform", "organizations", "org", &other).await.expect(409);
    assert_eq!(conflict.code(), "IDEMPOTENCY_CONFLICT");
    let taken = post(&world, "platform", "organizations", "org-2", &other).await.expect(409);
    assert_eq!(taken.code(), "ORGANIZATION_EXISTS");
    assert_eq!(
        post(&world, "owner", "organizations", "o", &other).await.expect(403).code(),
        "SCOPE_MISSING"
    );
    let all = get(&world, "platform", "organizations").await.expect(200).json();
    assert_eq!(ids(&all, "organization_id"), ["org-equateur", "org-kivu", "org-lualaba"]);
    let own = get(&world, "owner", "organizations").await.expect(200).json();
    assert_eq!(ids(&own, "organization_id"), ["org-kivu"]);

    let key = json!({"organization_id": "org-equateur", "name": "Direction", "role": "owner", "tier": "enterprise"});
    let key = post(&world, "platform", "api-keys", "first", &key).await.expect(201).json();
    let owner = key["key"].as_str().expect("the text");
    let as_owner =
        |method: &str, path: &str| world.call(method, &format!("/api/v1/{path}")).bearer(owner);
    let merchant = json!({"nif": "C0000001D", "name": "Équateur Distribution SA"});
    as_owner("POST", "merchants").idempotent("m").json(&merchant).send().await.expect(201);
    let outlet = json!({
        "merchant_nif": "C0000001D", "prefix": "MBD", "code": "PORT", "environment": "live", "name": "Mbandaka port"
    });
    let made =
        as_owner("POST", "outlets").idempotent("o").json(&outlet).send().await.expect(201).json();
    let outlet_id = made["outlet_id"].as_str().expect("an id was made");
    let mut invoice = sale("outlet-gombe", 700);
    invoice["merchant_nif"] = json!("C0000001D");
    invoice["outlet_id"] = json!(outlet_id);
    let sealed =
        as_owner("POST", "invoices").idempotent("s").json(&invoice).send().await.expect(201);
    assert_eq!(sealed.json()["fiscal_number"], "MBD-PORT-1", "it can seal at once");
    assert_eq!(
        get(&world, "owner", &format!("outlets/{outlet_id}")).await.expect(404).code(),
        "OUTLET_UNKNOWN"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tax_number_is_nobody_elses_and_versions_are_kept() {
    let world = World::start().await;
    let mine = json!({"nif": "D1111111E", "name": "Pharmacie du Lac"});
    post(&world, "owner", "merchants", "mine", &mine).await.expect(201);
    let own = post(&world, "owner", "merchants", "own", &mine).await.expect(409);
    let foreign = post(&world, "other", "merchants", "foreign", &mine).await.expect(409);
    assert_eq!((own.code(), foreign.code()), ("MERCHANT_EXISTS".into(), "MERCHANT_EXISTS".into()));
    assert_eq!(own.json()["detail"], foreign.json()["detail"], "whose it is is not told");
    get(&world, "other", "merchants/D1111111E").await.expect(404);

    let read = get(&world, "owner", "merchants/D1111111E").await.expect(200);
    let change = |tag: &str, name: &str| {
        let call = world.call("PATCH", "/api/v1/merchants/D1111111E").by("owner");
        call.header("if-match", tag).json(&json!({"name": name})).send()
    };
    let changed = change(read.header("etag"), "Pharmacie du Lac SARL").await.expect(200);
    assert_eq!(changed.header("etag"), "\"2\"");
    let stale = change(read.header("etag"), "Third").await.expect(409);
    assert_eq!(
        (stale.code(), stale.pointers()),
        ("VERSION_CONFLICT".into(), vec!["If-Match".to_owned()])
    );
    assert_eq!(change("2", "Third").await.expect(400).code(), "IF_MATCH_INVALID");
    let body = |at: usize| json!({ "address": format!("{at}, avenue du Port") });
    let bodies: Vec<Value> = (0..6).map(body).collect();
    let changes = bodies.iter().map(|body| patch(&world, "owner", "merchants/D1111111E", body));
    for changed in futures_util::future::join_all(changes).await {
        assert!([200, 409].contains(&changed.status), "{}", changed.text());
    }
    let now = get(&world, "owner", "merchants/D1111111E").await.expect(200).json();
    assert_eq!(now["name"], "Pharmacie du Lac SARL", "no change undoes another");

    for (body, pointer) in [
        (json!({"nif": "a b", "name": "x"}), "/nif"),
        (json!({"nif": "E1", "name": " "}), "/name"),
        (json!({"nif": "E1", "name": "x", "rccm": "a\nb"}), "/rccm"),
    ] {
        let refused = post(&world, "owner", "merchants", "bad", &body).await.expect(422);
        assert_eq!(
            (refused.code(), refused.pointers()),
            ("FIELD_INVALID".into(), vec![pointer.to_owned()])
        );
    }
    let unknown = json!({"nif": "E1", "name": "x", "organisation": "org-lualaba"});
    let unknown = post(&world, "owner", "merchants", "bad", &unknown).await.expect(422);
    assert_eq!(unknown.code(), "FIELD_UNKNOWN", "the tenant is never a word of the request");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outlet_is_registered_suspended_resumed_and_closed() {
    let world = World::start().await;
    let region = json!({"region_id": "kinshasa", "name": "Kinshasa"});
    post(&world, "owner", "regions", "r", &region).await.expect(201);
    let new = json!({
        "outlet_id": "outlet-masina", "merchant_nif": "A1234567B", "prefix": "KIN", "code": "MASINA",
        "environment": "live", "region_id": "kinshasa", "name": "Masina"
    });
    let made = post(&world, "owner", "outlets", "o", &new).await.expect(201);
    let again = post(&world, "owner", "outlets", "o", &new).await.expect(200);
    assert_eq!(again.body, made.body);
    let mut twin = new.clone();
    twin["outlet_id"] = json!("outlet-twin");
    let twin = post(&world, "owner", "outlets", "twin", &twin).await.expect(409);
    assert_eq!(twin.code(), "NUMBER_SPACE_TAKEN");
    assert!(!twin.text().contains("outlet-masina"), "whose the numbers are is not told");
    assert_eq!(
        post(&world, "owner", "outlets", "same", &new).await.expect(409).code(),
        "OUTLET_EXISTS"
    );
    let mut nowhere = new.clone();
    nowhere["region_id"] = json!("atlantis");
    let nowhere = post(&world, "owner", "outlets", "n", &nowhere).await.expect(404);
    assert_eq!(
        (nowhere.code().as_str(), nowhere.pointers()),
        ("REGION_UNKNOWN", vec!["/region_id".to_owned()])
    );

    let seal = |key: &'static str| {
        let call = world.post("/api/v1/invoices").by("owner").idempotent(key);
        call.json(&sale("outlet-masina", 900)).send()
    };
    seal("1").await.expect(201);
    let world = &world;
    let switch = |what: &'static str, key: &'static str, by: &'static str| {
        world.post(&format!("/api/v1/outlets/outlet-masina/{what}")).by(by).idempotent(key).send()
    };
    assert_eq!(switch("suspend", "s", "manager").await.expect(200).json()["status"], "suspended");
    assert_eq!(seal("2").await.expect(409).code(), "OUTLET_INACTIVE");
    assert_eq!(switch("resume", "r", "manager").await.expect(200).json()["status"], "active");
    seal("2").await.expect(201);
    let replayed = switch("suspend", "s", "manager").await.expect(200).json();
    assert_eq!(replayed["status"], "active", "a repetition does not suspend it a second time");

    let status = get(world, "owner", "outlets/outlet-masina/status").await.expect(200);
    assert!(!status.header("as-of").is_empty());
    let status = status.json();
    assert_eq!(status["last_fiscal_number"], "KIN-MASINA-2");
    assert_eq!((&status["last_sequence"], &status["since_z"]["invoices"]), (&json!(2), &json!(2)));
    assert_eq!(status["since_z"]["totals"][0]["total"], "1800.00");
    assert_eq!(
        (&status["upload"]["queued"], &status["missing_numbers"]["count"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(status["directory_version"], status["applied_version"]);

    let patched = json!({"name": "Masina II", "phone": "+243 99"});
    let patched =
        patch(world, "manager", "outlets/outlet-masina", &patched).await.expect(200).json();
    assert_eq!((&patched["name"], &patched["phone"]), (&json!("Masina II"), &json!("+243 99")));
    assert_eq!(switch("close", "c", "owner").await.expect(200).json()["status"], "closed");
    assert_eq!(switch("resume", "r2", "owner").await.expect(409).code(), "OUTLET_CLOSED");
    let closed = get(world, "owner", "outlets?status=closed").await.expect(200).json();
    assert_eq!(ids(&closed, "outlet_id"), ["outlet-masina"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_pages_and_filters_and_keys_see_their_part() {
    let world = World::start().await;
    let mut seen = Vec::new();
    let mut path = "outlets?limit=3".to_owned();
    loop {
        let page = get(&world, "owner", &path).await.expect(200).json();
        assert_eq!(page["as_of"][0]["group"], 0);
        seen.extend(ids(&page, "outlet_id"));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("outlets?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, ["outlet-essai", "outlet-goma", "outlet-gombe", "outlet-limete"]);
    for (by, path, wanted) in [
        ("owner", "outlets?environment=sandbox", &["outlet-essai"][..]),
        ("owner", "outlets?region_id=goma", &["outlet-goma"]),
        ("goma", "outlets", &["outlet-goma"]),
        ("cashier", "outlets", &["outlet-gombe"]),
        ("other", "outlets?merchant_nif=A1234567B", &[]),
        ("platform", "outlets", &[]),
    ] {
        let page = get(&world, by, path).await.expect(200).json();
        assert_eq!(ids(&page, "outlet_id"), wanted, "{by} {path}");
    }
    for (by, count) in [("owner", 4), ("cashier", 1), ("other", 2)] {
        for kind in ["terminals", "cashiers"] {
            let page = get(&world, by, kind).await.expect(200).json();
            assert_eq!(ids(&page, "outlet_id").len(), count, "{by} {kind}");
        }
        let merchants = get(&world, by, "merchants").await.expect(200).json();
        assert_eq!(ids(&merchants, "nif").len(), 1, "{by}");
    }
    for (path, code) in [
        ("outlets?limit=0", "PARAMETER_INVALID"),
        ("outlets?status=open", "PARAMETER_INVALID"),
        ("outlets?colour=red", "PARAMETER_UNKNOWN"),
        ("outlets?cursor=!", "CURSOR_INVALID"),
    ] {
        assert_eq!(get(&world, "owner", path).await.expect(400).code(), code, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_terminal_seals_nothing_and_a_cashier_leaves() {
    let world = World::start().await;
    let new = json!({"outlet_id": "outlet-goma", "terminal_id": "till-9", "name": "Caisse 9"});
    let made = post(&world, "goma", "terminals", "t", &new).await.expect(201);
    assert_eq!(made.header("etag"), "\"1-1\"");
    post(&world, "goma", "terminals", "t", &new).await.expect(200);
    assert_eq!(
        post(&world, "goma", "terminals", "t2", &new).await.expect(409).code(),
        "TERMINAL_EXISTS"
    );
    let elsewhere =
        json!({"outlet_id": "outlet-gombe", "terminal_id": "till-9", "name": "Caisse 9"});
    let elsewhere = post(&world, "goma", "terminals", "e", &elsewhere).await.expect(404);
    assert_eq!(elsewhere.code(), "OUTLET_UNKNOWN", "the key is limited to another region");

    let block = json!({"blocked": true});
    let blocked = patch(&world, "goma", "terminals/outlet-goma/till-9", &block).await.expect(200);
    assert_eq!(blocked.json()["blocked"], true);
    let mut at = 0;
    let refused = tokio::time::timeout(crate::support::LIMIT, async {
        loop {
            let mut invoice = sale("outlet-goma", 100);
            invoice["pos_terminal_id"] = json!("till-9");
            at += 1;
            let call = world.post("/api/v1/invoices").by("owner").idempotent(&format!("b{at}"));
            let answer = call.json(&invoice).send().await;
            if answer.status == 409 {
                return answer;
            }
        }
    });
    assert_eq!(refused.await.expect("the group hears of it").code(), "TERMINAL_BLOCKED");

    let cashier = json!({"outlet_id": "outlet-goma", "cashier_id": "cashier-8", "name": "Aimé"});
    post(&world, "goma", "cashiers", "c", &cashier).await.expect(201);
    let left =
        patch(&world, "goma", "cashiers/outlet-goma/cashier-8", &json!({"active": false})).await;
    assert_eq!(left.expect(200).json()["active"], false);
    assert_eq!(
        get(&world, "goma", "cashiers/outlet-goma/nobody").await.expect(404).code(),
        "CASHIER_UNKNOWN"
    );
    assert_eq!(
        get(&world, "goma", "cashiers/outlet-gombe/cashier-7").await.expect(404).code(),
        "OUTLET_UNKNOWN"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_concerns_the_organisation_is_not_for_a_part_of_it() {
    let world = World::start().await;
    let merchant = json!({"nif": "F1", "name": "x"});
    let refused = post(&world, "goma", "merchants", "m", &merchant).await.expect(403);
    assert_eq!(refused.code(), "KEY_LIMITED");
    let moved = json!({"region_id": ""});
    let refused = patch(&world, "goma", "outlets/outlet-goma", &moved).await.expect(403);
    assert_eq!(refused.code(), "KEY_LIMITED", "a key does not change what it reaches");
    patch(&world, "goma", "outlets/outlet-goma", &json!({"name": "Goma II"})).await.expect(200);
    let name = json!({"name": "Kivu"});
    assert_eq!(
        patch(&world, "manager", "organizations/org-kivu", &name).await.expect(403).code(),
        "SCOPE_MISSING"
    );
    patch(&world, "owner", "organizations/org-kivu", &name).await.expect(200);
    assert_eq!(
        patch(&world, "other", "organizations/org-kivu", &name).await.expect(404).code(),
        "ORGANIZATION_UNKNOWN"
    );
    patch(&world, "platform", "organizations/org-kivu", &json!({"name": "Kivu Retail"}))
        .await
        .expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_outlet_lives_in_the_emptiest_group_and_a_half_registration_is_made_whole() {
    let mut world = World::start_with(Setup { data_groups: 2, ..Setup::default() }).await;
    let client = world.cluster.client().await;
    let new = |id: &str, code: &str| {
        json!({
            "outlet_id": id, "merchant_nif": "A1234567B", "prefix": "KIN", "code": code, "environment": "live",
            "name": id
        })
    };
    let made = post(&world, "owner", "outlets", "1", &new("outlet-1", "UN")).await.expect(201);
    assert_eq!(made.json()["group"], 2, "four live in the first, two in the second");
    // As a gateway leaves it that was killed between the two writes.
    let fact = fiscus_proto::command::OutletFact {
        outlet_id: "outlet-half".to_owned(),
        merchant_nif: "A1234567B".to_owned(),
        prefix: "KIN".to_owned(),
        code: "DEMI".to_owned(),
        group: 1,
        status: fiscus_proto::command::OutletStatus::Active.into(),
        environment: fiscus_proto::command::Environment::Live.into(),
        signing_mode: fiscus_proto::command::SigningMode::Cluster.into(),
    };
    let register = fiscus_proto::command::RegisterOutlet { fact: Some(fact) };
    let command = fiscus_proto::command::command::Command::RegisterOutlet(register);
    crate::support::seed::done(&client, command).await;
    let foreign = json!({
        "outlet_id": "outlet-half", "merchant_nif": "B7654321C", "prefix": "KIN", "code": "DEMI", "environment": "live",
        "name": "x"
    });
    let foreign = post(&world, "other", "outlets", "f", &foreign).await.expect(409);
    assert_eq!(foreign.code(), "OUTLET_EXISTS", "nobody else finishes it");
    let whole =
        post(&world, "owner", "outlets", "h", &new("outlet-half", "DEMI")).await.expect(201);
    assert_eq!((&whole.json()["group"], &whole.json()["name"]), (&json!(1), &json!("outlet-half")));
    post(&world, "owner", "outlets", "h", &new("outlet-half", "DEMI")).await.expect(200);
}

/// What a gateway leaves that is killed between the line of the log and the change that it tells of.
async fn cut(world: &mut World, key: &str, seen: &str, over: u64) {
    let client = world.cluster.client().await;
    let key = fiscus_gateway::http::IdempotencyKey::new(key).expect("a key");
    let id = format!("org-kivu/outlet-suspend/{}", fiscus_ledger::hash::hex(&key.submission_key()));
    let request = fiscus_proto::ledger::ReadDocumentRequest {
        kind: "idempotency".to_owned(),
        id: id.clone(),
        consistency: fiscus_proto::ledger::Consistency::Linearizable.into(),
    };
    let kept = client.read_document(request, crate::support::LIMIT).await.expect("an answer");
    let kept = kept.document.expect("what the key stands for");
    assert_eq!(kept.version, over);
    let mut asked: Value = serde_json::from_slice(&kept.bytes).expect("it is JSON");
    asked["object_id"] = json!(seen);
    let mut put = crate::support::seed::json("idempotency", &id, &asked);
    put.expected_version = over;
    let puts = fiscus_proto::command::PutDocuments { puts: vec![put] };
    let command = fiscus_proto::command::command::Command::PutDocuments(puts);
    crate::support::seed::done(&client, command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_status_that_was_cut_is_made_once_and_has_its_line() {
    let mut world = World::start().await;
    let path = |what: &str| format!("/api/v1/outlets/outlet-goma/{what}");
    let switch = async |world: &World, what: &str, key: &str| {
        world.post(&path(what)).by("owner").idempotent(key).send().await
    };
    assert_eq!(switch(&world, "suspend", "s").await.expect(200).json()["status"], "suspended");
    assert_eq!(switch(&world, "resume", "r").await.expect(200).json()["status"], "active");
    let version = get(&world, "owner", "outlets/outlet-goma").await.expect(200);
    assert_eq!(version.header("etag"), "\"3-1\"");

    cut(&mut world, "s", "@3", 2).await;
    assert_eq!(switch(&world, "suspend", "s").await.expect(200).json()["status"], "suspended");
    assert_eq!(switch(&world, "resume", "r2").await.expect(200).json()["status"], "active");
    let again = switch(&world, "suspend", "s").await.expect(200).json();
    assert_eq!(again["status"], "active", "it was done, and is not done again");

    cut(&mut world, "s", "@3", 4).await;
    let doubtful = switch(&world, "suspend", "s").await.expect(409);
    assert_eq!(doubtful.code(), "VERSION_CONFLICT", "others have changed it since");
    let now = get(&world, "owner", "outlets/outlet-goma").await.expect(200).json();
    assert_eq!(now["status"], "active");

    let log = get(&world, "owner", "audit/actions?outlet_id=outlet-goma").await.expect(200).json();
    let lines = log["data"].as_array().expect("data").iter().map(|line| line["action"].clone());
    let lines: Vec<Value> = lines.collect();
    assert_eq!(lines, ["outlet.resume", "outlet.resume", "outlet.suspend"], "a line a request");
}
