//! The audit log of actions: every change is in it, and everybody sees their own part of it.

use crate::support::World;
use serde_json::{Value, json};

async fn actions(world: &World, by: &str, query: &str) -> Vec<Value> {
    let page = world.get(&format!("/api/v1/audit/actions{query}")).by(by).send().await.expect(200);
    assert!(!page.header("as-of").is_empty());
    page.json()["data"].as_array().expect("data").clone()
}

fn what(actions: &[Value]) -> Vec<&str> {
    actions.iter().map(|action| action["action"].as_str().expect("an action")).collect()
}

// long: one log, looked at from every side
#[tokio::test(flavor = "multi_thread")]
async fn who_did_what_is_told_newest_first() {
    let world = World::start().await;
    let post = |by: &'static str, path: &str, key: &str, body: Value| {
        world.post(&format!("/api/v1/{path}")).by(by).idempotent(key).json(&body).send()
    };
    let key = json!({"name": "Caisse", "role": "cashier", "outlets": ["outlet-goma"]});
    let made = post("owner", "api-keys", "k", key).await.expect(201);
    let (request, made) = (made.header("x-request-id").to_owned(), made.json());
    let key_id = made["api_key"]["key_id"].as_str().expect("an id");
    post("owner", "merchants", "m", json!({"nif": "H1", "name": "Hôtel"})).await.expect(201);
    post("owner", "outlets/outlet-gombe/suspend", "s", json!({})).await.expect(200);
    let terminal = json!({"outlet_id": "outlet-goma", "terminal_id": "till-2", "name": "2"});
    post("goma", "terminals", "t", terminal).await.expect(201);
    world
        .call("DELETE", &format!("/api/v1/api-keys/{key_id}"))
        .by("owner")
        .send()
        .await
        .expect(204);
    let all = [
        "api_key.revoke",
        "terminal.create",
        "outlet.suspend",
        "merchant.create",
        "api_key.create",
    ];
    let seen = actions(&world, "auditor", "").await;
    assert_eq!(what(&seen), all);
    assert_eq!(seen[4]["request_id"], request.as_str());
    assert_eq!((&seen[4]["key_name"], &seen[4]["object_id"]), (&json!("owner"), &json!(key_id)));
    assert_eq!(seen[1]["outlet_id"], "outlet-goma");
    let secret = made["key"].as_str().expect("a key").rsplit('_').next().expect("a secret");
    assert!(!json!(seen).to_string().contains(secret));

    let time = seen[2]["time"].as_str().expect("a time");
    for (query, wanted) in [
        ("?action=merchant.create".to_owned(), &all[3..4]),
        (format!("?object=api_key&object_id={key_id}"), &["api_key.revoke", "api_key.create"]),
        ("?outlet_id=outlet-goma&object=terminal".to_owned(), &all[1..2]),
        (format!("?from={time}"), &all[..3]),
        (format!("?to={time}"), &all[3..]),
        ("?key_id=nobody".to_owned(), &[]),
    ] {
        assert_eq!(what(&actions(&world, "owner", &query).await), wanted, "{query}");
    }
    let mut paged = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = world.get(&format!("/api/v1/audit/actions{query}")).by("owner").send().await;
        let page = page.expect(200).json();
        paged.extend(page["data"].as_array().expect("data").clone());
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(what(&paged), all);

    let limited = actions(&world, "goma", "").await;
    assert_eq!(
        what(&limited),
        ["api_key.revoke", "terminal.create", "api_key.create"],
        "its outlets' only"
    );
    assert!(actions(&world, "other", "").await.is_empty(), "another tenant's log is its own");
    assert_eq!(what(&actions(&world, "platform", "?organization_id=org-kivu").await), all);
    let denied = world.get("/api/v1/audit/actions").by("cashier").send().await.expect(403);
    assert_eq!(denied.code(), "SCOPE_MISSING");
    for query in ["?outlet_id=outlet-gombe", "?outlet_id=outlet-none", "?organization_id=org-kivu"]
    {
        world.get(&format!("/api/v1/audit/actions{query}")).by("other").send().await.expect(404);
    }
    let bad = world.get("/api/v1/audit/actions?from=monday").by("owner").send().await.expect(400);
    assert_eq!(bad.code(), "PARAMETER_INVALID");
}
