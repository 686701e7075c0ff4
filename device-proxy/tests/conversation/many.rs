//! Many hosts at one device: interleaved, pipelined, too many, and when it stops.

use std::collections::BTreeSet;

use fiscus_device_proxy::Proxy;
use fiscus_device_proxy::protocol::frame::framed;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::cluster::Cluster;
use super::host::{Host, code, until};
use super::world::{CODE, DEVICE, World, config, init, register, sale};

const HOSTS: u64 = 10;
const SALES: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn ten_hosts_sell_without_gap_or_double() {
    let world = World::start().await;
    let mut selling = JoinSet::new();
    for at in 0..HOSTS {
        let mut host = world.host().await;
        selling.spawn(async move {
            let mut numbers = Vec::new();
            for sold in 0..SALES {
                numbers.push(host.sell(&sale(1_000 + at * SALES + sold)).await);
            }
            numbers
        });
    }
    let mut numbers = BTreeSet::new();
    while let Some(sold) = selling.join_next().await {
        let sold = sold.expect("no panic");
        assert!(sold.is_sorted(), "each host's numbers rise: {sold:?}");
        numbers.extend(sold);
    }
    assert!(numbers.into_iter().eq(1..=HOSTS * SALES));
}

/// More commands than a queue holds, in one go: all are answered, in their order.
#[tokio::test(flavor = "multi_thread")]
async fn pipelined_commands_are_answered_in_order() {
    let world = World::start().await;
    let mut host = world.host().await;
    for price in 1_000..1_003 {
        host.sell(&sale(price)).await;
    }
    let bodies: Vec<String> = (0..40).map(|at| format!("QRY|LOG {}", at % 5)).collect();
    let bytes: Vec<u8> = bodies.iter().flat_map(|body| framed(body, false)).collect();
    host.send(&bytes).await;
    for at in 0..40 {
        let answer = host.answer().await;
        let expected = if (1..=3).contains(&(at % 5)) { "OK" } else { "NOT_FOUND" };
        assert_eq!(code(&answer), expected, "{at}: {answer}");
        assert!(answer.contains(&format!("KIN-GOMBE-{}", at % 5)), "{at}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_too_many_is_told_so_and_a_stopping_proxy_answers_what_it_took() {
    let cluster = Cluster::start(1).await;
    register(&cluster, DEVICE, CODE).await;
    let mut config = config(&cluster);
    config.limits.hosts_max = 1;
    let proxy = Proxy::start(config).await.expect("the proxy starts");
    let address = proxy.address(DEVICE).expect("it listens");
    let connect = async || Host::new(TcpStream::connect(address).await.expect("a connection"));
    let mut host = connect().await;
    until(&mut host, "QRY|STATUS", |answer| code(answer) == "OK").await;
    assert_eq!(code(&host.ask(&init(CODE)).await), "OK");
    let mut other = connect().await;
    assert_eq!(code(&other.answer().await), "DEVICE_BUSY");
    assert!(other.is_let_go().await);
    let nonce = host.prepare(&sale(1_000)).await;
    let commit = framed(&format!("TXN|COMMIT {{\"nonce\":\"{nonce}\"}}"), false);
    host.send(&[framed("QRY|LOG 1", false).repeat(9), commit].concat()).await;
    // The first answer shows that all of it was taken.
    assert_eq!(code(&host.answer().await), "NOT_FOUND");
    let rest = async {
        for _ in 1..9 {
            assert_eq!(code(&host.answer().await), "NOT_FOUND");
        }
        assert_eq!(code(&host.answer().await), "OK");
        assert!(host.is_let_go().await);
    };
    tokio::join!(rest, proxy.stop());
}
