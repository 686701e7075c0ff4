//! How often keys, organisations and strangers may ask, and what they are told of it.

use std::time::Duration;

use crate::support::{Setup, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_how_much_is_left() {
    let world = World::start().await;
    let ask = |path: &'static str| world.get(path).by("growth").send();
    let first = ask("/api/v1/merchants").await.expect(200);
    assert_eq!(
        (first.header("ratelimit-limit"), first.header("ratelimit-remaining")),
        ("60", "59")
    );
    assert_eq!(first.header("ratelimit-reset"), "1");
    let missing = ask("/api/v1/merchants/none").await.expect(404);
    assert_eq!(missing.header("ratelimit-limit"), "60", "a problem tells it, too");
    let refused = tokio::time::timeout(crate::support::LIMIT, async {
        loop {
            let answer = ask("/api/v1/merchants").await;
            if answer.status == 429 {
                return answer;
            }
        }
    });
    let refused = refused.await.expect("the limit is met");
    assert_eq!(refused.code(), "RATE_LIMITED");
    assert_eq!(refused.header("ratelimit-remaining"), "0");
    assert_eq!(refused.header("retry-after"), "1");
    world.get("/api/v1/merchants").by("manager").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_outlet_is_asked_for_no_more_than_a_key_may() {
    let configure = |config: &mut fiscus_gateway::config::GatewayConfig| {
        config.rates.growth.per_minute = 5;
        config.rates.growth.per_day = 3;
    };
    let world = World::start_with(Setup { configure, ..Setup::default() }).await;
    let ask = || world.get("/api/v1/outlets/outlet-gombe").by("growth").send();
    let first = ask().await.expect(200);
    assert_eq!(first.header("ratelimit-limit"), "3", "the tightest limit is told");
    ask().await.expect(200);
    ask().await.expect(200);
    let refused = ask().await.expect(429);
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!(wait > 60 * 60, "the day is used up: {wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_organisation_leaves_places_for_the_others() {
    let configure = |config: &mut fiscus_gateway::config::GatewayConfig| {
        config.limits.requests_per_organisation_max = 1;
    };
    let world = World::start_with(Setup { configure, ..Setup::default() }).await;
    // A request whose body does not come holds its place.
    let mut slow = TcpStream::connect(world.gateways[0].address()).await.expect("a connection");
    let head = format!(
        "POST /api/v1/merchants HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nidempotency-key: slow\r\n\
         content-type: application/json\r\ncontent-length: 40\r\n\r\n{{\"nif\":",
        world.keys["owner"]
    );
    slow.write_all(head.as_bytes()).await.expect("it is sent");
    let ask = |by: &'static str| world.get("/api/v1/merchants").by(by).send();
    let refused = tokio::time::timeout(crate::support::LIMIT, async {
        loop {
            let answer = ask("manager").await;
            if answer.status == 503 {
                return answer;
            }
        }
    });
    let refused = refused.await.expect("the place is taken");
    assert_eq!((refused.code(), refused.header("retry-after")), ("OVERLOADED".into(), "1"));
    ask("other").await.expect(200);
    slow.write_all(b"\"G1\",\"name\":\"Slow Merchant SARL\"}     ").await.expect("the rest");
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 "), "it is answered after all");
    let served = tokio::time::timeout(Duration::from_secs(10), async {
        while ask("manager").await.status != 200 {}
    });
    served.await.expect("the place is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_ends_and_harms_nobody_at_the_same_address() {
    let configure = |config: &mut fiscus_gateway::config::GatewayConfig| {
        config.rates.failures_per_minute = 4;
    };
    let world = World::start_with(Setup { configure, ..Setup::default() }).await;
    let guess = |text: String| world.get("/api/v1/merchants").bearer(&text).send();
    let real = &world.keys["owner"];
    let (id, secret) =
        real.strip_prefix("fsk_").and_then(|rest| rest.split_once('_')).expect("parts");
    let wrong = format!("fsk_{id}_{}", secret.chars().rev().collect::<String>().replace('0', "f"));
    assert_eq!(guess(wrong.clone()).await.expect(401).code(), "UNAUTHENTICATED");
    assert_eq!(guess("fsk_none_secret".to_owned()).await.expect(401).code(), "UNAUTHENTICATED");
    guess(world.keys["revoked"].clone()).await.expect(401);
    guess(world.keys["expired"].clone()).await.expect(401);
    let refused = guess(wrong).await.expect(429);
    assert_eq!(refused.code(), "RATE_LIMITED");
    assert!(!refused.header("retry-after").is_empty());
    guess(real.clone()).await.expect(200);
    for bad in ["", "fsk_", "nonsense", "fsk_a_b c"] {
        assert_eq!(guess(bad.to_owned()).await.expect(401).code(), "UNAUTHENTICATED", "{bad:?}");
    }
    let twice = world.get("/api/v1/merchants").by("owner").by("other").send().await;
    assert_eq!(twice.expect(401).code(), "UNAUTHENTICATED", "two keys are none");
    let basic = world.get("/api/v1/merchants").header("authorization", &format!("Basic {real}"));
    basic.send().await.expect(401);
}
