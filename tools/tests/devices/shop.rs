//! The processes around a device: its proxy, and the simulated device behind it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use fiscus_device_proxy::config::{AttachSection, ProxyConfig};
use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::hash::{hex, payload_hash};
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::json::Value;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::record::Record;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::ClusterClient;
use fiscus_proto::ledger::{Consistency, ReadOutletRequest};
use tokio::net::TcpStream;

use super::host::{Host, LIMIT, code, until};
use super::support::load::OUTLETS;
use super::support::{NodeAt, admin, fiscus, history, text};

const SALE: &str = include_str!("../../../docs/samples/sale.json");
/// When the sample was authored.
const AUTHORED: &str = "2026-11-20T08:15:00Z";
/// What stands before a sale's mark in its only line.
const MARKED: &str = "\"code\":\"M-";

/// An invoice that is told from others by its mark.
#[derive(Debug, Clone)]
pub(crate) struct Invoice {
    pub(crate) text: String,
    pub(crate) mark: String,
    /// As `QRY|LOG` tells it.
    pub(crate) hash: String,
}

/// A sale of an outlet, authored at a time.
pub(crate) fn sale(outlet: &str, mark: &str, authored: UnixMs) -> Invoice {
    let known = OUTLETS.iter().find(|(id, _)| *id == outlet);
    assert!(SALE.contains(AUTHORED));
    let text = SALE
        .replace(AUTHORED, &authored.to_string())
        .replace("outlet-gombe", outlet)
        .replace("A1234567B", known.map_or("A1234567B", |(_, nif)| *nif))
        .replace("RIZ-25", &format!("M-{mark}"));
    let parsed = parse_lenient(text.as_bytes(), &Manifest::builtin(), authored).unwrap();
    let bytes = parsed.invoice.canonical_bytes();
    Invoice {
        text: String::from_utf8(bytes.to_vec()).unwrap(),
        mark: mark.to_owned(),
        hash: hex(&payload_hash(bytes)),
    }
}

/// Noon of 21 November 2026, UTC.
pub(crate) fn noon() -> UnixMs {
    UnixMs::new(1_795_262_400_000)
}

/// The numbers of an outlet's marked sales by their marks, as the cluster's journal has them.
pub(crate) async fn recorded(client: &ClusterClient, outlet: &str) -> BTreeMap<String, Vec<u64>> {
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for stored in history::journal(client, 1).await {
        let record = Record::decode(&stored.record).unwrap();
        let payload = std::str::from_utf8(record.payload).unwrap();
        let Some((_, rest)) = payload.split_once(MARKED) else { continue };
        if record.outlet_id == outlet && !record.fiscal_number.is_empty() {
            let mark = rest.split('"').next().unwrap().to_owned();
            let number = record.fiscal_number.rsplit('-').next().unwrap().parse().unwrap();
            found.entry(mark).or_default().push(number);
        }
    }
    found
}

/// Waits until the ledger has as many entries of a real device, for as long as there come more.
pub(crate) async fn until_imported(client: &ClusterClient, outlet: &str, id: &str, entries: u64) {
    let (mut imported, mut since) = (0, Instant::now());
    while imported < entries {
        let request = ReadOutletRequest {
            group: 1,
            outlet_id: outlet.to_owned(),
            consistency: Consistency::Linearizable.into(),
        };
        let read = client.read_outlet(request, LIMIT).await.unwrap();
        let series = Outlet::from_stored(&read.row).unwrap().device_series;
        let last = series.get(id).map_or(0, |series| series.last);
        if last > imported {
            (imported, since) = (last, Instant::now());
        }
        assert!(since.elapsed() < LIMIT, "the import stands still at {imported} of {entries}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A free address; whoever asks first binds it soon.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Registers a device of an outlet; its activation code.
pub(crate) fn register(dir: &Path, device_id: &str, outlet: &str) -> String {
    let mut command = fiscus();
    command.args(["admin", "--dir"]).arg(dir).args(["devices", "register", "--id", device_id]);
    let output = command.args(["--outlet", outlet, "--yes"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A device proxy that can be killed at any moment and started again.
pub(crate) struct ProxyProcess {
    child: Option<Child>,
    mode: &'static str,
    file: PathBuf,
    log: PathBuf,
    /// How it is started; the arguments of the program come after it.
    program: Box<dyn Fn() -> Command + Send>,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// The configuration of a proxy of one device, in front of a demonstration's nodes.
pub(crate) fn config(dir: &Path, nodes: &[NodeAt], device_id: &str) -> ProxyConfig {
    let nodes = nodes.iter().map(|node| node.rpc.clone()).collect();
    let mut config = ProxyConfig::minimal(nodes, device_id);
    let pki = dir.join("pki");
    config.cluster.ca = Some(pki.join("ca.pem"));
    config.cluster.cert = Some(pki.join("device-proxy.pem"));
    config.cluster.key = Some(pki.join("device-proxy.key"));
    config.admin_listen = free();
    config.devices[0].listen = Some(free());
    config
}

impl ProxyProcess {
    pub(crate) fn start(dir: &Path, config: &ProxyConfig) -> Self {
        Self::start_as(dir, config, fiscus)
    }

    pub(crate) fn start_as(
        dir: &Path,
        config: &ProxyConfig,
        program: impl Fn() -> Command + Send + 'static,
    ) -> Self {
        let device = &config.devices[0];
        let file = dir.join(format!("{}.toml", device.device_id));
        std::fs::write(&file, config.to_toml()).unwrap();
        let mut proxy = Self {
            child: None,
            mode: if device.attach.is_some() { "--attach" } else { "--serve" },
            log: file.with_extension("log"),
            file,
            program: Box::new(program),
            address: device.listen.unwrap(),
            admin: config.admin_listen,
        };
        proxy.restart();
        proxy
    }

    /// kill -9, as a power cut does, and another one in its place.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let child = (self.program)()
            .args(["device-proxy", self.mode, "--stop-with-stdin", "--config"])
            .arg(&self.file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// What it holds of the machine's memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let pid = self.child.as_ref().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) async fn host(&self) -> Host<TcpStream> {
        host(self.address).await
    }

    /// Waits until it knows the device, and binds it with a code.
    pub(crate) async fn activate(&self, activation_code: &str, public_key: &[u8]) {
        let mut host = self.host().await;
        let key = encode_standard(public_key);
        let init = format!(
            "CFG|INIT {{\"activation_code\":\"{activation_code}\",\"public_key\":\"{key}\"}}"
        );
        until(&mut host, &init, |answer| code(answer) == "OK").await;
        until(&mut host, "QRY|STATUS", |answer| code(answer) == "OK").await;
    }
}

impl Drop for ProxyProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A host over TCP, as soon as somebody listens.
pub(crate) async fn host(address: SocketAddr) -> Host<TcpStream> {
    let connecting = async {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return Host::new(stream),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(LIMIT, connecting).await.expect("somebody listens")
}

/// A simulated real device as a process of its own.
pub(crate) struct DefProcess {
    child: Option<(Child, ChildStdin, BufReader<ChildStdout>)>,
    arguments: Vec<String>,
    pub(crate) dir: PathBuf,
    pub(crate) public_key: Vec<u8>,
}

impl DefProcess {
    /// Starts it with its line at a link in its folder, or with more arguments elsewhere.
    pub(crate) fn start(dir: &Path, id: &str, more: &[&str]) -> Self {
        let folder = dir.join(format!("{id}-def"));
        let path = folder.display();
        let mut arguments = format!("def-sim --json --dir {path} --id {id}");
        if !more.contains(&"--listen") {
            arguments += &format!(" --link {path}/line");
        }
        let words = arguments.split(' ').chain(more.iter().copied());
        let arguments = words.map(str::to_owned).collect();
        let mut def = Self { child: None, arguments, dir: folder, public_key: Vec::new() };
        def.restart();
        def
    }

    /// kill -9, and the same device again.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let mut child = fiscus()
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let said = Value::parse(&line).expect("it runs");
        let key = text(&said, "public_key");
        self.public_key = fiscus_ledger::base64::decode_standard(&key).unwrap();
        self.child = Some((child, input, output));
    }

    pub(crate) fn kill(&mut self) {
        if let Some((mut child, ..)) = self.child.take() {
            // A link that stays leads to whatever line has the same number next; a system takes it away with its device.
            let _ = std::fs::remove_file(self.line());
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Does something to it; what it says of that.
    pub(crate) fn control(&mut self, line: &str) -> String {
        let (_, input, output) = self.child.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
        let mut told = String::new();
        output.read_line(&mut told).unwrap();
        text(&Value::parse(&told).unwrap(), "done")
    }

    pub(crate) fn line(&self) -> PathBuf {
        self.dir.join("line")
    }
}

impl Drop for DefProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A real device of an outlet, with its proxy before it, both as processes.
pub(crate) struct RealDevice {
    pub(crate) proxy: ProxyProcess,
    pub(crate) def: DefProcess,
}

impl RealDevice {
    pub(crate) async fn open(
        dir: &Path,
        id: &str,
        outlet: &str,
        def: DefProcess,
        mut config: ProxyConfig,
    ) -> Self {
        let (done, said) = admin(dir, &format!("outlets signing-mode {outlet} def --yes"));
        assert!(done, "{said}");
        let activation_code = register(dir, id, outlet);
        config.devices[0].attach =
            Some(AttachSection { serial: Some(def.line()), tcp: None, invoices_dir: None });
        let proxy = ProxyProcess::start(dir, &config);
        proxy.activate(&activation_code, &def.public_key).await;
        Self { proxy, def }
    }
}
