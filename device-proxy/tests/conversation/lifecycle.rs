//! Devices come, are replaced, and go.

use std::time::{Duration, Instant};

use fiscus_device_proxy::Proxy;
use fiscus_device_proxy::config::DeviceSection;
use tokio::net::TcpStream;

use super::cluster::Cluster;
use super::host::{Host, code, until};
use super::world::{CODE, DEVICE, World, config, init, register, revoke, sale};

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_says_so_within_a_second_even_between_prepare_and_commit() {
    let world = World::start().await;
    let mut host = world.host().await;
    let nonce = host.prepare(&sale(1_000)).await;
    let began = Instant::now();
    revoke(&world.cluster, DEVICE).await;
    until(&mut host, "QRY|STATUS", |answer| code(answer) == "DEVICE_REVOKED").await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(code(&host.commit(&nonce).await), "DEVICE_REVOKED");
    assert_eq!(code(&host.ask(&init(CODE)).await), "DEVICE_REVOKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_nobody_registered_does_nothing() {
    let cluster = Cluster::start(1).await;
    let proxy = Proxy::start(config(&cluster)).await.expect("the proxy starts");
    let address = proxy.address(DEVICE).expect("it listens");
    let mut host = Host::new(TcpStream::connect(address).await.expect("it is accepted"));
    until(&mut host, "QRY|STATUS", |answer| code(answer) == "UNAUTHORIZED").await;
    // From the moment that an operator registers it, it waits for its code.
    register(&cluster, DEVICE, CODE).await;
    until(&mut host, "QRY|STATUS", |answer| code(answer) == "OK").await;
    let prepare = format!("TXN|PREPARE {}", sale(1_000));
    assert_eq!(code(&host.ask(&prepare).await), "UNAUTHORIZED");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_proxy_is_many_devices() {
    let cluster = Cluster::start(1).await;
    let mut config = config(&cluster);
    for (id, code) in [(DEVICE, CODE), ("def-gombe-2", "def-gombe-2/AAAA")] {
        register(&cluster, id, code).await;
    }
    let listen = config.devices[0].listen;
    config.devices.push(DeviceSection {
        device_id: "def-gombe-2".into(),
        listen,
        serial: vec![],
        offline: None,
    });
    let proxy = Proxy::start(config).await.expect("the proxy starts");
    let mut sold = Vec::new();
    for (at, (id, secret)) in [(1, (DEVICE, CODE)), (2, ("def-gombe-2", "def-gombe-2/AAAA"))] {
        let address = proxy.address(id).expect("it listens");
        let mut host = Host::new(TcpStream::connect(address).await.expect("it is accepted"));
        until(&mut host, "QRY|STATUS", |answer| code(answer) == "OK").await;
        assert_eq!(code(&host.ask(&init(secret)).await), "OK");
        sold.push(host.sell(&sale(1_000 + at)).await);
    }
    assert_eq!(sold, [1, 2], "two devices of one outlet, one series");
    proxy.stop().await;
}
