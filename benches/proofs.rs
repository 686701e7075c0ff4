//! What proofs cost in a log of a million leaves, and with a hundred thousand outlets: times beside a plain read of an
//! invoice, sizes, an outlet's whole journal exported and verified. Against a real cluster, through its gateway.
//!
//! ```sh
//! cargo bench -p fiscus-tools --bench proofs -- RECORDS OUTLETS
//! cargo bench -p fiscus-tools --bench proofs -- 1000000 100000
//! ```
//!
//! `FISCUS_PROOFS_KEEP` in the environment leaves the cluster's directory behind.

#[path = "../tools/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fiscus_proto::client::{Answer, ClusterClient};
use fiscus_proto::command::{self as proto, command};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use support::gateway::{LIMIT, call};
use support::load::{sell, sell_in};
use support::{Demo, admin, fiscus, fresh};

const OUTLET: &str = "outlet-gombe";
/// An outlet with a few sales.
const QUIET: &str = "outlet-limete";
const MERCHANT: &str = "A1234567B";
/// Terminals that fill the log.
const FILLERS: u64 = 256;
/// How often each question is asked; they take turns.
const ROUNDS: usize = 2_000;
const PAUSE: Duration = Duration::from_millis(100);
/// The log is signed and its heads are kept within this time.
const SIGNED_WAIT: Duration = Duration::from_secs(120);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let count = |at: usize, fallback: u64| {
        arguments.get(at).map_or(fallback, |text| text.parse().expect("a count"))
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(count(0, 100_000), count(1, 10_000)));
}

async fn measure(records: u64, outlets: u64) {
    let demo = Demo::start(&fresh("bench-proofs"));
    let client = demo.client().await;
    let taken = fill(&client, records).await;
    println!("{records} records of one outlet in {taken:?}: {:.0}/s", rate(records, taken));
    signed(&demo, records).await;
    questions(&demo, records).await;
    export(&demo).await;
    if outlets > 0 {
        let taken = open_outlets(&client, outlets).await;
        println!("{outlets} outlets registered, one sale each, in {taken:?}");
        signed(&demo, records + outlets).await;
        // The next version of the heads tree has them all.
        let heads = async || demo.ask("GET", &absence(0)).send().await;
        let before = heads().await.json()["heads"]["leaf_index"].as_u64();
        // A version is made when there is something new.
        sell(&client, 0, "nudge").await.unwrap();
        until(async || heads().await.json()["heads"]["leaf_index"].as_u64() > before).await;
        questions(&demo, records).await;
    }
    let dir = demo.dir.clone();
    demo.stop();
    if std::env::var_os("FISCUS_PROOFS_KEEP").is_none() {
        std::fs::remove_dir_all(dir).unwrap();
    }
}

fn rate(count: u64, taken: Duration) -> f64 {
    count as f64 / taken.as_secs_f64()
}

/// Sells so often in one outlet.
async fn fill(client: &ClusterClient, records: u64) -> Duration {
    let began = Instant::now();
    together(client, records, |client, number| async move {
        // A multiple of the outlets is the first one.
        sell(&client, 0, &format!("fill-{number}")).await.unwrap();
    })
    .await;
    began.elapsed()
}

/// Registers outlets, and sells once in each as soon as the group knows it.
async fn open_outlets(client: &ClusterClient, outlets: u64) -> Duration {
    let began = Instant::now();
    together(client, outlets, |client, number| async move {
        let outlet = format!("outlet-{number}");
        register(&client, &outlet, number).await;
        sell_in(&client, &outlet, MERCHANT, &format!("open-{number}")).await;
    })
    .await;
    began.elapsed()
}

async fn register(client: &ClusterClient, outlet: &str, number: u64) {
    let fact = proto::OutletFact {
        outlet_id: outlet.to_owned(),
        merchant_nif: MERCHANT.to_owned(),
        prefix: "KIN".to_owned(),
        code: format!("B{number}"),
        group: 1,
        status: proto::OutletStatus::Active.into(),
        environment: proto::Environment::Live.into(),
        signing_mode: proto::SigningMode::Cluster.into(),
    };
    let register = proto::RegisterOutlet { fact: Some(fact) };
    let command = command::Command::RegisterOutlet(register);
    let command = proto::Command { command: Some(command) };
    loop {
        match client.submit(0, command.clone(), Duration::from_secs(10)).await {
            Ok(Answer::Recorded(_)) => return,
            Ok(Answer::Refused(refusal)) if refusal.code == "OUTLET_EXISTS" => return,
            Ok(answer) => panic!("{outlet}: {answer:?}"),
            Err(_) => {}
        }
    }
}

/// Does something so often, many at once.
async fn together<F: Future<Output = ()> + Send + 'static>(
    client: &ClusterClient,
    times: u64,
    act: impl Fn(ClusterClient, u64) -> F + Copy + Send + 'static,
) {
    let mut tasks = tokio::task::JoinSet::new();
    for filler in 0..FILLERS.min(times) {
        let client = client.clone();
        tasks.spawn(async move {
            for number in (filler..times).step_by(FILLERS as usize) {
                act(client.clone(), number).await;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < SIGNED_WAIT, "not within {SIGNED_WAIT:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits for a signed checkpoint over so many leaves.
async fn signed(demo: &Demo, leaves: u64) {
    until(async || {
        let note = call(demo.gateway_address(), "GET", "/log/1/checkpoint").send().await.text();
        note.lines().nth(1).is_some_and(|size| size.parse::<u64>().unwrap() >= leaves)
    })
    .await;
}

fn absence(number: u64) -> String {
    format!("/api/v1/audit/proofs/absence?group=1&outlet_id=nowhere-{number}")
}

/// A connection that stays.
struct Asker {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
    key: String,
}

impl Asker {
    async fn new(demo: &Demo) -> Self {
        let address = demo.gateway_address();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, host: address.to_string(), key: format!("Bearer {}", demo.api_key) }
    }

    /// How long an answer took, and how long it is.
    async fn ask(&mut self, path: &str) -> (Duration, usize) {
        let request = Request::get(path)
            .header("host", &self.host)
            .header("authorization", &self.key)
            .body(Empty::new())
            .unwrap();
        let began = Instant::now();
        let answered = async {
            self.sender.ready().await.unwrap();
            let answer = self.sender.send_request(request).await.unwrap();
            (answer.status(), answer.into_body().collect().await.unwrap().to_bytes())
        };
        let answered = tokio::time::timeout(LIMIT, answered).await;
        let (status, body) = answered.unwrap_or_else(|_| panic!("{path}: not within {LIMIT:?}"));
        assert!(status.is_success(), "{path}: {}", String::from_utf8_lossy(&body));
        (began.elapsed(), body.len())
    }
}

/// Asks for an invoice and for proofs, in turns, all over the journal.
async fn questions(demo: &Demo, records: u64) {
    let mut asker = Asker::new(demo).await;
    let mut seen: BTreeMap<&str, Vec<(Duration, usize)>> = BTreeMap::new();
    // A walk that comes everywhere and never twice to one place: the golden section of the journal.
    let stride = (records as f64 * 0.618_033_988_75) as u64 | 1;
    for round in 0..ROUNDS {
        let number = 1 + (round as u64).wrapping_mul(stride) % records;
        let asked = [
            ("an invoice", format!("/api/v1/invoices/KIN-GOMBE-{number}")),
            (
                "inclusion",
                format!("/api/v1/audit/proofs/inclusion?fiscal_number=KIN-GOMBE-{number}"),
            ),
            ("an invoice with proof", format!("/api/v1/invoices/KIN-GOMBE-{number}?proof=true")),
            ("consistency", format!("/api/v1/audit/proofs/consistency?group=1&from_size={number}")),
            ("absence", absence(number)),
            ("a quiet outlet's journal", format!("/api/v1/audit/proofs/range?outlet_id={QUIET}")),
        ];
        for (name, path) in &asked {
            seen.entry(name).or_default().push(asker.ask(path).await);
        }
    }
    let plain = spread(&seen["an invoice"]);
    for (name, answers) in &seen {
        let times = spread(answers);
        let bytes: Vec<usize> = answers.iter().map(|(_, bytes)| *bytes).collect();
        println!(
            "{name}: median {:?} ({:.2}x), p99 {:?} ({:.2}x), {} to {} bytes",
            times.0,
            times.0.as_secs_f64() / plain.0.as_secs_f64(),
            times.1,
            times.1.as_secs_f64() / plain.1.as_secs_f64(),
            bytes.iter().min().unwrap(),
            bytes.iter().max().unwrap(),
        );
    }
}

/// The median and the 99th of a hundred.
fn spread(answers: &[(Duration, usize)]) -> (Duration, Duration) {
    let mut times: Vec<Duration> = answers.iter().map(|(time, _)| *time).collect();
    times.sort_unstable();
    (times[(times.len() - 1) / 2], times[(times.len() - 1) * 99 / 100])
}

/// The whole journal of the outlet, to a file and through `fiscus verify export`.
async fn export(demo: &Demo) {
    let dir = demo.dir.clone();
    let keys = call(demo.gateway_address(), "GET", "/.well-known/fiscal-keys.json").send().await;
    std::fs::write(dir.join("keys.json"), keys.expect(200).body).unwrap();
    std::fs::write(dir.join("policy.toml"), policy(&dir)).unwrap();
    let began = Instant::now();
    let bytes = download(demo, &dir.join("export.ndjson")).await;
    println!("exported: {} MiB in {:?}", bytes >> 20, began.elapsed());
    let began = Instant::now();
    let out = Command::new("/usr/bin/time")
        .args(["-f", "%M KiB of memory at most, %U s of user time"])
        .arg(fiscus().get_program())
        .args(["verify", "export", "--json", "--policy", "policy.toml", "export.ndjson"])
        .current_dir(&dir)
        .output()
        .expect("Debian's `time` is installed");
    assert!(out.status.success(), "{out:?}");
    let said: Value = serde_json::from_slice(&out.stdout).expect("a line of JSON");
    let errors = String::from_utf8_lossy(&out.stderr);
    println!("verified in {:?}: {}", began.elapsed(), errors.lines().last().unwrap_or_default());
    println!("{said}");
    std::fs::remove_file(dir.join("export.ndjson")).unwrap();
}

async fn download(demo: &Demo, path: &Path) -> u64 {
    let mut asker = Asker::new(demo).await;
    let request = Request::get(format!("/api/v1/audit/export?outlet_id={OUTLET}"))
        .header("host", &asker.host)
        .header("authorization", &asker.key)
        .body(Empty::new())
        .unwrap();
    let answer = asker.sender.send_request(request).await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    let mut body = answer.into_body();
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let piece = frame.expect("the export is whole").into_data().unwrap();
        bytes += piece.len() as u64;
        file.write_all(&piece).unwrap();
    }
    file.flush().unwrap();
    bytes
}

/// What the cluster's operator hands to an auditor.
fn policy(dir: &Path) -> String {
    let (_, listed) = admin(dir, "keys list --json");
    let listed: Value = serde_json::from_str(&listed).expect("a line of JSON");
    let logs = listed["keys"].as_array().expect("keys").iter();
    let logs = logs.filter(|key| key["purpose"] == "log").map(|key| {
        let origin = format!("demo.fiscus.example/g/{}", key["group"]);
        format!("{{ origin = \"{origin}\", public_key = {} }}", key["public_key"])
    });
    let logs = logs.collect::<Vec<_>>().join(", ");
    format!("fiscus_policy = 1\nlogs = [{logs}]\nfiscal_keys = \"keys.json\"\n")
}
