//! A node, a device that is registered there, and a proxy that is this device.

use std::path::PathBuf;

use ed25519_dalek::{Signer, SigningKey};
use fiscus_device_proxy::Proxy;
use fiscus_device_proxy::config::ProxyConfig;
use fiscus_ledger::activation::activation_hash;
use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::command::{self as proto, command};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::cluster::{Cluster, NIF, OUTLET, TERMINAL};
use super::host::{Host, code, until};

pub(crate) const DEVICE: &str = "def-gombe-1";
pub(crate) const CODE: &str = "def-gombe-1/7F3K-9QHM-2T5W-XA6E";

/// Everything that a test talks to.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) proxy: Proxy,
}

impl World {
    /// A device that is active, in front of one node.
    pub(crate) async fn start() -> Self {
        let world = Self::registered(Cluster::start(1).await, Vec::new()).await;
        world.activate().await;
        world
    }

    /// A device that is registered, whose hosts also come over these lines.
    pub(crate) async fn registered(cluster: Cluster, serial: Vec<PathBuf>) -> Self {
        register(&cluster, DEVICE, CODE).await;
        let mut config = config(&cluster);
        config.devices[0].serial = serial;
        let proxy = Proxy::start(config).await.expect("the proxy starts");
        let world = Self { cluster, proxy };
        // A device that the proxy has heard of tells its status.
        until(&mut world.host().await, "QRY|STATUS", |answer| code(answer) == "OK").await;
        world
    }

    pub(crate) async fn activate(&self) {
        let answer = self.host().await.ask(&init(CODE)).await;
        assert_eq!(code(&answer), "OK", "{answer}");
    }

    /// Another proxy takes the place of this one.
    pub(crate) async fn restart_proxy(&mut self) {
        let fresh = Proxy::start(config(&self.cluster)).await.expect("the proxy starts");
        std::mem::replace(&mut self.proxy, fresh).stop().await;
        until(&mut self.host().await, "QRY|STATUS", |answer| code(answer) == "OK").await;
    }

    /// The proxy is gone without a word, and another one takes its place.
    pub(crate) async fn cut_the_power(&mut self) {
        let fresh = Proxy::start(config(&self.cluster)).await.expect("the proxy starts");
        drop(std::mem::replace(&mut self.proxy, fresh));
        until(&mut self.host().await, "QRY|STATUS", |answer| code(answer) == "OK").await;
    }

    /// A host over TCP.
    pub(crate) async fn host(&self) -> Host<TcpStream> {
        let address = self.proxy.address(DEVICE).expect("it listens");
        Host::new(TcpStream::connect(address).await.expect("it is accepted"))
    }
}

/// What a proxy's admin listener says.
pub(crate) async fn told(proxy: &Proxy, path: &str) -> String {
    let mut stream = TcpStream::connect(proxy.admin_address()).await.expect("it is accepted");
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

/// The tax authority's key.
pub(crate) fn dgi() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub(crate) fn config(cluster: &Cluster) -> ProxyConfig {
    ProxyConfig::minimal(cluster.addresses(), DEVICE)
}

pub(crate) async fn register(cluster: &Cluster, device_id: &str, code: &str) {
    let register = proto::RegisterDevice {
        device_id: device_id.to_owned(),
        outlet_id: OUTLET.to_owned(),
        activation_hash: activation_hash(code).to_vec().into(),
    };
    cluster.execute(0, command::Command::RegisterDevice(register)).await;
}

pub(crate) async fn revoke(cluster: &Cluster, device_id: &str) {
    let revoke = proto::RevokeDevice { device_id: device_id.to_owned() };
    cluster.execute(0, command::Command::RevokeDevice(revoke)).await;
}

/// A time for the device, signed.
pub(crate) fn signed_time(timestamp: &str, by: &SigningKey) -> String {
    let moment = UnixMs::parse_canonical(timestamp).expect("a time");
    let message = format!("CFG|TIME|{DEVICE}|{moment}");
    let signature = encode_standard(&by.sign(message.as_bytes()).to_bytes());
    format!("CFG|TIME {{\"timestamp\":\"{timestamp}\",\"signature\":\"{signature}\"}}")
}

/// Registers the tax authority's key in place of this version of it.
pub(crate) async fn register_authority_key(cluster: &Cluster, key: &SigningKey, version: u64) {
    let key = encode_standard(key.verifying_key().as_bytes());
    let put = proto::PutDocument {
        kind: fiscus_ledger::commands::TAX_AUTHORITY_KEY_KIND.to_owned(),
        id: fiscus_ledger::commands::TAX_AUTHORITY_KEY_ID.to_owned(),
        expected_version: version,
        bytes: format!("\"{key}\"").into_bytes().into(),
    };
    cluster.execute(0, command::Command::PutDocument(put)).await;
}

pub(crate) fn init(code: &str) -> String {
    let key = encode_standard(&[9; 32]);
    format!("CFG|INIT {{\"activation_code\":\"{code}\",\"public_key\":\"{key}\"}}")
}

/// A canonical sale, whose price tells it from others.
pub(crate) fn sale(price: u64) -> String {
    sale_at(TERMINAL, price)
}

/// The same, authored at another time.
pub(crate) fn sale_of(price: u64, authored: UnixMs) -> String {
    sale_with(TERMINAL, price, authored)
}

/// The same at another terminal.
pub(crate) fn sale_at(terminal: &str, price: u64) -> String {
    sale_with(terminal, price, UnixMs::new(1_795_262_400_000))
}

fn sale_with(terminal: &str, price: u64, authored: UnixMs) -> String {
    let text = format!(
        r#"{{"merchant_nif":"{NIF}","outlet_id":"{OUTLET}","pos_terminal_id":"{terminal}",
        "cashier_id":"cashier-7","invoice_type":"sale","currency":"CDF",
        "client":{{"classification":"individual"}},
        "items":[{{"code":"FAR-1","description":"Farine","quantity":1,"unit_price":"{price}.00",
        "tax_group":"TG02","taxable_unit":"sac"}}],
        "payments":[{{"method":"cash","amount":"{price}.00"}}]}}"#
    );
    let parsed = parse_lenient(text.as_bytes(), &Manifest::builtin(), authored).expect("a sale");
    String::from_utf8(parsed.invoice.canonical_bytes().to_vec()).expect("text")
}
