//! The time limits of the device protocol, measured at a real device proxy in front of a real cluster of processes: under
//! full load, with the majority of the nodes gone, and while it goes and comes back. And how long a revoked device goes on.
//!
//! ```sh
//! cargo bench -p fiscus-tools --bench device_limits               # 60 seconds each
//! cargo bench -p fiscus-tools --bench device_limits -- 300
//! cargo bench -p fiscus-tools --bench device_limits -- 60 revoked    # revocations only
//! ```
//!
//! Terminals prepare, commit and ask for the status without a pause. Two of three nodes are stopped (SIGSTOP: connections
//! stay and nobody answers, the worst that a network does) for the middle third of the time. Devices are revoked one by one,
//! calm and under load, before two proxies. It ends with an error when an answer came after its limit.

#[path = "../tools/tests/support/mod.rs"]
mod support;

#[path = "device_limits/revoked.rs"]
mod revoked;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fiscus_ledger::json::Value;
use fiscus_ledger::time::UnixMs;
use revoked::{EACH, Shops};
use support::{Demo, fresh, signal, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Hosts of the device.
const TERMINALS: u64 = 8;
/// Connections that seal through the gateway as fast as they can.
const SELLERS: u64 = 64;
/// A command and its limit.
const LIMITS: [(&str, Duration); 3] = [
    ("TXN|PREPARE", Duration::from_secs(5)),
    ("TXN|COMMIT", Duration::from_secs(5)),
    ("QRY|STATUS", Duration::from_secs(2)),
];
/// Between what a host measures and what the proxy does lie two wake-ups on a busy machine.
const SLACK: Duration = Duration::from_millis(50);

/// What was measured: by command, the times and how often each code came.
#[derive(Default)]
struct Measured {
    times: BTreeMap<&'static str, Vec<Duration>>,
    codes: BTreeMap<(&'static str, String), u64>,
}

impl Measured {
    fn note(&mut self, command: &'static str, took: Duration, answer: &str) {
        self.times.entry(command).or_default().push(took);
        let told = Value::parse(answer).expect("an answer is JSON");
        let code = match told.member("code") {
            Some(_) => text(&told, "code"),
            None => "OK".to_owned(),
        };
        *self.codes.entry((command, code)).or_default() += 1;
    }

    fn join(&mut self, other: Self) {
        for (command, times) in other.times {
            self.times.entry(command).or_default().extend(times);
        }
        for (code, count) in other.codes {
            *self.codes.entry(code).or_default() += count;
        }
    }

    /// Prints it; whether every answer was in time.
    fn print(mut self, what: &str) -> bool {
        println!("\n{what}");
        let mut in_time = true;
        for (command, limit) in LIMITS {
            let Some(times) = self.times.get_mut(command) else { continue };
            times.sort_unstable();
            let late = times.iter().filter(|took| **took > limit + SLACK).count();
            in_time &= late == 0;
            println!(
                "  {command:<12} {:>7} answers  {}  limit {limit:?}: {late} late",
                times.len(),
                percentiles(times)
            );
        }
        for ((command, code), count) in self.codes {
            println!("  {command:<12} {count:>7} {code}");
        }
        in_time
    }
}

/// Of times in their order.
fn percentiles(times: &[Duration]) -> String {
    let at = |of_1000: usize| times[(times.len() - 1) * of_1000 / 1_000];
    format!(
        "p50 {:>9.1?}  p99 {:>9.1?}  p99.9 {:>9.1?}  longest {:>9.1?}",
        at(500),
        at(990),
        at(999),
        at(1_000)
    )
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let seconds = arguments.next().map_or(60, |text| text.parse().expect("seconds"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let long = Duration::from_secs(seconds);
        if arguments.next().is_some_and(|word| word == "revoked") {
            let demo = Demo::start(&fresh("bench-device-revoked"));
            let in_time = revocations(&demo).await;
            demo.stop();
            return if in_time { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        let mut in_time = true;
        for offline in [true, false] {
            let dir = fresh(if offline { "bench-device-alone" } else { "bench-device" });
            let arguments: &[&str] = if offline { &["--offline"] } else { &[] };
            let demo = Demo::start_with(&dir, arguments);
            if offline {
                wait_for_numbers(&demo).await;
            }
            let with =
                if offline { "with numbers of its own" } else { "without numbers of its own" };
            in_time &= measure(&demo, long, false).await.print(&format!("a calm cluster, {with}"));
            let stop = Arc::new(AtomicBool::new(false));
            let sold = Arc::new(AtomicU64::new(0));
            let sellers = load(&demo, &stop, &sold);
            let loaded = measure(&demo, long, false).await;
            let rate = sold.load(Ordering::Relaxed) / seconds.max(1);
            stop.store(true, Ordering::Relaxed);
            finish(sellers).await;
            let what = format!("full load through the gateway ({rate} invoices a second), {with}");
            in_time &= loaded.print(&what);
            let what = format!("the majority stopped for the middle third, {with}");
            in_time &= measure(&demo, long, true).await.print(&what);
            if !offline {
                in_time &= revocations(&demo).await;
            }
            demo.stop();
        }
        if in_time { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}

/// Revokes devices, calm and under load; whether each revocation was heard in time.
async fn revocations(demo: &Demo) -> bool {
    let mut shops = Shops::open(demo, 2 * EACH).await;
    let calm = shops.revoke("devices are revoked while nothing else is done").await;
    let (stop, sold) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let sellers = load(demo, &stop, &sold);
    let loaded = shops.revoke("devices are revoked under full load").await;
    stop.store(true, Ordering::Relaxed);
    finish(sellers).await;
    calm && loaded
}

/// Waits until the device has been lent numbers.
async fn wait_for_numbers(demo: &Demo) {
    let mut host = Host::new(demo).await;
    let client = demo.client().await;
    drop(client);
    // The directory says so once its proxy has told; its status does when it is alone only.
    for _ in 0..600 {
        let (_, shown) = support::admin(&demo.dir, "devices show def-gombe-1 --json");
        if shown.contains("\"numbers_left\":1") {
            host.ask("QRY|STATUS").await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the device was lent no numbers");
}

/// Lets terminals sell for some time; the majority is stopped for the middle third of it, if it is to be.
async fn measure(demo: &Demo, long: Duration, cut: bool) -> Measured {
    let stop = Arc::new(AtomicBool::new(false));
    let sale = std::fs::read_to_string(demo.dir.join("device-proxy/sale.json")).unwrap();
    let mut terminals = JoinSet::new();
    for terminal in 0..TERMINALS {
        let host = Host::new(demo).await;
        terminals.spawn(sell(host, sale.clone(), terminal, Arc::clone(&stop)));
    }
    let third = long / 3;
    tokio::time::sleep(third).await;
    let pids: Vec<u32> = demo.pids().into_iter().take(2).map(|(_, pid)| pid).collect();
    if cut {
        pids.iter().for_each(|pid| signal("STOP", *pid));
    }
    tokio::time::sleep(third).await;
    if cut {
        pids.iter().for_each(|pid| signal("CONT", *pid));
    }
    tokio::time::sleep(third).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Measured::default();
    while let Some(one) = terminals.join_next().await {
        all.join(one.unwrap());
    }
    all
}

/// Prepares, commits and asks until it is told to stop.
async fn sell(mut host: Host, sale: String, terminal: u64, stop: Arc<AtomicBool>) -> Measured {
    let mut measured = Measured::default();
    let (before, rest) = sale.split_once("\"timestamp\":\"").expect("a sale has a time");
    let (_, after) = rest.split_once('"').expect("and it ends");
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        // Of documents from before its spool began nobody remembers what became: a till seals later ones only.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let authored = UnixMs::new(u64::try_from(now).unwrap() + 3_600_000);
        let invoice = format!("{before}\"timestamp\":\"{authored}\"{after}")
            .replace("MP261120.0815.C77", &format!("B{terminal}.{count}.{now}"));
        let prepared = host.timed("TXN|PREPARE", &invoice, &mut measured).await;
        let told = Value::parse(&prepared).unwrap();
        if told.member("nonce").is_some() {
            let nonce = format!("{{\"nonce\":\"{}\"}}", text(&told, "nonce"));
            host.timed("TXN|COMMIT", &nonce, &mut measured).await;
        }
        host.timed("QRY|STATUS", "", &mut measured).await;
    }
    measured
}

/// One connection to the device.
struct Host {
    stream: TcpStream,
}

impl Host {
    async fn new(demo: &Demo) -> Self {
        let stream = TcpStream::connect(&demo.device.addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    async fn timed(
        &mut self,
        command: &'static str,
        payload: &str,
        measured: &mut Measured,
    ) -> String {
        let begun = Instant::now();
        let answer = self.ask(&format!("{command} {payload}")).await;
        measured.note(command, begun.elapsed(), &answer);
        answer
    }

    async fn ask(&mut self, body: &str) -> String {
        self.stream.write_all(format!("\u{2}{body}\u{3}").as_bytes()).await.unwrap();
        let (mut answer, mut buffer) = (Vec::new(), vec![0; 4_096]);
        while !answer.ends_with(&[3]) {
            let read = self.stream.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "the device hung up");
            answer.extend_from_slice(&buffer[..read]);
        }
        let text = String::from_utf8(answer).unwrap();
        text.trim_matches(['\u{2}', '\u{3}']).to_owned()
    }
}

/// Seals through the gateway as fast as the cluster does.
fn load(demo: &Demo, stop: &Arc<AtomicBool>, sold: &Arc<AtomicU64>) -> JoinSet<()> {
    let mut sellers = JoinSet::new();
    let sale = std::fs::read_to_string(demo.dir.join("sale.json")).unwrap();
    for seller in 0..SELLERS {
        let (stop, sold) = (Arc::clone(stop), Arc::clone(sold));
        let call = demo.ask("POST", "/api/v1/invoices");
        let sale = sale.clone();
        sellers.spawn(async move {
            let mut count = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                let key = format!("load-{seller}-{count}");
                let call = call.clone().idempotent(&key).body("application/json", sale.clone());
                if call.try_send().await.is_ok_and(|answer| answer.status == 201) {
                    sold.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    sellers
}

async fn finish(mut sellers: JoinSet<()>) {
    while let Some(ended) = sellers.join_next().await {
        ended.unwrap();
    }
}
