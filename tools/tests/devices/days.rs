//! Three days without the cluster, with real processes: a proxy that sells under lent numbers and is killed again and
//! again while its wall clock goes on by 72 hours, and a node and a gateway whose clocks are there afterwards. The
//! wall clock is libfaketime's; what the machine says of its own running time is real.

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::{Signer, SigningKey};
use fiscus_device_proxy::config::OfflineSection;
use fiscus_device_proxy::protocol::frame::framed;
use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::credential::Credential;
use fiscus_ledger::hash::{Hash32, hex};
use fiscus_ledger::invoice::parse_strict;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::offline::{NextSeal, SealedOffline};
use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::ClusterClient;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::host::{code, field};
use super::lane::{Dice, Fate, Lane, Plan, Tally, Way};
use super::shop::{Invoice, ProxyProcess, config, recorded, register, sale};
use super::support::gateway::{Beside, call};
use super::support::processes::{Processes, with_fake_time};
use super::support::{Demo, NodeAt, client, fresh, history};

const SHOP: (&str, &str) = ("def-days", "outlet-limete");
const LOST: (&str, &str) = ("def-lost", "outlet-ngaliema");
const TILL: &str = "till-1";
const NUMBERS: u64 = 500;
const LOST_NUMBERS: u64 = 10;
/// The proxy is killed after each.
const STEPS: u64 = 12;
const STEP_HOURS: u64 = 6;
/// The cluster is back.
const BACK_HOURS: u64 = 73;
/// The credentials' 72 hours and their grace of 72 hours are over.
const CLOSED_HOURS: u64 = 146;
const HOUR_MS: u64 = 3_600_000;
const LIMIT: Duration = Duration::from_secs(90);

/// The wall clock of a process: the machine's, so many hours ahead.
#[derive(Clone)]
struct FakeClock(PathBuf);

impl FakeClock {
    fn says(&self, ahead: &str) {
        // At once, so that it is never read half written.
        let next = self.0.with_extension("next");
        std::fs::write(&next, format!("{ahead}\n")).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }

    fn program(&self) -> Command {
        let mut program = with_fake_time();
        program.env("FAKETIME_TIMESTAMP_FILE", &self.0).env("FAKETIME_NO_CACHE", "1");
        program
    }
}

/// Now, and so many hours.
fn ahead(hours: u64) -> UnixMs {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMs::new(u64::try_from(now.as_millis()).unwrap() + hours * HOUR_MS)
}

/// A device that can sell alone, online, with its numbers lent; its spool, and its clock.
async fn open(
    demo: &Demo,
    (id, outlet): (&str, &str),
    numbers: u64,
) -> (ProxyProcess, PathBuf, FakeClock) {
    let dir = demo.dir.join(format!("{id}-till"));
    let secret = demo.dir.join(format!("{id}-passphrase"));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&secret).unwrap();
    std::io::Write::write_all(&mut file, b"correct horse battery").unwrap();
    let mut config = config(&demo.dir, &demo.nodes, id);
    config.devices[0].offline = Some(OfflineSection {
        numbers,
        low_numbers: 0,
        low_hours: 0,
        ..OfflineSection::minimal(dir.clone(), secret, vec![TILL.to_owned()])
    });
    let clock = FakeClock(demo.dir.join(format!("{id}-clock")));
    clock.says("+0h");
    let activation_code = register(&demo.dir, id, outlet);
    let program = clock.clone();
    let proxy = ProxyProcess::start_as(&demo.dir, &config, move || program.program());
    proxy.activate(&activation_code, &[9; 32]).await;
    until_state(&proxy, "online", &format!("\"numbers_left\":{numbers},")).await;
    (proxy, dir, clock)
}

async fn until_state(proxy: &ProxyProcess, state: &str, told: &str) {
    let state = format!("\"state\":\"{state}\"");
    let looking = async {
        loop {
            let said = call(proxy.admin, "GET", "/offline").try_send().await;
            if said.is_ok_and(|said| said.text().contains(&state) && said.text().contains(told)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, looking).await.unwrap_or_else(|_| panic!("never {state} {told}"));
}

fn lane(proxy: &ProxyProcess) -> Lane {
    let (_never, killed) = watch::channel(0);
    Lane::new(Way::Tcp(proxy.address), 1, Tally::default(), killed)
}

async fn sold(proxy: &ProxyProcess, invoice: &Invoice) -> u64 {
    match lane(proxy).sell(invoice, Plan::default()).await {
        Fate::Sealed(number) => number,
        other => panic!("{}: {other:?}", invoice.mark),
    }
}

/// What a sale is answered while the clock lies before a time that has passed.
async fn is_set_back(proxy: &ProxyProcess, hours: u64) {
    let body = format!("TXN|PREPARE {}", sale(SHOP.1, "set-back", ahead(hours)).text);
    let mut host = proxy.host().await;
    super::host::until(&mut host, &body, |answer| code(answer) == "CLOCK_ROLLBACK_DETECTED").await;
    until_state(proxy, "blocked", "CLOCK_ROLLBACK").await;
}

/// Sells all numbers in 72 hours; what has which number.
async fn three_days(proxy: &mut ProxyProcess, clock: &FakeClock) -> BTreeMap<u64, Invoice> {
    let mut sales = BTreeMap::new();
    let mut dice = Dice::new(72);
    for step in 0..STEPS {
        let hours = 1 + step * STEP_HOURS;
        if step % 4 == 2 {
            // The proxy is started while the clock is wrong.
            clock.says(&format!("+{}h", hours - STEP_HOURS - 2));
            proxy.restart();
            is_set_back(proxy, hours).await;
        }
        clock.says(&format!("+{hours}h"));
        proxy.restart();
        let last = NUMBERS * (step + 1) / STEPS;
        while (sales.len() as u64) < last {
            let invoice = sale(SHOP.1, &format!("days-{}", sales.len()), ahead(hours));
            if sales.len() as u64 + 1 == last {
                // The power goes with a commit on its way.
                let mut host = proxy.host().await;
                let prepared = format!("TXN|PREPARE {}", invoice.text);
                let ok = |answer: &str| code(answer) == "OK";
                let told = super::host::until(&mut host, &prepared, ok).await;
                let nonce = field(&told, "nonce").unwrap();
                let commit = format!("TXN|COMMIT {{\"nonce\":\"{nonce}\"}}");
                host.send(&framed(&commit, false)).await;
                tokio::time::sleep(Duration::from_micros(dice.below(6_000))).await;
                proxy.restart();
            }
            let number = sold(proxy, &invoice).await;
            assert!(sales.insert(number, invoice).is_none(), "{number} was given twice");
        }
        if step % 4 == 1 {
            // Somebody sets the clock back while the proxy runs, and right again.
            clock.says(&format!("+{}h", hours - 3));
            is_set_back(proxy, hours).await;
            clock.says(&format!("+{hours}h"));
        }
    }
    let hours = 1 + (STEPS - 1) * STEP_HOURS;
    let more = format!("TXN|PREPARE {}", sale(SHOP.1, "one too many", ahead(hours)).text);
    let told = proxy.host().await.ask(&more).await;
    assert_eq!(field(&told, "reason").as_deref(), Some("OFFLINE_NUMBERS_USED_UP"), "{told}");
    sales
}

/// A terminal of somebody's own, whose numbers were lent through the gateway.
struct Forger {
    key: SigningKey,
    credential: Credential,
}

impl Forger {
    const OUTLET: &str = "outlet-gombe";

    async fn lend(demo: &Demo) -> Self {
        let key = SigningKey::from_bytes(&[42; 32]);
        let public_key = encode_standard(key.verifying_key().as_bytes());
        let body = json!({
            "outlet_id": Self::OUTLET, "pos_terminal_id": TILL, "public_key": public_key,
            "numbers": 5, "hours": 12,
        });
        let call = demo.ask("POST", "/api/v1/credentials").idempotent("forger").json(&body);
        let lent = call.send().await.expect(201).json();
        let credential = Credential::from_compact(lent["credential"].as_str().unwrap()).unwrap();
        Self { key, credential }
    }

    fn seal(&self, place: u64, prev_hash: Hash32, timestamp: UnixMs, mark: &str) -> SealedOffline {
        let invoice = sale(Self::OUTLET, mark, timestamp);
        let manifest = Manifest::builtin();
        let invoice = parse_strict(invoice.text.as_bytes(), &manifest).unwrap();
        let credential = &self.credential;
        let next = NextSeal { credential, place, prev_hash, timestamp, blind: [9; 32] };
        let sign = |hash: &Hash32| self.key.sign(hash).to_bytes();
        next.seal("verify.example.cd", &invoice, sign).unwrap()
    }
}

fn body(sealed: &[&SealedOffline]) -> String {
    let seals: Vec<String> = sealed
        .iter()
        .map(|sealed| {
            let seal = &sealed.seal;
            let body = json!({
                "credential_id": &*seal.credential_id,
                "place": seal.place,
                "timestamp": seal.timestamp.to_string(),
                "blind": hex(&seal.blind),
                "prev_hash": hex(&seal.prev_hash),
                "signature": hex(&seal.signature),
                "invoice": "INVOICE",
            });
            // The invoice's own bytes: another order of its members is another invoice.
            let invoice = std::str::from_utf8(&seal.invoice).unwrap();
            body.to_string().replace("\"INVOICE\"", invoice)
        })
        .collect();
    format!(r#"{{"outlet_id":"{}","seals":[{}]}}"#, Forger::OUTLET, seals.join(","))
}

async fn alerts(node: &NodeAt) -> u64 {
    let admin = node.admin.trim_start_matches("http://").parse().unwrap();
    let told = call(admin, "GET", "/metrics").send().await.text();
    let line = told.lines().find(|line| line.starts_with("fiscus_alerts_total")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// A forger, a thief and somebody with an old credential deliver to the gateway: nothing of it is taken, and people
/// hear of it.
async fn what_is_not_genuine(gateway: &Beside, node: &NodeAt, api_key: &str, forger: &Forger) {
    let terms = forger.credential.terms();
    let (began, first) = (UnixMs::new(terms.not_before_ms), terms.block_entry_hash);
    let good = forger.seal(1, first, began, "genuine");
    let mut forged = good.clone();
    forged.seal.signature[0] ^= 1;
    let mut beyond = good.clone();
    beyond.seal.place = terms.last - terms.first + 2;
    let expired = {
        // The library seals nothing that late; its time is changed and signed again.
        let mut late = forger.seal(1, first, began, "expired");
        late.seal.timestamp = UnixMs::new(terms.not_after_ms + 1);
        let manifest = Manifest::builtin();
        let invoice = parse_strict(&late.seal.invoice, &manifest).unwrap();
        let number = format!("{}-{}", terms.prefix, terms.first);
        let hash = late.seal.entry_hash(Forger::OUTLET, &number, &invoice);
        late.seal.signature = forger.key.sign(&hash).to_bytes();
        late
    };
    let twice = forger.seal(1, first, began, "another in its place");
    let before = alerts(node).await;
    let sent = [&forged, &beyond, &expired, &good, &good, &twice];
    let answer = call(gateway.address, "POST", "/api/v1/invoices/reconcile")
        .bearer(api_key)
        .body("application/json", body(&sent))
        .send()
        .await
        .expect(200);
    let told = answer.json();
    let outcomes: Vec<&str> = told["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["problem"]["code"].as_str().or(one["outcome"].as_str()).unwrap())
        .collect();
    let expected = [
        "OFFLINE_SIGNATURE_INVALID",
        "OFFLINE_OUT_OF_BLOCK",
        "OFFLINE_OUT_OF_TIME",
        "appended",
        "already_appended",
        "OFFLINE_SLOT_CONFLICT",
    ];
    assert_eq!(outcomes, expected, "{told}");
    assert_eq!(alerts(node).await - before, 4, "each refusal is an alert");
}

/// What was sold alone is in the ledger, each under its number, as the kind that it is.
async fn is_reconciled(
    client: &ClusterClient,
    gateway: &Beside,
    key: &str,
    sales: &BTreeMap<u64, Invoice>,
) {
    let known = recorded(client, SHOP.1).await;
    for (number, invoice) in sales {
        assert_eq!(known[&invoice.mark], [*number], "{}", invoice.mark);
    }
    assert_eq!(known.len(), sales.len(), "and nothing else");
    let mut offline = 0;
    for stored in history::journal(client, 1).await {
        let record = Record::decode(&stored.record).unwrap();
        if record.outlet_id == SHOP.1 && record.kind.as_str() == "offline_sale" {
            offline += 1;
        }
    }
    assert_eq!(offline, sales.len(), "each was sealed alone");
    let number = sales.keys().nth(250).unwrap();
    let path = format!("/api/v1/invoices/KIN-LIMETE-{number}");
    let read = call(gateway.address, "GET", &path).bearer(key).send().await.expect(200).json();
    assert!(read["offline"]["auth_code"].is_string(), "{read}");
    let status = status(gateway, key, SHOP.1).await;
    assert_eq!(status["missing_numbers"]["ranges"], json!([]), "{status}");
}

async fn status(gateway: &Beside, key: &str, outlet: &str) -> Value {
    let path = format!("/api/v1/outlets/{outlet}/status");
    call(gateway.address, "GET", &path).bearer(key).send().await.expect(200).json()
}

fn start(nodes: &mut Processes, hours: u64) {
    for id in nodes.ids() {
        let mut program = with_fake_time();
        program.env("FAKETIME", format!("+{hours}h"));
        nodes.start_as(id, program);
    }
}

fn fake_gateway() -> Command {
    let mut program = with_fake_time();
    program.env("FAKETIME", format!("+{BACK_HOURS}h"));
    program
}

/// The numbers of a spool that was deleted are flagged when the grace of their credential is over.
async fn is_flagged(client: &ClusterClient, dir: &Path) {
    let flagged = async {
        loop {
            for stored in history::journal(client, 1).await {
                let record = Record::decode(&stored.record).unwrap();
                if record.outlet_id == LOST.1 && record.kind == RecordKind::NumbersMissing {
                    return String::from_utf8(record.payload.to_vec()).unwrap();
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let said = tokio::time::timeout(LIMIT, flagged).await.expect("they are flagged");
    let told: Value = serde_json::from_str(&said).unwrap();
    let (first, last) = (told["missing"][0][0].as_u64(), told["missing"][0][1].as_u64());
    assert_eq!(first.zip(last).map(|(first, last)| last + 1 - first), Some(LOST_NUMBERS), "{said}");
    assert!(!dir.exists(), "nothing was left of the spool");
    println!("flagged: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seventy_two_hours_alone_and_everything_is_reconciled() {
    let demo = Demo::start_with(&fresh("device-days"), &["--nodes", "1"]);
    let (mut shop, _, clock) = open(&demo, SHOP, NUMBERS).await;
    let (mut lost, spool, lost_clock) = open(&demo, LOST, LOST_NUMBERS).await;
    let forger = Forger::lend(&demo).await;
    let api_key = demo.api_key.clone();
    // The cluster goes.
    let mut nodes = Processes::of(demo);
    lost_clock.says("+1h");
    lost.restart();
    for at in 0..3 {
        sold(&lost, &sale(LOST.1, &format!("lost-{at}"), ahead(1))).await;
    }
    lost.kill();
    std::fs::remove_dir_all(&spool).unwrap();
    let sales = three_days(&mut shop, &clock).await;
    println!("{} sales in {} simulated hours, {STEPS} power cuts", sales.len(), STEPS * STEP_HOURS);

    // It is back three days later.
    start(&mut nodes, BACK_HOURS);
    nodes.listening().await;
    clock.says(&format!("+{BACK_HOURS}h"));
    shop.restart();
    until_state(&shop, "online", "\"waiting\":0,").await;
    let later = client(&nodes.dir, &nodes.nodes).await;
    let mut gateway = Beside::start_as(&nodes.dir, fake_gateway).await;
    is_reconciled(&later, &gateway, &api_key, &sales).await;
    what_is_not_genuine(&gateway, nodes.node(1), &api_key, &forger).await;
    let mut host = shop.host().await;
    for (number, invoice) in sales.iter().step_by(50) {
        let again = host.ask(&format!("TXN|PREPARE {}", invoice.text)).await;
        assert_eq!(code(&again), "REPLAY_DETECTED");
        assert!(again.contains(&format!("KIN-LIMETE-{number};")), "{again}");
        let entry = host.ask(&format!("QRY|LOG {number}")).await;
        assert!(entry.contains("\"record_type\":\"offline_sale\""), "{entry}");
    }
    gateway.kill();
    shop.kill();
    nodes.stop(1).await;

    // And the grace of what was lent to the lost spool is over.
    start(&mut nodes, CLOSED_HOURS);
    nodes.listening().await;
    let last = client(&nodes.dir, &nodes.nodes).await;
    is_flagged(&last, &spool).await;
    nodes.stop_all().await;
}
