//! Real devices behind the proxy, as far as a simulated one shows them: over a pseudo-terminal and over TCP, with its
//! power, its cable and its answers cut, and with the ledger beside it.

use std::path::PathBuf;
use std::time::Duration;

use fiscus_device_proxy::Proxy;
use fiscus_device_proxy::config::{AttachSection, ProxyConfig};
use fiscus_device_proxy::def_sim::{DefSim, DefSimConfig, Faults, MachineConfig, Place};
use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_proto::command::{self as proto, command};
use fiscus_proto::ledger::{Consistency, ReadOutletRequest};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::cluster::{Cluster, LIMIT, NIF, OUTLET};
use super::host::{Host, code, field, sequence, until};
use super::world::{config, register, sale, told};

const REAL: &str = "DEF-GOMBE-1";
const REAL_CODE: &str = "DEF-GOMBE-1/7F3K-9QHM-2T5W-XA6E";

/// A node, a real device as far as its line shows it, and a proxy between hosts and the device.
struct Shop {
    cluster: Cluster,
    device: DefSim,
    proxy: Option<Proxy>,
    folder: TempDir,
}

fn device_config(folder: &TempDir, place: Place, faults: Faults) -> DefSimConfig {
    DefSimConfig {
        machine: MachineConfig {
            device_id: REAL.to_owned(),
            verify_host: "verify.example.cd".to_owned(),
            memory_bytes: 64 << 20,
            manifests: vec![Manifest::builtin()],
            dgi_key: None,
        },
        folder: folder.path().to_owned(),
        place,
        faults,
    }
}

fn proxy_config(cluster: &Cluster, device: &DefSim, device_folder: &TempDir) -> ProxyConfig {
    let mut config = config(cluster);
    config.devices[0].device_id = REAL.to_owned();
    config.devices[0].attach = Some(AttachSection {
        serial: device.path().cloned(),
        tcp: device.address(),
        invoices_dir: Some(device_folder.path().to_owned()),
    });
    config
}

impl Shop {
    async fn open(place: impl FnOnce(PathBuf) -> Place, faults: Faults) -> Self {
        let cluster = Cluster::start(1).await;
        register(&cluster, REAL, REAL_CODE).await;
        sealed_by(&cluster, 1, proto::SigningMode::Def).await;
        let folder = tempfile::tempdir().expect("a folder");
        let place = place(folder.path().join("line"));
        let device = DefSim::start(device_config(&folder, place, faults)).await.expect("it runs");
        let proxy =
            Proxy::start(proxy_config(&cluster, &device, &folder)).await.expect("the proxy starts");
        let shop = Self { cluster, device, proxy: Some(proxy), folder };
        let key = encode_standard(shop.device.public_key());
        let init =
            format!("CFG|INIT {{\"activation_code\":\"{REAL_CODE}\",\"public_key\":\"{key}\"}}");
        until(&mut shop.host().await, &init, |answer| code(answer) == "OK").await;
        until(&mut shop.host().await, "QRY|STATUS", |answer| code(answer) == "OK").await;
        shop
    }

    async fn host(&self) -> Host<TcpStream> {
        let address =
            self.proxy.as_ref().and_then(|proxy| proxy.address(REAL)).expect("it listens");
        Host::new(TcpStream::connect(address).await.expect("it is accepted"))
    }

    /// The outlet's counters, when as many of the device's entries are in the ledger.
    async fn imported(&mut self, entries: u64) -> Outlet {
        let client = self.cluster.client().await;
        let waiting = async {
            loop {
                let request = ReadOutletRequest {
                    group: 1,
                    outlet_id: OUTLET.to_owned(),
                    consistency: Consistency::Linearizable.into(),
                };
                if let Ok(read) = client.read_outlet(request, LIMIT).await
                    && let Ok(outlet) = Outlet::from_stored(&read.row)
                    && outlet.device_series.get(REAL).map_or(0, |series| series.last) >= entries
                {
                    return outlet;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(4 * LIMIT, waiting).await.expect("it is imported in time")
    }

    /// Waits until the proxy's metrics say all of this of the device at once.
    async fn until_figures(&self, figures: &[(&str, u64)]) {
        let proxy = self.proxy.as_ref().expect("it runs");
        let line = |(name, value): &(&str, u64)| {
            format!("fiscus_proxy_attached_{name}{{device=\"{REAL}\"}} {value}\n")
        };
        let lines: Vec<String> = figures.iter().map(line).collect();
        let waiting = async {
            loop {
                let metrics = told(proxy, "/metrics").await;
                if lines.iter().all(|line| metrics.contains(line)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(LIMIT, waiting).await;
        waited.unwrap_or_else(|_| panic!("the metrics never say {figures:?}"));
    }

    /// The proxy is gone without a word, and another one takes its place.
    async fn kill_proxy(&mut self) {
        drop(self.proxy.take());
        let fresh = Proxy::start(proxy_config(&self.cluster, &self.device, &self.folder)).await;
        self.proxy = Some(fresh.expect("the proxy starts"));
    }

    async fn stop_proxy(&mut self) {
        self.proxy.take().expect("it runs").stop().await;
    }
}

async fn sealed_by(cluster: &Cluster, version: u64, mode: proto::SigningMode) {
    let fact = proto::OutletFact {
        outlet_id: OUTLET.to_owned(),
        merchant_nif: NIF.to_owned(),
        prefix: "KIN".to_owned(),
        code: "GOMBE".to_owned(),
        group: 1,
        status: proto::OutletStatus::Active.into(),
        environment: proto::Environment::Live.into(),
        signing_mode: mode.into(),
    };
    let change = proto::ChangeOutlet { fact: Some(fact), expected_version: version };
    cluster.execute(0, command::Command::ChangeOutlet(change)).await;
}

/// Sells until it is sold, whatever comes between; the answer.
async fn sell(host: &mut Host<TcpStream>, invoice: &str) -> String {
    let prepare = format!("TXN|PREPARE {invoice}");
    let selling = async {
        loop {
            let prepared = host.ask(&prepare).await;
            let Some(nonce) = field(&prepared, "nonce") else {
                if code(&prepared) == "REPLAY_DETECTED" {
                    // It was committed, and the answer was lost: the journal tells.
                    let number: u64 = prepared
                        .split("as number ")
                        .nth(1)
                        .and_then(|rest| rest.split(['"', ';', ' ']).next()?.parse().ok())
                        .unwrap_or_else(|| panic!("{prepared}"));
                    return format!("{{\"status\":\"OK\",\"invoice_seq\":{number}}}");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            loop {
                let sealed = host.commit(&nonce).await;
                match code(&sealed).as_str() {
                    "OK" => return sealed,
                    "UNAVAILABLE" | "DEVICE_BUSY" => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    _ => break,
                }
            }
        }
    };
    tokio::time::timeout(4 * LIMIT, selling).await.expect("it is sold in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_device_seals_is_in_the_ledger() {
    let mut shop = Shop::open(|link| Place::Pty(Some(link)), Faults::none()).await;
    let mut host = shop.host().await;
    for price in 1_000..1_003 {
        let sealed = sell(&mut host, &sale(price)).await;
        assert_eq!(
            field(&sealed, "fiscal_number").as_deref(),
            Some(&*format!("{REAL}-{}", price - 999))
        );
    }
    let log = host.ask("QRY|LOG 2").await;
    assert_eq!(code(&log), "OK", "{log}");
    assert_eq!(code(&host.ask("QRY|LOG 4").await), "NOT_FOUND");
    let dump = host.ask("ADM|DUMPLOG {\"format\":\"digest\"}").await;
    assert!(dump.contains("\"sequence\":3") && dump.contains("\"last\":true"), "{dump}");
    assert!(host.ask("RPT|X {\"period\":\"day\"}").await.contains("\"transaction_count\":3"));
    let outlet = shop.imported(3).await;
    assert_eq!((outlet.period.tally.invoices(), outlet.series.last), (3, 0));
    // An invoice of another outlet would never come into the ledger: it is not sealed.
    let foreign = sale(1_009).replace(OUTLET, "outlet-other");
    assert_eq!(code(&host.ask(&format!("TXN|PREPARE {foreign}")).await), "UNAUTHORIZED");
    // Nor does the device seal while the ledger does, and nothing is lost on the way.
    sealed_by(&shop.cluster, 2, proto::SigningMode::Cluster).await;
    let refused = |answer: &str| code(answer) == "UNAUTHORIZED";
    until(&mut host, &format!("TXN|PREPARE {}", sale(1_010)), refused).await;
    sealed_by(&shop.cluster, 3, proto::SigningMode::Def).await;
    let again = format!("TXN|PREPARE {}", sale(1_010));
    until(&mut host, &again, |answer| code(answer) == "OK").await;
    assert_eq!(sequence(&sell(&mut host, &sale(1_011)).await), 4);
    shop.imported(4).await;
    shop.stop_proxy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_during_a_commit_leaves_one_invoice_or_none() {
    let mut shop = Shop::open(|link| Place::Pty(Some(link)), Faults::none()).await;
    let mut price = 2_000;
    let mut sold = 0;
    for cut in ["before", "torn", "after"] {
        let mut host = shop.host().await;
        let invoice = sale(price);
        let nonce = host.prepare(&invoice).await;
        shop.device.control(&format!("cut-commit {cut} 200")).await;
        let answer = host.commit(&nonce).await;
        assert_eq!(code(&answer), "UNAVAILABLE", "{cut}: {answer}");
        let sealed = sell(&mut host, &invoice).await;
        sold += 1;
        assert_eq!(sequence(&sealed), sold, "{cut}");
        price += 1;
    }
    for fault in ["lose 1", "unplug"] {
        let mut host = shop.host().await;
        let invoice = sale(price);
        shop.device.control(fault).await;
        let asked = Instant::now();
        let answer = host.ask(&format!("TXN|PREPARE {invoice}")).await;
        assert_eq!(code(&answer), "UNAVAILABLE", "{fault}: {answer}");
        assert!(asked.elapsed() < Duration::from_secs(5), "{fault}: in its time");
        shop.device.control("plug").await;
        assert_eq!(sequence(&sell(&mut host, &invoice).await), sold + 1, "{fault}");
        sold += 1;
        price += 1;
    }
    // The proxy dies with a commit on its way; another one finds what became of it.
    let invoice = sale(price);
    let mut host = shop.host().await;
    let nonce = host.prepare(&invoice).await;
    shop.device.control("lose 1").await;
    let commit = format!("TXN|COMMIT {{\"nonce\":\"{nonce}\"}}");
    host.send(&fiscus_device_proxy::protocol::frame::framed(&commit, false)).await;
    let entries = async {
        while shop.device.control("entries").await != (sold + 1).to_string() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, entries).await.expect("the device has sealed");
    shop.kill_proxy().await;
    let mut host = shop.host().await;
    let told = until(&mut host, &commit, |answer| code(answer) == "OK").await;
    assert_eq!(sequence(&told), sold + 1);
    let outlet = shop.imported(sold + 1).await;
    assert_eq!(outlet.perpetual.invoices(), sold + 1);
    assert_eq!(shop.device.control("entries").await, (sold + 1).to_string());
    shop.stop_proxy().await;
}

/// The device goes on while nobody carries its journal, and its clock is anything.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_sealed_meanwhile_is_imported_later() {
    let free = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let mut shop = Shop::open(|_| Place::Tcp(free), Faults::none()).await;
    let mut host = shop.host().await;
    sell(&mut host, &sale(3_000)).await;
    shop.imported(1).await;
    shop.cluster.stop_node(1).await;
    shop.device.control("clock reset").await;
    for price in 3_001..3_006 {
        let sealed = sell(&mut host, &sale(price)).await;
        assert!(sealed.contains("\"timestamp\":\"1970-01-01"), "{sealed}");
    }
    shop.device.control("clock real").await;
    shop.cluster.start_node(1).await;
    let outlet = shop.imported(6).await;
    assert_eq!(outlet.perpetual.invoices(), 6);
    shop.stop_proxy().await;
    shop.device.stop().await;
    // The device comes back with its journal, and the ledger has all of it already.
    let place = Place::Tcp(free);
    let device = DefSim::start(device_config(&shop.folder, place, Faults::none())).await;
    assert_eq!(device.expect("it runs").entries(), 6);
}

/// Without a directory, what a terse device seals would be gone with the proxy: one sale tells, and no second one is begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_terse_device_needs_a_directory() {
    let faults = Faults::none().terse(true);
    let mut shop =
        Shop::open(|_| Place::Tcp("127.0.0.1:0".parse().expect("a place")), faults).await;
    shop.stop_proxy().await;
    let mut config = proxy_config(&shop.cluster, &shop.device, &shop.folder);
    config.devices[0].attach.as_mut().expect("it is a real one").invoices_dir = None;
    shop.proxy = Some(Proxy::start(config).await.expect("the proxy starts"));
    let mut host = shop.host().await;
    let log = sell(&mut host, &sale(1_000)).await;
    assert_eq!(sequence(&log), 1, "a new device's first sale tells what it is");
    let answer = host.ask(&format!("TXN|PREPARE {}", sale(1_001))).await;
    assert!(answer.contains("STORAGE_FULL") && answer.contains("invoices_dir"), "{answer}");
    shop.imported(1).await;
    shop.stop_proxy().await;
}

/// A device without memory seals nothing, whatever becomes of its power, and goes on once it has some.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_device_seals_nothing_until_it_has_room() {
    let mut shop = Shop::open(|link| Place::Pty(Some(link)), Faults::none()).await;
    let mut host = shop.host().await;
    sell(&mut host, &sale(1_000)).await;
    let prepared = host.prepare(&sale(1_001)).await;
    shop.device.control("memory 2048").await;
    assert_eq!(code(&host.commit(&prepared).await), "STORAGE_FULL", "prepared before");
    let prepare = format!("TXN|PREPARE {}", sale(1_002));
    for control in ["entries", "power-cut 1"] {
        shop.device.control(control).await;
        until(&mut host, &prepare, |answer| code(answer) == "STORAGE_FULL").await;
    }
    shop.device.control("memory 67108864").await;
    assert_eq!(sequence(&sell(&mut host, &sale(1_002)).await), 2, "only that is sealed");
    assert_eq!(shop.imported(2).await.perpetual.invoices(), 2);
    shop.stop_proxy().await;
}

/// A device that speaks nothing but the protocol does not tell invoices. Those that the proxy has seen come in, also after
/// it was killed; one that it has not is asked for, and everything goes on once it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_terse_device_stops_no_import_for_ever() {
    let faults = Faults::none().terse(true);
    let mut shop =
        Shop::open(|_| Place::Tcp("127.0.0.1:0".parse().expect("a place")), faults).await;
    let mut host = shop.host().await;
    let log = sell(&mut host, &sale(1_000)).await;
    assert_eq!(sequence(&log), 1);
    assert!(!host.ask("QRY|LOG 1").await.contains("\"invoice\""));
    shop.imported(1).await;
    // The proxy is killed with an invoice that is not in the ledger.
    shop.cluster.stop_node(1).await;
    let mut host = shop.host().await;
    assert_eq!(sequence(&sell(&mut host, &sale(1_001)).await), 2);
    shop.kill_proxy().await;
    shop.cluster.start_node(1).await;
    shop.imported(2).await;
    // Nobody here has seen this one: it is sealed at the device itself.
    let address = shop.device.address().expect("it is on TCP");
    shop.stop_proxy().await;
    let mut alone = Host::new(TcpStream::connect(address).await.expect("it is plugged in"));
    let invoice = sale(1_002);
    assert_eq!(sequence(&sell(&mut alone, &invoice).await), 3);
    drop(alone);
    shop.kill_proxy().await;
    let mut host = shop.host().await;
    assert_eq!(sequence(&sell(&mut host, &sale(1_003)).await), 4);
    // The import has seen the fourth entry, and says that it stands still before the third.
    shop.until_figures(&[("next_sequence", 5), ("imported_sequence", 2), ("import_stopped", 1)])
        .await;
    assert_eq!(shop.imported(2).await.device_series[REAL].last, 2, "it waits for a person");
    let hash = fiscus_ledger::hash::payload_hash(invoice.as_bytes());
    let name = format!("{}.json", fiscus_ledger::hash::hex(&hash));
    std::fs::write(shop.folder.path().join(name), invoice).expect("written");
    assert_eq!(shop.imported(4).await.device_series[REAL].last, 4);
    shop.until_figures(&[("imported_sequence", 4), ("import_stopped", 0)]).await;
}
