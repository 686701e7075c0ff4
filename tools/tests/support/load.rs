//! Points of sale that sell: each submission has a key of its own and is repeated under it until the
//! answer is clear.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::{Answer, ClusterClient, SubmitError};
use fiscus_proto::command::{self as proto, Command, command};
use fiscus_proto::ledger::JournalRecord;

const SALE: &str = include_str!("../../../docs/samples/sale.json");
pub const OUTLETS: [(&str, &str); 4] = [
    ("outlet-gombe", "A1234567B"),
    ("outlet-limete", "A1234567B"),
    ("outlet-matete", "B7654321C"),
    ("outlet-ngaliema", "B7654321C"),
];
/// One attempt waits this long; then the same key is sent again.
const ATTEMPT: Duration = Duration::from_secs(10);
/// A key without a clear answer after so long is a failure of the cluster.
const PATIENCE: Duration = Duration::from_secs(90);

/// A sale that was answered.
#[derive(Debug, Clone)]
pub struct Sale {
    pub outlet: &'static str,
    pub command: Command,
    pub record: JournalRecord,
    pub began: Instant,
    pub ended: Instant,
    /// Attempts that ended without a clear answer.
    pub doubts: u32,
}

/// A sale's command; equal keys give equal commands.
pub fn sale(outlet: usize, key: &str) -> Command {
    let (outlet_id, nif) = OUTLETS[outlet % OUTLETS.len()];
    sale_in(outlet_id, nif, key)
}

/// A sale's command in any outlet.
fn sale_in(outlet_id: &str, nif: &str, key: &str) -> Command {
    let text = SALE
        .replace("outlet-gombe", outlet_id)
        .replace("A1234567B", nif)
        .replace("RIZ-25", &format!("R-{key}"));
    let parsed =
        parse_lenient(text.as_bytes(), &Manifest::builtin(), UnixMs::new(1_800_000_000_000))
            .unwrap();
    let seal = proto::Seal {
        submitted: Some(proto::Submitted {
            outlet_id: outlet_id.to_owned(),
            key: blake3::hash(key.as_bytes()).as_bytes()[..16].to_vec().into(),
            fingerprint: parsed.fingerprint.to_vec().into(),
        }),
        terminal_id: "till-1".to_owned(),
        device_id: None,
        payload: parsed.invoice.canonical_bytes().to_vec().into(),
    };
    Command { command: Some(command::Command::Seal(seal)) }
}

/// Sells once in an outlet that the group may not know yet.
pub async fn sell_in(client: &ClusterClient, outlet_id: &str, nif: &str, key: &str) {
    let command = sale_in(outlet_id, nif, key);
    let began = Instant::now();
    loop {
        match client.submit(1, command.clone(), ATTEMPT).await {
            Ok(Answer::Recorded(_) | Answer::AlreadyRecorded(_)) => return,
            Ok(Answer::Refused(refusal)) if refusal.code == "OUTLET_UNKNOWN" => {
                assert!(began.elapsed() < PATIENCE, "{outlet_id} is not known");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(answer) => panic!("{key}: {answer:?}"),
            Err(error) => assert!(began.elapsed() < PATIENCE, "{key}: {error}"),
        }
    }
}

/// Sells once, until it is clear.
pub async fn sell(client: &ClusterClient, outlet: usize, key: &str) -> Result<Sale, String> {
    let command = sale(outlet, key);
    let began = Instant::now();
    let mut doubts = 0;
    loop {
        match client.submit(1, command.clone(), ATTEMPT).await {
            Ok(Answer::Recorded(record) | Answer::AlreadyRecorded(record)) => {
                let outlet = OUTLETS[outlet % OUTLETS.len()].0;
                let ended = Instant::now();
                return Ok(Sale { outlet, command, record, began, ended, doubts });
            }
            Ok(answer) => return Err(format!("{key}: {answer:?}")),
            Err(SubmitError::Malformed { detail }) => return Err(format!("{key}: {detail}")),
            Err(error) if began.elapsed() > PATIENCE => return Err(format!("{key}: {error}")),
            Err(_) => doubts += 1,
        }
    }
}

/// Points of sale that sell until they are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    sold: Arc<AtomicU64>,
    workers: Vec<tokio::task::JoinHandle<Result<Vec<Sale>, String>>>,
}

impl Load {
    pub fn start(client: &ClusterClient, workers: usize, name: &str) -> Self {
        Self::paced(client, workers, name, Duration::ZERO)
    }

    /// Each of them waits between two sales, as a till does.
    pub fn paced(client: &ClusterClient, workers: usize, name: &str, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sold = Arc::new(AtomicU64::new(0));
        let workers = (0..workers).map(|worker| {
            let (client, stop, sold) = (client.clone(), stop.clone(), sold.clone());
            let name = format!("{name}-{worker}");
            tokio::spawn(async move {
                let mut sales = Vec::new();
                let mut next = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    sales.push(sell(&client, worker, &format!("{name}-{next}")).await?);
                    sold.fetch_add(1, Ordering::Relaxed);
                    next += 1;
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
                Ok(sales)
            })
        });
        let workers = workers.collect();
        Self { stop, sold, workers }
    }

    pub fn sold(&self) -> u64 {
        self.sold.load(Ordering::Relaxed)
    }

    /// Waits until `more` further sales were answered; however slow they are, they must not stand still.
    pub async fn wait_for(&self, more: u64) {
        let target = self.sold() + more;
        let (mut seen, mut since) = (self.sold(), Instant::now());
        while self.sold() < target {
            if self.sold() > seen {
                (seen, since) = (self.sold(), Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "sales stand still at {seen}");
            assert!(!self.workers.iter().any(|worker| worker.is_finished()), "a worker gave up");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops, and returns every sale that was answered.
    pub async fn finish(self) -> Vec<Sale> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sales = Vec::new();
        for worker in self.workers {
            sales.extend(worker.await.unwrap().unwrap());
        }
        sales
    }
}
