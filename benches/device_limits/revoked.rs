//! How long a revoked device goes on: from the moment that its revocation is answered until every proxy that is this
//! device says so to its host.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use fiscus_device_proxy::config::ProxyConfig;
use fiscus_ledger::activation::activation_hash;
use fiscus_proto::client::{Answer, ClusterClient};
use fiscus_proto::command::{Command, RegisterDevice, RevokeDevice, command};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::support::{Demo, fiscus};
use super::{Host, percentiles};

/// Revocations of one measurement.
pub(crate) const EACH: usize = 100;
const LIMIT: Duration = Duration::from_secs(1);
/// Proxies that are all of the devices, each with one of the nodes first.
const PROXIES: usize = 2;
const ANSWER: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);
const OUTLET: &str = "outlet-limete";
/// Below those that Linux gives to connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Proxies and the devices that are left.
pub(crate) struct Shops {
    proxies: Vec<Child>,
    client: ClusterClient,
    /// Each with its places, one at each proxy.
    devices: Vec<(String, Vec<SocketAddr>)>,
}

impl Drop for Shops {
    fn drop(&mut self) {
        for proxy in &mut self.proxies {
            let _ = proxy.kill();
            let _ = proxy.wait();
        }
    }
}

/// Free places that no connection is given for its own end meanwhile, as the load makes them by the thousand.
fn free() -> impl Iterator<Item = SocketAddr> {
    let places = PORTS.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    places.filter(|place| TcpListener::bind(place).is_ok())
}

impl Shops {
    /// As many devices as there are to be revoked.
    pub(crate) async fn open(demo: &Demo, count: usize) -> Self {
        let client = demo.client().await;
        let mut devices = Vec::new();
        for at in 0..count {
            let id = format!("def-revoked-{at}");
            let register = RegisterDevice {
                device_id: id.clone(),
                outlet_id: OUTLET.to_owned(),
                activation_hash: activation_hash(&id).to_vec().into(),
            };
            submit(&client, command::Command::RegisterDevice(register)).await;
            devices.push((id, Vec::new()));
        }
        let (mut proxies, mut free) = (Vec::new(), free());
        for at in 0..PROXIES {
            let config = config(demo, at, &mut devices, &mut free);
            let file = demo.dir.join(format!("revoked-{at}.toml"));
            std::fs::write(&file, config.to_toml()).unwrap();
            let mut command = fiscus();
            command.args(["device-proxy", "--serve", "--log", "error", "--config"]).arg(&file);
            proxies.push(command.stdout(Stdio::null()).spawn().unwrap());
        }
        Self { proxies, client, devices }
    }

    /// Revokes devices one after the other and prints how long it took; whether each was in time.
    pub(crate) async fn revoke(&mut self, what: &str) -> bool {
        let mut took = Vec::new();
        for (id, places) in self.devices.drain(..EACH) {
            let mut hosts = JoinSet::new();
            let (told, mut known) = tokio::sync::mpsc::channel(PROXIES);
            for place in places {
                hosts.spawn(until_revoked(place, told.clone()));
            }
            for _ in 0..PROXIES {
                known.recv().await.expect("a proxy knows the device");
            }
            let revoke = RevokeDevice { device_id: id };
            submit(&self.client, command::Command::RevokeDevice(revoke)).await;
            let answered = Instant::now();
            while let Some(seen) = hosts.join_next().await {
                took.push(seen.unwrap().saturating_duration_since(answered));
            }
        }
        took.sort_unstable();
        let late = took.iter().filter(|took| **took > LIMIT).count();
        println!(
            "\n{what}\n  DEVICE_REVOKED {} {}  limit {LIMIT:?}: {late} late",
            took.len(),
            percentiles(&took)
        );
        late == 0
    }
}

fn config(
    demo: &Demo,
    at: usize,
    devices: &mut [(String, Vec<SocketAddr>)],
    free: &mut impl Iterator<Item = SocketAddr>,
) -> ProxyConfig {
    let mut nodes: Vec<String> = demo.nodes.iter().map(|node| node.rpc.clone()).collect();
    nodes.rotate_left(at);
    let mut config = ProxyConfig::minimal(nodes, "none");
    let pki = demo.dir.join("pki");
    config.cluster.ca = Some(pki.join("ca.pem"));
    config.cluster.cert = Some(pki.join("device-proxy.pem"));
    config.cluster.key = Some(pki.join("device-proxy.key"));
    let model = config.devices.remove(0);
    for (id, places) in devices {
        let place = free.next().expect("a free place");
        places.push(place);
        let mut device = model.clone();
        (device.device_id, device.listen) = (id.clone(), Some(place));
        config.devices.push(device);
    }
    config
}

async fn submit(client: &ClusterClient, command: command::Command) {
    let command = Command { command: Some(command) };
    let answer = client.submit(0, command, ANSWER).await.expect("an answer");
    assert!(matches!(answer, Answer::Recorded(_)), "{answer}");
}

/// Asks again and again; when it was told so. Says once that the device is known there.
async fn until_revoked(place: SocketAddr, told: tokio::sync::mpsc::Sender<()>) -> Instant {
    let stream = loop {
        match TcpStream::connect(place).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    };
    stream.set_nodelay(true).unwrap();
    let mut host = Host { stream };
    let mut known = false;
    loop {
        let answer = host.ask("QRY|STATUS").await;
        if answer.contains("DEVICE_REVOKED") {
            return Instant::now();
        }
        if !known && answer.contains("\"status\":\"OK\"") {
            known = true;
            told.send(()).await.expect("it is waited for");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
