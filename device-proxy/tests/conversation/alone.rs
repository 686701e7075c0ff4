//! A shop whose cluster goes and comes back: it goes on selling, and nothing is lost or doubled.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use fiscus_device_proxy::Proxy;
use fiscus_device_proxy::config::{OfflineSection, ProxyConfig};
use fiscus_device_proxy::protocol::frame::framed;
use fiscus_ledger::time::UnixMs;
use tokio::net::TcpStream;

use super::cluster::{Cluster, LIMIT, TERMINAL};
use super::host::{Host, code, field, sequence, until};
use super::world::{
    CODE, DEVICE, config, dgi, init, register, register_authority_key, sale_of, signed_time, told,
};

/// A shop with a box that has a disk.
struct Shop {
    cluster: Cluster,
    dir: tempfile::TempDir,
    proxy: Option<Proxy>,
}

fn offline(dir: &Path) -> OfflineSection {
    let secret = dir.join("passphrase");
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&secret);
    std::io::Write::write_all(&mut file.expect("a file"), b"correct horse battery").expect("text");
    OfflineSection::minimal(dir.join("till"), secret, vec![TERMINAL.to_owned()])
}

impl Shop {
    async fn open() -> Self {
        let cluster = Cluster::start(1).await;
        register(&cluster, DEVICE, CODE).await;
        let dir = tempfile::tempdir().expect("a directory");
        let mut shop = Self { cluster, dir, proxy: None };
        shop.start().await;
        until(&mut shop.host().await, "QRY|STATUS", |answer| code(answer) == "OK").await;
        assert_eq!(code(&shop.host().await.ask(&init(CODE)).await), "OK");
        shop.until_state("online", |told| !told.contains("\"numbers_left\":0,")).await;
        shop
    }

    fn config(&self) -> ProxyConfig {
        let mut config = config(&self.cluster);
        config.devices[0].offline = Some(offline(self.dir.path()));
        config
    }

    async fn start(&mut self) {
        self.proxy = Some(Proxy::start(self.config()).await.expect("the proxy starts"));
    }

    /// The box loses its power, and gets it back.
    async fn cut_the_power(&mut self) {
        drop(self.proxy.take());
        let starting = async {
            loop {
                // The old one's tasks may hold the directory for a moment.
                match Proxy::start(self.config()).await {
                    Ok(proxy) => return proxy,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        self.proxy = Some(tokio::time::timeout(LIMIT, starting).await.expect("it starts in time"));
    }

    fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("it runs")
    }

    async fn host(&self) -> Host<TcpStream> {
        let address = self.proxy().address(DEVICE).expect("it listens");
        Host::new(TcpStream::connect(address).await.expect("it is accepted"))
    }

    /// What the admin listener says.
    async fn told(&self, path: &str) -> String {
        told(self.proxy(), path).await
    }

    async fn until_state(&self, state: &str, wanted: impl Fn(&str) -> bool) -> String {
        let looking = async {
            loop {
                let told = self.told("/offline").await;
                if told.contains(&format!("\"state\":\"{state}\"")) && wanted(&told) {
                    return told;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(LIMIT, looking).await.unwrap_or_else(|_| panic!("never {state}"))
    }
}

/// A sale authored after the spool began, and its own minute apart from others.
fn sale(at: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = u64::try_from(now.expect("after 1970").as_millis()).expect("a time");
    sale_of(1_000 + at, UnixMs::new(now + 3_600_000 + at))
}

/// Whether a log entry tells the hash of an invoice, as a register knows it.
fn tells_hash_of(entry: &str, invoice: &str) -> bool {
    let hash = fiscus_ledger::hash::hex(&fiscus_ledger::hash::payload_hash(invoice.as_bytes()));
    entry.contains(&format!("\"payload_hash\":\"{hash}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_sells_on_while_the_cluster_is_away() {
    let mut shop = Shop::open().await;
    let mut host = shop.host().await;
    // Prepared with the cluster, and the cluster goes: this one waits for it.
    let (with, parked) = (sale(1), sale(2));
    let sold = host.sell(&with).await;
    let nonce = host.prepare(&parked).await;
    shop.cluster.stop_node(1).await;
    let began = Instant::now();
    let told = host.commit(&nonce).await;
    assert_eq!(code(&told), "UNAVAILABLE", "{told}");
    assert!(began.elapsed() < Duration::from_secs(5), "in its time");

    // Others are sold, each within its time.
    let alone = sale(3);
    let began = Instant::now();
    let nonce = host.prepare(&alone).await;
    let sealed = host.commit(&nonce).await;
    assert_eq!(code(&sealed), "OK", "{sealed}");
    assert!(began.elapsed() < Duration::from_secs(10), "in its time");
    let qr = field(&sealed, "qr_payload").expect("a QR code");
    assert!(qr.contains("&cr="), "the paper carries the credential");
    let told = shop.until_state("offline", |_| true).await;
    assert!(told.contains("\"lamp\":\"amber\"") && told.contains("\"waiting\":1"), "{told}");
    let replayed = host.ask(&format!("TXN|PREPARE {with}")).await;
    assert_eq!(
        (code(&replayed), field(&replayed, "reason")),
        ("UNAVAILABLE".to_owned(), Some("OUTCOME_UNKNOWN".to_owned())),
        "what the cluster has sealed is not sealed again"
    );

    // The box loses its power: the same nonce, the same seal; the log tells it.
    shop.cut_the_power().await;
    let mut host = shop.host().await;
    assert_eq!(host.commit(&nonce).await, sealed);
    let number = sequence(&sealed);
    let entry = host.ask(&format!("QRY|LOG {number}")).await;
    assert!(entry.contains("\"record_type\":\"offline_sale\""), "{entry}");
    assert!(tells_hash_of(&entry, &alone), "the hash of what was sent: {entry}");
    assert_eq!(code(&host.ask(&format!("QRY|LOG {}", number + 1)).await), "NOT_FOUND");
    let status = host.ask("QRY|STATUS").await;
    assert!(status.contains(&format!("\"next_invoice_seq\":{}", number + 1)), "{status}");
    let again = host.ask(&format!("TXN|PREPARE {alone}")).await;
    assert_eq!(code(&again), "REPLAY_DETECTED");
    host.sell(&sale(4)).await;

    // The cluster is back: it gets what was sold, and seals what was parked.
    shop.cluster.start_node(1).await;
    shop.until_state("online", |told| told.contains("\"waiting\":0")).await;
    let entry = until(&mut host, &format!("QRY|LOG {number}"), |answer| code(answer) == "OK").await;
    let recorded = entry.contains("\"position\":") && !entry.contains("\"position\":null");
    assert!(recorded && tells_hash_of(&entry, &alone), "the same in the ledger: {entry}");
    assert_eq!(host.commit(&nonce).await, sealed, "still the same");
    let late =
        until(&mut host, &format!("TXN|PREPARE {parked}"), |answer| code(answer) != "UNAVAILABLE")
            .await;
    if code(&late) == "OK" {
        let nonce = field(&late, "nonce").expect("a nonce");
        assert_eq!(code(&host.commit(&nonce).await), "OK");
    } else {
        assert_eq!(code(&late), "REPLAY_DETECTED");
    }
    assert_eq!(code(&host.ask(&format!("TXN|PREPARE {with}")).await), "REPLAY_DETECTED");
    assert_ne!(sold, number);
    let metrics = shop.told("/metrics").await;
    assert!(
        metrics.contains("fiscus_proxy_offline_state{device=\"def-gombe-1\",state=\"online\"} 1")
    );
    assert!(metrics.contains("fiscus_proxy_offline_refused{device=\"def-gombe-1\"} 0"));
}

/// What is sealed into a spool that somebody has taken away would be gone with the process: nothing is, until it is back.
/// One that was gone when the box started is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_taken_away_is_noticed() {
    let mut shop = Shop::open().await;
    let spool = shop.dir.path().join("till/spool");
    let away = shop.dir.path().join("away");
    let mut host = shop.host().await;
    shop.cluster.stop_node(1).await;
    let first = host.sell(&sale(1)).await;
    std::fs::rename(&spool, &away).expect("it is taken away");
    let told = host.ask(&format!("TXN|PREPARE {}", sale(2))).await;
    assert_eq!(field(&told, "reason").as_deref(), Some("OFFLINE_SPOOL_BROKEN"), "{told}");
    shop.until_state("blocked", |told| told.contains("OFFLINE_SPOOL_BROKEN")).await;
    // Another file in its place is not the spool either.
    std::fs::copy(&away, &spool).expect("a copy");
    let told = host.ask(&format!("TXN|PREPARE {}", sale(2))).await;
    assert_eq!(field(&told, "reason").as_deref(), Some("OFFLINE_SPOOL_BROKEN"), "{told}");
    std::fs::rename(&away, &spool).expect("it is put back");
    assert_eq!(host.sell(&sale(2)).await, first + 1, "it goes on");
    shop.until_state("offline", |told| told.contains("\"damages\":0")).await;

    std::fs::remove_file(&spool).expect("it is deleted");
    shop.cut_the_power().await;
    shop.until_state("blocked", |told| told.contains("\"damages\":1")).await;
    let told = shop.host().await.ask(&format!("TXN|PREPARE {}", sale(3))).await;
    assert_eq!(code(&told), "UNAVAILABLE", "{told}");
    // With the cluster it is lent other numbers; those that are lost are not given out again.
    shop.cluster.start_node(1).await;
    shop.until_state("online", |told| !told.contains("\"numbers_left\":0,")).await;
    shop.cluster.stop_node(1).await;
    let mut host = shop.host().await;
    let sold =
        until(&mut host, &format!("TXN|PREPARE {}", sale(4)), |told| code(told) == "OK").await;
    let nonce = field(&sold, "nonce").expect("a nonce");
    assert!(sequence(&host.commit(&nonce).await) > first + 1);
}

/// The tax authority's key is the ledger's: while that is away, the one that was heard last, after a power cut as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_time_is_compared_while_the_cluster_is_away() {
    let (past, future) = ("2001-01-01T00:00:00.000Z", "9000-01-01T00:00:00.000Z");
    let next = SigningKey::from_bytes(&[8; 32]);
    let mut shop = Shop::open().await;
    let mut host = shop.host().await;
    let refused = host.ask(&signed_time(future, &dgi())).await;
    assert_eq!(code(&refused), "UNAUTHORIZED", "{refused}");
    register_authority_key(&shop.cluster, &dgi(), 0).await;
    assert_eq!(code(&host.ask(&signed_time(future, &dgi())).await), "OK", "at once");
    let kept = shop.dir.path().join("till/tax-authority-key");
    let keeping = async {
        while !kept.exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, keeping).await.expect("it is kept in time");

    shop.cluster.stop_node(1).await;
    for _ in 0..2 {
        let mut host = shop.host().await;
        let began = Instant::now();
        let told = host.ask(&signed_time(future, &dgi())).await;
        assert_eq!(code(&told), "OK", "{told}");
        assert!(began.elapsed() < Duration::from_secs(5), "in its time");
        let told = host.ask(&signed_time(past, &dgi())).await;
        assert_eq!(code(&told), "CLOCK_ROLLBACK_DETECTED", "{told}");
        assert_eq!(code(&host.ask(&signed_time(future, &next)).await), "UNAUTHORIZED");
        shop.cut_the_power().await;
    }

    // Another key takes its place: from then on it alone counts.
    shop.cluster.start_node(1).await;
    shop.until_state("online", |_| true).await;
    register_authority_key(&shop.cluster, &next, 1).await;
    let mut host = shop.host().await;
    until(&mut host, &signed_time(future, &next), |answer| code(answer) == "OK").await;
    assert_eq!(code(&host.ask(&signed_time(future, &dgi())).await), "UNAUTHORIZED");
}

const CUTS: u64 = 90;

/// The box is cut off at any moment of a sale, and the cluster comes and goes: each sale is there once.
#[tokio::test(flavor = "multi_thread")]
async fn power_cuts_while_the_cluster_comes_and_goes() {
    let mut shop = Shop::open().await;
    let mut chance = 0x2545_f491_4f6c_dd1d_u64;
    let mut sold = std::collections::BTreeMap::new();
    let mut parked = Vec::new();
    for round in 0..CUTS {
        match round % 30 {
            10 => shop.cluster.stop_node(1).await,
            25 => shop.cluster.start_node(1).await,
            _ => {}
        }
        let invoice = sale(10 + round);
        let mut host = shop.host().await;
        let prepared = host.ask(&format!("TXN|PREPARE {invoice}")).await;
        let Some(nonce) = field(&prepared, "nonce") else {
            parked.push(invoice);
            continue;
        };
        host.send(&framed(&format!("TXN|COMMIT {{\"nonce\":\"{nonce}\"}}"), false)).await;
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        tokio::time::sleep(Duration::from_micros(chance % 15_000)).await;
        if round % 3 == 0 {
            shop.cut_the_power().await;
        }
        let mut host = shop.host().await;
        let answer = host.commit(&nonce).await;
        if code(&answer) == "OK" {
            assert_eq!(sold.insert(sequence(&answer), invoice), None, "no number twice");
        } else {
            parked.push(invoice);
        }
    }
    // It ends with the cluster there.
    shop.until_state("online", |told| told.contains("\"waiting\":0")).await;
    let mut host = shop.host().await;
    for invoice in parked {
        let prepared = until(&mut host, &format!("TXN|PREPARE {invoice}"), |answer| {
            code(answer) != "UNAVAILABLE"
        })
        .await;
        if let Some(nonce) = field(&prepared, "nonce") {
            let answer = host.commit(&nonce).await;
            assert_eq!(sold.insert(sequence(&answer), invoice), None, "no number twice");
        } else {
            assert_eq!(code(&prepared), "REPLAY_DETECTED", "{prepared}");
        }
    }
    // Every number that was answered is in the journal, and no invoice is there twice.
    let mut payloads = std::collections::BTreeSet::new();
    for number in sold.keys() {
        let entry =
            until(&mut host, &format!("QRY|LOG {number}"), |answer| code(answer) == "OK").await;
        let (_, rest) = entry.split_once("\"payload_hash\":\"").expect("a hash");
        assert!(payloads.insert(rest[..64].to_owned()), "no sale twice");
    }
    let told = shop.told("/offline").await;
    assert!(told.contains("\"refused\":0") && told.contains("\"damages\":0"), "{told}");
}
