//! Power cuts: a proxy that dies between PREPARE and COMMIT, or with the answer.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fiscus_device_proxy::protocol::frame::framed;

use super::host::{code, field, sequence};
use super::world::{World, sale};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_only_prepared_is_no_invoice() {
    let mut world = World::start().await;
    let nonce = world.host().await.prepare(&sale(1_000)).await;
    world.restart_proxy().await;
    let mut host = world.host().await;
    assert_eq!(code(&host.commit(&nonce).await), "INVALID_NONCE");
    assert_eq!(host.sell(&sale(1_000)).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_told_again_by_another_proxy() {
    let mut world = World::start().await;
    let mut host = world.host().await;
    let nonce = host.prepare(&sale(1_000)).await;
    let sealed = host.commit(&nonce).await;
    world.restart_proxy().await;
    let mut host = world.host().await;
    assert_eq!(host.commit(&nonce).await, sealed, "the same seal, byte for byte");
    // A terminal that has lost even the nonce is told that the invoice is sealed.
    let again = host.ask(&format!("TXN|PREPARE {}", sale(1_000))).await;
    assert_eq!(code(&again), "REPLAY_DETECTED");
    assert!(again.contains("KIN-GOMBE-1"), "{again}");
}

/// Two nonces for one invoice, at two terminals' proxies: one seal.
#[tokio::test(flavor = "multi_thread")]
async fn one_invoice_under_two_nonces_is_one_invoice() {
    let world = World::start().await;
    let (mut first, mut second) = (world.host().await, world.host().await);
    let (one, two) = (first.prepare(&sale(1_000)).await, second.prepare(&sale(1_000)).await);
    assert_ne!(one, two);
    let (sealed, again) = tokio::join!(first.commit(&one), second.commit(&two));
    assert_eq!(sealed, again);
    assert_eq!(first.sell(&sale(1_001)).await, 2);
}

const CUTS: u64 = 100;

/// When the power fails in a round.
enum Cut {
    BeforeTheCommit,
    /// Somewhere within twice what the last whole commit took.
    During(Duration),
    AfterTheAnswer,
}

/// Every sale is there exactly once, whenever the power was cut, and the log tells it.
#[tokio::test(flavor = "multi_thread")]
async fn power_cuts_at_any_moment_lose_and_double_nothing() {
    let mut world = World::start().await;
    let mut chance = 0x2545_f491_4f6c_dd1d_u64;
    let mut a_commit_took = Duration::ZERO;
    for round in 0..CUTS {
        let invoice = sale(1_000 + round);
        let mut host = world.host().await;
        let nonce = host.prepare(&invoice).await;
        let commit = framed(&format!("TXN|COMMIT {{\"nonce\":\"{nonce}\"}}"), false);
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        let cut = match round % 10 {
            0 => Cut::AfterTheAnswer,
            1 => Cut::BeforeTheCommit,
            _ => Cut::During(a_commit_took.mul_f64((chance % 1_000) as f64 / 500.0)),
        };
        match &cut {
            Cut::BeforeTheCommit => {}
            Cut::During(wait) => {
                host.send(&commit).await;
                tokio::time::sleep(*wait).await;
            }
            Cut::AfterTheAnswer => {
                let begun = Instant::now();
                assert_eq!(code(&host.commit(&nonce).await), "OK");
                a_commit_took = begun.elapsed();
            }
        }
        world.cut_the_power().await;
        let mut host = world.host().await;
        let mut answer = host.commit(&nonce).await;
        match cut {
            Cut::BeforeTheCommit => assert_eq!(code(&answer), "INVALID_NONCE", "{answer}"),
            Cut::AfterTheAnswer => assert_eq!(code(&answer), "OK", "{answer}"),
            Cut::During(_) => {}
        }
        if code(&answer) != "OK" {
            assert_eq!(code(&answer), "INVALID_NONCE", "{answer}");
            let again = host.ask(&format!("TXN|PREPARE {invoice}")).await;
            answer = match code(&again).as_str() {
                // It was on its way when it was looked for.
                "REPLAY_DETECTED" => host.commit(&nonce).await,
                "OK" => host.commit(&field(&again, "nonce").expect("a nonce")).await,
                _ => panic!("{again}"),
            };
        }
        assert_eq!(sequence(&answer), round + 1, "no gap and no double");
    }
    let mut host = world.host().await;
    let mut payloads = BTreeSet::new();
    for number in 1..=CUTS {
        let entry = host.ask(&format!("QRY|LOG {number}")).await;
        let (_, rest) = entry.split_once("\"payload_hash\":\"").expect("a hash");
        payloads.insert(rest[..64].to_owned());
    }
    assert_eq!(payloads.len() as u64, CUTS);
    assert_eq!(code(&host.ask(&format!("QRY|LOG {}", CUTS + 1)).await), "NOT_FOUND");
}
