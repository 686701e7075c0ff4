//! Devices come, are replaced, and go.

use std::time::{Duration, Instant};

use fiscus_device_proxy::Proxy;
use fiscus_device_proxy::config::DeviceSection;
use fiscus_ledger::activation::activation_hash;
use fiscus_proto::command::{ReplaceDevice, command};
use fiscus_proto::ledger::{Consistency, ReadDocumentRequest};
use tokio::net::TcpStream;

use super::cluster::{Cluster, LIMIT, OUTLET};
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
        attach: None,
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

/// Two proxies are the same device, each at another node: it goes, and both say so within a second to whoever asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_device_says_so_within_a_second_at_every_proxy() {
    let cluster = Cluster::start(3).await;
    register(&cluster, DEVICE, CODE).await;
    let mut proxies = Vec::new();
    for address in cluster.addresses().into_iter().take(2) {
        let mut config = config(&cluster);
        config.cluster.nodes = vec![address];
        proxies.push(Proxy::start(config).await.expect("the proxy starts"));
    }
    let mut hosts = Vec::new();
    for proxy in &proxies {
        let address = proxy.address(DEVICE).expect("it listens");
        let mut host = Host::new(TcpStream::connect(address).await.expect("it is accepted"));
        until(&mut host, "QRY|STATUS", |answer| code(answer) == "OK").await;
        hosts.push(host);
    }
    assert_eq!(code(&hosts[0].ask(&init(CODE)).await), "OK");
    for (host, price) in hosts.iter_mut().zip(1_000..) {
        let prepare = format!("TXN|PREPARE {}", sale(price));
        until(host, &prepare, |answer| code(answer) == "OK").await;
    }
    let replace = ReplaceDevice {
        device_id: DEVICE.to_owned(),
        replacement_id: "def-gombe-2".to_owned(),
        activation_hash: activation_hash("def-gombe-2/AAAA").to_vec().into(),
    };
    cluster.execute(0, command::Command::ReplaceDevice(replace)).await;
    let began = Instant::now();
    for host in &mut hosts {
        until(host, "QRY|STATUS", |answer| code(answer) == "DEVICE_REVOKED").await;
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    for (host, price) in hosts.iter_mut().zip(1_010..) {
        let told = host.ask(&format!("TXN|PREPARE {}", sale(price))).await;
        assert_eq!(code(&told), "DEVICE_REVOKED");
    }
}

/// A proxy tells the cluster how its device is, as soon as that seals, and what it is.
#[tokio::test(flavor = "multi_thread")]
async fn how_a_device_is_stands_in_the_directory() {
    let mut world = World::start().await;
    let client = world.cluster.client().await;
    let telling = async {
        loop {
            let request = ReadDocumentRequest {
                kind: "device_health".to_owned(),
                id: DEVICE.to_owned(),
                consistency: Consistency::Linearizable.into(),
            };
            let read = client.read_document(request, LIMIT).await.expect("an answer");
            if let Some(document) = read.document {
                return document.bytes;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let told = tokio::time::timeout(LIMIT, telling).await.expect("it is told in time");
    let told: serde_json::Value = serde_json::from_slice(&told).expect("JSON");
    assert_eq!((&told["role"], &told["state"]), (&"serve".into(), &"up".into()), "{told}");
    assert_eq!((&told["outlet_id"], &told["number_prefix"]), (&OUTLET.into(), &"KIN-GOMBE".into()));
    assert_eq!(told["protocol_version"], 1);
    assert!(told["free_memory_bytes"].as_u64().is_some_and(|free| free > 0), "{told}");
}
