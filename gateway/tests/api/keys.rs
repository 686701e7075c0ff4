//! API keys: made within what their maker may do, rotated, revoked everywhere at once, their secrets seen once.

use std::time::{Duration, Instant};

use crate::support::http::Answer;
use crate::support::{Setup, World};
use serde_json::{Value, json};

async fn make(world: &World, by: &str, key: &str, body: &Value) -> Answer {
    world.post("/api/v1/api-keys").by(by).idempotent(key).json(body).send().await
}

fn text(made: &Value) -> String {
    made["key"].as_str().expect("the key's text").to_owned()
}

fn id(made: &Value) -> String {
    made["api_key"]["key_id"].as_str().expect("the key's id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_does_what_it_may() {
    let world = World::start().await;
    let new = json!({"name": "Caisse", "role": "cashier", "outlets": ["outlet-gombe"]});
    let answer = make(&world, "owner", "k", &new).await.expect(201);
    assert_eq!(answer.header("cache-control"), "no-store");
    let made = answer.json();
    let again = make(&world, "owner", "k", &new).await.expect(200).json();
    assert_eq!((&again["key"], &again["shown_once"]), (&Value::Null, &json!(true)));
    assert_eq!(again["api_key"], made["api_key"]);

    let outlets = world.get("/api/v1/outlets").bearer(&text(&made)).send().await.expect(200).json();
    assert_eq!(outlets["data"].as_array().expect("data").len(), 1);
    let path = format!("/api/v1/api-keys/{}", id(&made));
    let denied = world.get(&path).bearer(&text(&made)).send().await.expect(403);
    assert_eq!(denied.code(), "SCOPE_MISSING");
    let secret = text(&made);
    let secret = secret.rsplit('_').next().expect("a secret");
    for path in [path.as_str(), "/api/v1/api-keys"] {
        let read = world.get(path).by("owner").send().await.expect(200).text();
        assert!(!read.contains(secret) && !read.contains("hash"), "{read}");
    }
    let list = world.get("/api/v1/api-keys?limit=500").by("owner").send().await.expect(200).text();
    assert!(list.contains(&id(&made)) && !list.contains("org-lualaba"), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_makes_a_stronger_one() {
    let world = World::start().await;
    let make = |by: &'static str, body: Value| {
        let world = &world;
        async move { make(world, by, &body.to_string(), &body).await }
    };
    for (by, body, pointer) in [
        ("manager", json!({"name": "x", "role": "owner"}), "/role"),
        ("owner", json!({"name": "x", "role": "platform"}), "/role"),
        ("goma", json!({"name": "x", "role": "cashier"}), "/regions"),
        ("goma", json!({"name": "x", "role": "cashier", "regions": ["kinshasa"]}), "/regions"),
        ("growth", json!({"name": "x", "role": "cashier", "tier": "enterprise"}), "/tier"),
        (
            "platform",
            json!({"name": "x", "role": "cashier", "organization_id": "org-kivu"}),
            "/role",
        ),
        ("platform", json!({"name": "x", "role": "owner"}), "/role"),
    ] {
        let refused = make(by, body.clone()).await.expect(403);
        assert_eq!(refused.code(), "KEY_TOO_STRONG", "{by} {body}");
        assert_eq!(refused.pointers(), [pointer], "{by} {body}");
    }
    for (body, pointer) in [
        (json!({"name": "x", "role": "king"}), "/role"),
        (json!({"name": "x", "role": "integrator"}), "/scopes"),
        (json!({"name": "x", "role": "cashier", "scopes": ["keys:write"]}), "/scopes/0"),
        (json!({"name": "x", "role": "cashier", "outlets": ["outlet-kenya"]}), "/outlets/0"),
        (json!({"name": "x", "role": "cashier", "outlets": ["outlet-none"]}), "/outlets/0"),
        (json!({"name": "x", "role": "cashier", "expires_at": "yesterday"}), "/expires_at"),
        (
            json!({"name": "x", "role": "cashier", "expires_at": "2020-01-01T00:00:00Z"}),
            "/expires_at",
        ),
    ] {
        let refused = make("owner", body.clone()).await.expect(422);
        assert_eq!(refused.pointers(), [pointer], "{body}");
    }
    let strong =
        json!({"name": "x", "role": "integrator", "scopes": ["keys:write", "registry:read"]});
    let strong = make("owner", strong).await.expect(201).json();
    let weak = json!({"name": "x", "role": "integrator", "scopes": ["invoices:seal"]});
    let call = world.post("/api/v1/api-keys").bearer(&text(&strong)).idempotent("w").json(&weak);
    assert_eq!(call.send().await.expect(403).pointers(), ["/scopes"]);
    // A stronger key's new secret would be a stronger key.
    let cashier = json!({"name": "y", "role": "cashier"});
    let cashier = id(&make("owner", cashier).await.expect(201).json());
    let path = format!("/api/v1/api-keys/{cashier}/rotate");
    let call = world.post(&path).bearer(&text(&strong)).idempotent("r").json(&json!({}));
    assert_eq!(call.send().await.expect(404).code(), "API_KEY_UNKNOWN");
    let temporary = json!({"name": "t", "role": "manager", "expires_at": "2099-01-01T00:00:00Z"});
    let temporary = text(&make("owner", temporary).await.expect(201).json());
    let call = world.post("/api/v1/api-keys").bearer(&temporary).idempotent("t");
    let refused = call.json(&json!({"name": "x", "role": "cashier"})).send().await.expect(403);
    assert_eq!(refused.pointers(), ["/expires_at"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_overlaps_and_ends() {
    let world = World::start().await;
    let new = json!({"name": "Intégration", "role": "manager"});
    let made = make(&world, "owner", "k", &new).await.expect(201).json();
    let (first, path) = (text(&made), format!("/api/v1/api-keys/{}", id(&made)));
    let rotate = |key: &'static str, body: Value| {
        let call = world.post(&format!("{path}/rotate")).by("owner").idempotent(key).json(&body);
        call.send()
    };
    let works = |text: String| {
        let call = world.get("/api/v1/merchants").bearer(&text);
        async move { call.send().await.status == 200 }
    };
    let rotated = rotate("r", json!({})).await.expect(201).json();
    let second = text(&rotated);
    assert_eq!(rotate("r", json!({})).await.expect(200).json()["key"], Value::Null);
    assert!(works(first.clone()).await && works(second.clone()).await);
    assert_eq!(rotate("r2", json!({})).await.expect(409).code(), "KEY_SECRETS_FULL");
    let secrets = rotated["api_key"]["secrets"].as_array().expect("secrets");
    let secret = |at: usize| secrets[at]["secret_id"].as_str().expect("an id").to_owned();
    let revoke = |secret_id: String| {
        world.call("DELETE", &format!("{path}/secrets/{secret_id}")).by("owner").send()
    };
    revoke(secret(0)).await.expect(204);
    assert!(!works(first).await && works(second.clone()).await);
    assert_eq!(revoke(secret(1)).await.expect(409).code(), "LAST_SECRET");
    assert_eq!(revoke("nothing".to_owned()).await.expect(404).code(), "SECRET_UNKNOWN");
    let third = rotate("r3", json!({"overlap_hours": 0})).await.expect(201).json();
    assert!(!works(second).await, "without an overlap the one before ends at once");
    assert!(works(text(&third)).await);
    let secrets = third["api_key"]["secrets"].as_array().expect("secrets");
    assert_eq!(secrets.len(), 2, "what opens nothing any more is not kept for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_by_every_gateway_within_a_second() {
    let world = World::start_with(Setup { gateways: 2, ..Setup::default() }).await;
    let new = json!({"name": "Perdue", "role": "cashier"});
    let made = make(&world, "owner", "k", &new).await.expect(201).json();
    let key = text(&made);
    let at =
        |gateway: usize| world.call_at(gateway, "GET", "/api/v1/merchants").bearer(&key).send();
    at(0).await.expect(200);
    at(1).await.expect(200);
    let path = format!("/api/v1/api-keys/{}", id(&made));
    world.call("DELETE", &path).by("owner").send().await.expect(204);
    let revoked = Instant::now();
    assert_eq!(at(0).await.expect(401).code(), "UNAUTHENTICATED");
    while at(1).await.status != 401 {
        assert!(revoked.elapsed() < Duration::from_secs(1), "the other gateway has not heard");
    }
    world.call("DELETE", &path).by("owner").send().await.expect(204);
    let known = world.get(&path).by("owner").send().await.expect(200).json();
    assert_eq!(known["status"], "revoked");
    let rotated =
        world.post(&format!("{path}/rotate")).by("owner").idempotent("r").json(&json!({}));
    assert_eq!(rotated.send().await.expect(409).code(), "KEY_REVOKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_a_moment_ago_is_known_to_every_gateway() {
    let world = World::start_with(Setup { gateways: 2, ..Setup::default() }).await;
    let new = json!({"name": "Intégration", "role": "cashier"});
    let made = make(&world, "owner", "k", &new).await.expect(201).json();
    let path = format!("/api/v1/api-keys/{}/rotate", id(&made));
    // Often enough that the other gateway has not always heard of it first.
    for round in 0..20 {
        let call = world.post(&path).by("owner").idempotent(&format!("r{round}"));
        let rotated = call.json(&json!({"overlap_hours": 0})).send().await.expect(201).json();
        let at = |gateway| world.call_at(gateway, "GET", "/api/v1/merchants");
        at(1).bearer(&text(&rotated)).send().await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_keeps_an_owner() {
    let world = World::start_with(Setup { gateways: 2, ..Setup::default() }).await;
    let new = json!({"name": "Codirection", "role": "owner"});
    let second = make(&world, "other", "k", &new).await.expect(201).json();
    let list = world.get("/api/v1/api-keys").by("other").send().await.expect(200).json();
    let ids: Vec<String> = list["data"]
        .as_array()
        .expect("data")
        .iter()
        .map(|key| key["key_id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(ids.len(), 2);
    let second = text(&second);
    world.call_at(1, "GET", "/api/v1/merchants").bearer(&second).send().await.expect(200);
    // Each owner revokes the other's, or its own, at two gateways at once.
    let revoke = |gateway: usize, key: &str| {
        world.call_at(gateway, "DELETE", &format!("/api/v1/api-keys/{key}"))
    };
    let one = revoke(0, &ids[0]).by("other").send();
    let two = revoke(1, &ids[1]).bearer(&second).send();
    let (one, two) = tokio::join!(one, two);
    let done = [one.status, two.status].iter().filter(|status| **status == 204).count();
    assert_eq!(done, 1, "{} {}", one.text(), two.text());
    let first_lives = world.get("/api/v1/merchants").by("other").send().await.status == 200;
    let owner = if first_lives { world.keys["other"].clone() } else { second };
    let mut statuses = Vec::new();
    for key in &ids {
        let call = world.call("DELETE", &format!("/api/v1/api-keys/{key}")).bearer(&owner);
        statuses.push(call.send().await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409], "the last one stays; the revoked one is revoked again");
    world.get("/api/v1/merchants").bearer(&owner).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tiers_are_lowered_not_raised() {
    let world = World::start().await;
    let new = json!({"name": "x", "role": "cashier", "tier": "professional"});
    let made = make(&world, "owner", "k", &new).await.expect(201).json();
    let path = format!("/api/v1/api-keys/{}", id(&made));
    let set = |by: &'static str, tier: &'static str| {
        world.call("PATCH", &path).by(by).json(&json!({ "tier": tier })).send()
    };
    assert_eq!(set("growth", "enterprise").await.expect(403).code(), "KEY_TOO_STRONG");
    assert_eq!(set("growth", "growth").await.expect(200).json()["tier"], "growth");
    assert_eq!(set("growth", "professional").await.expect(403).code(), "KEY_TOO_STRONG");
    assert_eq!(set("owner", "enterprise").await.expect(200).json()["tier"], "enterprise");
}
