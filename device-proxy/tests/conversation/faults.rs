//! The codes that need a world in which something is wrong.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fiscus_device_proxy::protocol::frame::framed;

use super::cluster::Cluster;
use super::host::{code, until};
use super::world::{World, sale};

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_dies_and_a_terminal_holds_so_many() {
    let world = World::start().await;
    let mut host = world.host().await;
    let first = host.prepare(&sale(1_000)).await;
    for price in 1_001..1_008 {
        host.prepare(&sale(price)).await;
    }
    let busy = host.ask(&format!("TXN|PREPARE {}", sale(2_000))).await;
    assert_eq!(code(&busy), "DEVICE_BUSY");
    // Other terminals have nonces of their own, and one terminal's nonce is none of another's.
    let mut other = world.host().await;
    assert_eq!(code(&other.commit(&first).await), "INVALID_NONCE");
    until(&mut host, "QRY|STATUS", |answer| answer.contains("\"nonce_pool\":8")).await;
    assert_eq!(code(&host.commit(&first).await), "NONCE_EXPIRED");
    // Nothing of all that took a number.
    assert_eq!(host.sell(&sale(1_000)).await, 1);
}

static FULL: AtomicBool = AtomicBool::new(false);

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_room_prepares_nothing() {
    let cluster = Cluster::start_with(1, |config| {
        if FULL.load(Ordering::Relaxed) {
            config.limits.disk_reserve_bytes = 1 << 50;
        }
    });
    let mut world = World::registered(cluster.await, Vec::new()).await;
    world.activate().await;
    world.cluster.stop_node(1).await;
    FULL.store(true, Ordering::Relaxed);
    world.cluster.start_node(1).await;
    let mut host = world.host().await;
    let prepare = format!("TXN|PREPARE {}", sale(1_000));
    until(&mut host, &prepare, |answer| code(answer) == "STORAGE_FULL").await;
}

/// Whatever does not answer, the host is answered, in time and with the truth.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_gone_is_told_in_time() {
    let mut world = World::start().await;
    let mut host = world.host().await;
    assert_eq!(host.sell(&sale(1_000)).await, 1);
    let nonce = host.prepare(&sale(1_001)).await;
    world.cluster.kill_node(1).await;
    let commit = format!("TXN|COMMIT {{\"nonce\":\"{nonce}\"}}");
    let prepare = format!("TXN|PREPARE {}", sale(1_002));
    let asked = [
        (commit.as_str(), 5),
        (prepare.as_str(), 5),
        ("QRY|STATUS", 2),
        ("QRY|LOG 1", 10),
        ("RPT|X {\"period\":\"day\"}", 10),
        ("ADM|DUMPLOG {\"format\":\"json\"}", 10),
    ];
    for (body, limit) in asked {
        let began = Instant::now();
        host.send(&framed(body, false)).await;
        let answer = host.answer().await;
        assert_eq!(code(&answer), "UNAVAILABLE", "{body}: {answer}");
        assert!(began.elapsed() <= Duration::from_secs(limit), "{body}: {:?}", began.elapsed());
    }
    world.cluster.start_node(1).await;
    until(&mut host, "QRY|STATUS", |answer| code(answer) == "OK").await;
    // The same nonce gives the one seal there is, or says that there is none.
    let answer = until(&mut host, &commit, |answer| code(answer) != "UNAVAILABLE").await;
    let expected = if code(&answer) == "OK" { 3 } else { 2 };
    assert_eq!(host.sell(&sale(1_003)).await, expected, "no gap and no double: {answer}");
}
