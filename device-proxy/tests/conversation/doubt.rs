//! Power cuts: a proxy that dies between PREPARE and COMMIT, or with the answer.

use std::collections::BTreeSet;
use std::time::Duration;

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
/// A commit takes about so long, so that a cut falls before, during or after it.
const CUT_WITHIN_US: u64 = 12_000;

/// Every sale is there exactly once, whenever the power was cut, and the log tells it.
#[tokio::test(flavor = "multi_thread")]
async fn power_cuts_at_any_moment_lose_and_double_nothing() {
    let mut world = World::start().await;
    let mut chance = 0x2545_f491_4f6c_dd1d_u64;
    let mut sealed_before_the_cut = 0;
    for round in 0..CUTS {
        let invoice = sale(1_000 + round);
        let mut host = world.host().await;
        let nonce = host.prepare(&invoice).await;
        host.send(&framed(&format!("TXN|COMMIT {{\"nonce\":\"{nonce}\"}}"), false)).await;
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        tokio::time::sleep(Duration::from_micros(chance % CUT_WITHIN_US)).await;
        world.cut_the_power().await;
        let mut host = world.host().await;
        let mut answer = host.commit(&nonce).await;
        if code(&answer) == "OK" {
            sealed_before_the_cut += 1;
        } else {
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
    assert!((1..CUTS).contains(&sealed_before_the_cut), "the cuts fall on both sides of the seal");
}
