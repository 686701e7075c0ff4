//! How often an address may ask.

use fiscus_gateway::Gateway;
use serde_json::json;

use crate::support::http::Answer;
use crate::support::{World, until};

const PATH: &str = "/api/v1/verify/KIN-GOMBE-999?auth_code=0000-0000-0000-0000";

/// A world whose one gateway believes proxies on this machine, and one more that believes nobody.
async fn world() -> World {
    let mut world = World::start().await;
    let mut config = world.config();
    config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let gateway = Gateway::start(config).await.expect("the gateway starts");
    until("the gateway is ready", || gateway.app().directory_state().0).await;
    world.gateways.push(gateway);
    world
}

async fn ask(world: &World, gateway: usize, from: &str) -> Answer {
    world.call_at(gateway, "GET", PATH).header("x-forwarded-for", from).send().await
}

/// Asks at once, as impatient people do.
async fn ask_often(world: &World, gateway: usize, from: &str, times: usize) -> Vec<u16> {
    let asked = (0..times).map(|_| ask(world, gateway, from));
    futures_util::future::join_all(asked).await.into_iter().map(|answer| answer.status).collect()
}

fn refused(statuses: &[u16]) -> usize {
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    statuses.iter().filter(|status| **status == 429).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_check_thirty_receipts_a_minute() {
    let world = world().await;
    // Whom nobody believes changes nothing by naming others.
    let statuses = ask_often(&world, 0, "198.51.100.1", 40).await;
    assert!(
        (5..=10).contains(&refused(&statuses)),
        "30 and what comes back meanwhile: {statuses:?}"
    );
    let limited = ask(&world, 0, "198.51.100.2").await.expect(429);
    assert_eq!(limited.code(), "RATE_LIMITED");
    let told = (limited.header("ratelimit-limit"), limited.header("ratelimit-remaining"));
    assert_eq!(told, ("30", "0"));
    let wait: u64 = limited.header("retry-after").parse().expect("seconds");
    assert!((1..=2).contains(&wait), "{wait}");
    let keys = world.get("/.well-known/fiscal-keys.json").send().await;
    keys.expect(200);
    // A key has limits of its own.
    world.get(PATH).by("owner").send().await.expect(200);
    let unknown = world.get(PATH).bearer("fsk_nobody_nothing").send().await.expect(401);
    assert_eq!(unknown.code(), "UNAUTHENTICATED");

    // Behind a proxy that is believed, each visitor has thirty; an IPv6 network is one visitor.
    assert_eq!(refused(&ask_often(&world, 1, "198.51.100.1", 30).await), 0);
    ask(&world, 1, "203.0.113.9, 198.51.100.1").await.expect(429);
    ask(&world, 1, "198.51.100.2").await.expect(200);
    assert_eq!(refused(&ask_often(&world, 1, "2001:db8:1:2::1", 30).await), 0);
    ask(&world, 1, "2001:db8:1:2:ffff::7").await.expect(429);
    ask(&world, 1, "2001:db8:1:3::1").await.expect(200);

    // The page is for people, and says so in their language.
    let page = |lang: &'static str| {
        let call = world.call_at(1, "GET", "/v?fn=KIN-GOMBE-1&auth_code=0");
        let call = call.header("x-forwarded-for", "198.51.100.1");
        call.header("accept-language", lang).send()
    };
    let french = page("fr").await.expect(429);
    assert!(!french.header("retry-after").is_empty());
    assert!(french.text().contains("Trop de vérifications"), "{}", french.text());
    let english = page("en").await.expect(429);
    assert!(english.text().contains("Too many checks"), "{}", english.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_counts_each_of_its_receipts() {
    let world = world().await;
    let batch = |from: &'static str, size: usize| {
        let item = json!({ "fiscal_number": "KIN-GOMBE-9", "auth_code": "0" });
        let body = json!({ "items": vec![item; size] });
        let call = world.call_at(1, "POST", "/api/v1/verify/batch");
        call.header("x-forwarded-for", from).json(&body).send()
    };
    for _ in 0..3 {
        let answer = batch("198.51.100.1", 10).await.expect(200).json();
        assert_eq!(answer["data"].as_array().map(Vec::len), Some(10));
    }
    assert_eq!(batch("198.51.100.1", 10).await.expect(429).code(), "RATE_LIMITED");
    for size in [0, 11] {
        let refused = batch("198.51.100.2", size).await.expect(422);
        assert_eq!(refused.code(), "LIMIT_EXCEEDED");
        assert_eq!(refused.pointers(), ["/items"]);
    }
    let item = json!({ "fiscal_number": "KIN-GOMBE-9", "auth_code": "0" });
    for (size, status) in [(100, 200), (101, 422)] {
        let body = json!({ "items": vec![item.clone(); size] });
        let call = world.post("/api/v1/verify/batch").by("owner");
        call.json(&body).send().await.expect(status);
    }
    let odd = json!({ "items": [{ "qr": "x", "auth_code": "0" }] });
    let call = world.post("/api/v1/verify/batch").by("owner");
    let refused = call.json(&odd).send().await.expect(422);
    assert_eq!(refused.code(), "FIELD_INVALID");
    assert_eq!(refused.pointers(), ["/items/0"]);
    let detail = refused.json()["detail"].to_string();
    assert!(detail.contains("either `qr`, or `fiscal_number` and `auth_code`"), "{detail}");
}
