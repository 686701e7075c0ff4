//! The codes that need a world in which something is wrong, as hosts hear them over TCP and over a pseudo-terminal;
//! and that the transcripts have every code and every command.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use fiscus_device_proxy::protocol::Code;
use fiscus_node::config::NodeConfig;
use tokio::io::{AsyncRead, AsyncWrite};

use super::cluster::Cluster;
use super::host::{Host, code, transcript, until};
use super::line::{Pair, open};
use super::world::{DEVICE, World, revoke, sale};

/// Asks until it is answered so, and writes the last exchange down.
async fn comes_to<S: AsyncRead + AsyncWrite + Unpin>(host: &mut Host<S>, body: &str, wanted: &str) {
    let told = until(host, body, |answer| code(answer) == wanted).await;
    host.note(body, &told);
}

async fn nonces<S: AsyncRead + AsyncWrite + Unpin>(host: &mut Host<S>) {
    host.title("A terminal holds eight nonces, and each dies after seven seconds");
    let first = host.prepare(&sale(1_000)).await;
    for price in 1_001..1_008 {
        let prepare = format!("TXN|PREPARE {}", sale(price));
        until(host, &prepare, |answer| code(answer) == "OK").await;
    }
    let busy = host.ask(&format!("TXN|PREPARE {}", sale(2_000))).await;
    assert_eq!(code(&busy), "DEVICE_BUSY");
    until(host, "QRY|STATUS", |answer| answer.contains("\"nonce_pool\":8")).await;
    assert_eq!(code(&host.commit(&first).await), "NONCE_EXPIRED");
}

/// Says what is answered when there is no room, when there is no cluster, and when the device is revoked.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    host: &mut Host<S>,
    world: &mut World,
    full: &AtomicBool,
) {
    nonces(host).await;
    let prepare = format!("TXN|PREPARE {}", sale(3_000));

    host.title("The cluster is gone between PREPARE and COMMIT, and comes back");
    let nonce = host.prepare(&sale(3_000)).await;
    world.cluster.stop_node(1).await;
    // Whether a command was on its way when the line went is a matter of moments; asked again, it surely was not.
    let commit = format!("TXN|COMMIT {{\"nonce\":\"{nonce}\"}}");
    let told = until(host, &commit, |answer| answer.contains("nothing was done")).await;
    host.note(&commit, &told);
    comes_to(host, &prepare, "UNAVAILABLE").await;
    comes_to(host, "QRY|STATUS", "UNAVAILABLE").await;
    full.store(true, Ordering::Relaxed);
    world.cluster.start_node(1).await;

    host.title("The cluster has no room left");
    comes_to(host, &prepare, "STORAGE_FULL").await;

    host.title("The device is revoked");
    full.store(false, Ordering::Relaxed);
    world.cluster.stop_node(1).await;
    world.cluster.start_node(1).await;
    until(host, "QRY|STATUS", |answer| code(answer) == "OK").await;
    revoke(&world.cluster, DEVICE).await;
    comes_to(host, "QRY|STATUS", "DEVICE_REVOKED").await;
    comes_to(host, &prepare, "DEVICE_REVOKED").await;
}

/// Whether a world's disk is as good as full, over TCP and over a line.
static FULL: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];

fn fill(config: &mut NodeConfig, which: usize) {
    if FULL[which].load(Ordering::Relaxed) {
        config.limits.disk_reserve_bytes = 1 << 50;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_of_a_world_gone_wrong_over_tcp() {
    let cluster = Cluster::start_with(1, |config| fill(config, 0)).await;
    let mut world = World::registered(cluster, Vec::new()).await;
    world.activate().await;
    let mut host = world.host().await;
    converse(&mut host, &mut world, &FULL[0]).await;
    host.matches("a_world_gone_wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_of_a_world_gone_wrong_over_a_pseudo_terminal() {
    let dir = tempfile::tempdir().expect("a directory");
    let (device, line) = (dir.path().join("ttyGS0"), dir.path().join("ttyACM0"));
    let cluster = Cluster::start_with(1, |config| fill(config, 1)).await;
    let mut world = World::registered(cluster, vec![device.clone()]).await;
    world.activate().await;
    let _pair = Pair::new(&device, &line);
    let mut host = open(&line).await;
    converse(&mut host, &mut world, &FULL[1]).await;
    host.matches("a_world_gone_wrong");
}

#[test]
fn every_code_and_every_command_is_in_a_transcript() {
    let mut said = String::new();
    for entry in std::fs::read_dir(transcript("").parent().expect("a folder")).expect("a folder") {
        said += &std::fs::read_to_string(entry.expect("a file").path()).expect("text");
    }
    let missing: BTreeSet<&str> = Code::ALL
        .iter()
        .map(|code| code.as_str())
        .filter(|code| !said.contains(&format!("\"code\":\"{code}\"")))
        .collect();
    assert_eq!(missing, BTreeSet::new());
    let commands = [
        "TXN|PREPARE",
        "TXN|COMMIT",
        "QRY|STATUS",
        "QRY|LOG",
        "RPT|Z",
        "RPT|X",
        "RPT|A",
        "ADM|DUMPLOG",
        "ADM|ACK",
        "ADM|RESET",
        "CFG|TIME",
        "CFG|INIT",
    ];
    for command in commands {
        assert!(said.contains(&format!("> {command}")), "{command}");
    }
}
