//! The rows of the table: what each side does, and how their figures are compared.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;

use crate::etcd::Etcd;
use crate::fiscus::{Fiscus, Work};
use crate::load::{Figures, Pace, run};
use crate::machine::{
    disk_written, file_bytes, processor_seconds, resident_bytes, signature_seconds,
};
use crate::postgres::{CLIENTS_MAX, Postgres};

/// What is tried to find the best of each.
const CLIENTS: [usize; 4] = [1, 64, 256, 1_000];
const COUNTER_CLIENTS: [usize; 4] = [1, 16, 64, 150];
/// Clients of an open loop: so many may wait at once.
const WAITING_MAX: usize = 512;
const REST: &str = "seals over REST / etcd puts";
const HALF: &str = "p99 at half of the best / etcd's";
const ALONE: &str = "median, one client / etcd's";
const STORED: &str = "seals with many records stored / with none";
const COST: &str = "cost of a seal";
const OUTLETS: u32 = 1_000;
/// So many records are many.
const STORED_MIN: u64 = 1_000_000;
/// A leaf's entry in its file.
const LEAF_BYTES: u64 = 48;
const KEYS: u64 = 100;

/// Everybody who takes part, and for how long.
pub(crate) struct Bench {
    pub(crate) fiscus: Fiscus,
    /// The product, and room for another cluster of it.
    pub(crate) program: PathBuf,
    pub(crate) spare: PathBuf,
    pub(crate) etcd: Etcd,
    pub(crate) postgres: Postgres,
    pub(crate) record: Bytes,
    pub(crate) rounds: usize,
    pub(crate) length: Duration,
    /// Runs that put new keys so far: each has keys of its own.
    pub(crate) runs: AtomicU64,
}

/// What a peer does.
#[derive(Debug, Clone, Copy)]
enum Peer {
    EtcdPut,
    EtcdCounter { keys: u64 },
    Postgres { outlets: i32 },
}

impl Bench {
    async fn peer(&self, peer: Peer, clients: usize, pace: Pace) -> Result<Figures> {
        match peer {
            Peer::EtcdPut => {
                let run_number = self.runs.fetch_add(1, Ordering::Relaxed);
                let putters = self.etcd.putters(clients, &self.record, run_number);
                run(putters, pace, self.length).await
            }
            Peer::EtcdCounter { keys } => {
                run(self.etcd.counters(clients, &self.record, keys), pace, self.length).await
            }
            Peer::Postgres { outlets } => {
                let clients = clients.min(CLIENTS_MAX);
                run(self.postgres.sealers(clients, &self.record, outlets).await?, pace, self.length)
                    .await
            }
        }
    }

    async fn ours(&self, work: Work) -> Result<Figures> {
        self.fiscus.run(work, self.length, false).await
    }

    /// The number of clients with which a side does most.
    async fn best(
        &self,
        tried: &[usize],
        side: impl AsyncFn(usize) -> Result<Figures>,
    ) -> Result<usize> {
        let mut best = (0.0, tried[0]);
        for clients in tried {
            let figures = side(*clients).await?;
            if figures.per_second > best.0 {
                best = (figures.per_second, *clients);
            }
        }
        Ok(best.1)
    }
}

fn grpc(outlets: u32, clients: usize) -> Work {
    Work { via: "grpc", outlets, batch: 1, clients, pace: Pace::Closed }
}

/// Middle, smallest and largest.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

/// A side's figures over the rounds.
#[derive(Default)]
struct Turns {
    ours: Vec<Figures>,
    theirs: Vec<Figures>,
}

impl Turns {
    fn row(&self, name: &str, of: impl Fn(&Figures) -> f64, unit: &str) {
        let ratios = self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| of(ours) / of(theirs));
        let (ratio, low, high) = spread(ratios.collect());
        let (ours, ..) = spread(self.ours.iter().map(&of).collect());
        let (theirs, ..) = spread(self.theirs.iter().map(&of).collect());
        println!(
            "| {name} | {ours:.2} {unit} | {theirs:.2} {unit} | **{ratio:.2}x** ({low:.2} to {high:.2}) |"
        );
    }
}

/// A row that compares rates.
struct Row {
    name: &'static str,
    work: Work,
    peer: Peer,
    /// How many clients the peer does best with; tried out when it is not known.
    clients: Option<usize>,
}

fn rate_rows(seals: usize, puts: usize) -> [Row; 6] {
    let row = |name, work, peer, clients| Row { name, work, peer, clients };
    let (counter, postgres) =
        (|keys| Peer::EtcdCounter { keys }, |outlets| Peer::Postgres { outlets });
    [
        row("seals, 1,000 outlets / etcd puts", grpc(OUTLETS, seals), Peer::EtcdPut, Some(puts)),
        row(
            "seals, 100 outlets / etcd counter and record, 100 keys",
            grpc(100, seals),
            counter(KEYS),
            None,
        ),
        row("seals, 100 outlets / PostgreSQL, 100 outlets", grpc(100, seals), postgres(100), None),
        row("seals, one outlet / etcd counter, one key", grpc(1, seals), counter(1), None),
        row("seals, one outlet / PostgreSQL, one outlet", grpc(1, seals), postgres(1), None),
        row(
            "batches of 1,000 / etcd puts",
            Work { batch: 1_000, ..grpc(OUTLETS, 2) },
            Peer::EtcdPut,
            Some(puts),
        ),
    ]
}

pub(crate) async fn all(bench: &Bench, only: &[String]) -> Result<()> {
    println!("\n| figure | Fiscus | peer | ratio, median (least to most) |\n|---|---|---|---|");
    let puts = async |clients| bench.peer(Peer::EtcdPut, clients, Pace::Closed).await;
    let puts = bench.best(&CLIENTS[1..], puts).await?;
    let seals =
        bench.best(&CLIENTS[1..], async |clients| bench.ours(grpc(OUTLETS, clients)).await).await?;
    let wanted = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part));
    for row in rate_rows(seals, puts).into_iter().filter(|row| wanted(row.name)) {
        compare_rates(bench, row).await?;
    }
    if wanted(REST) {
        over_rest(bench, puts).await?;
    }
    if wanted(HALF) {
        at_half(bench, seals, puts).await?;
    }
    if wanted(ALONE) {
        alone(bench).await?;
    }
    if wanted(COST) {
        cost(bench, seals).await?;
    }
    if wanted(STORED) {
        with_many_stored(bench, seals).await?;
    }
    // Nothing of this counts if a single sale is missing.
    bench.fiscus.run(grpc(OUTLETS, seals), bench.length, true).await?;
    println!("\nAll sales of a last run were read back: all there, no gap, no duplicate.");
    Ok(())
}

async fn compare_rates(bench: &Bench, row: Row) -> Result<()> {
    let clients = match row.clients {
        Some(clients) => clients,
        None => {
            let side = async |clients| bench.peer(row.peer, clients, Pace::Closed).await;
            bench.best(&COUNTER_CLIENTS, side).await?
        }
    };
    let mut turns = Turns::default();
    for _ in 0..bench.rounds {
        turns.ours.push(bench.ours(row.work).await?);
        turns.theirs.push(bench.peer(row.peer, clients, Pace::Closed).await?);
    }
    turns.row(row.name, |figures| figures.per_second, "/s");
    Ok(())
}

/// Through a gateway, which follows everything that is sealed besides: a cluster of its own, so that the other rows
/// compare nodes with nodes.
async fn over_rest(bench: &Bench, puts: usize) -> Result<()> {
    let served = Fiscus::start(&bench.program, &bench.spare, true)?;
    let work = |clients| Work { via: "rest", ..grpc(OUTLETS, clients) };
    let clients = bench
        .best(&CLIENTS[1..], async |clients| served.run(work(clients), bench.length, false).await)
        .await?;
    let mut turns = Turns::default();
    for _ in 0..bench.rounds {
        turns.ours.push(served.run(work(clients), bench.length, false).await?);
        turns.theirs.push(bench.peer(Peer::EtcdPut, puts, Pace::Closed).await?);
    }
    turns.row(REST, |figures| figures.per_second, "/s");
    let left = served.dir.clone();
    drop(served);
    Ok(std::fs::remove_dir_all(left)?)
}

/// Each at half of the rate that it can do.
async fn at_half(bench: &Bench, seals: usize, puts: usize) -> Result<()> {
    let ours = bench.ours(grpc(OUTLETS, seals)).await?.per_second / 2.0;
    let theirs = bench.peer(Peer::EtcdPut, puts, Pace::Closed).await?.per_second / 2.0;
    let mut turns = Turns::default();
    for _ in 0..bench.rounds {
        let work = Work { pace: Pace::Open { per_second: ours }, ..grpc(OUTLETS, WAITING_MAX) };
        turns.ours.push(bench.ours(work).await?);
        let pace = Pace::Open { per_second: theirs };
        turns.theirs.push(bench.peer(Peer::EtcdPut, WAITING_MAX, pace).await?);
    }
    turns.row(HALF, |figures| figures.p99, "ms");
    Ok(())
}

async fn alone(bench: &Bench) -> Result<()> {
    let mut turns = Turns::default();
    for _ in 0..bench.rounds {
        turns.ours.push(bench.ours(grpc(OUTLETS, 1)).await?);
        turns.theirs.push(bench.peer(Peer::EtcdPut, 1, Pace::Closed).await?);
    }
    turns.row(ALONE, |figures| figures.p50, "ms");
    Ok(())
}

/// The cluster that has done all of the work so far, and more until it holds enough, beside new ones.
async fn with_many_stored(bench: &Bench, clients: usize) -> Result<()> {
    let stored = || -> Result<u64> {
        Ok(file_bytes(&bench.fiscus.dir, "/leaves/")?
            / LEAF_BYTES
            / bench.fiscus.nodes.len() as u64)
    };
    while stored()? < STORED_MIN {
        let fill = Work { batch: 1_000, ..grpc(OUTLETS, 2) };
        bench.fiscus.run(fill, bench.length, false).await?;
    }
    let name = format!("{STORED}, {:.1} million", stored()? as f64 / 1e6);
    let mut turns = Turns::default();
    for round in 0..bench.rounds {
        let place = bench.spare.join(format!("empty-{round}"));
        std::fs::create_dir(&place)?;
        let empty = Fiscus::start(&bench.program, &place, false)?;
        turns.ours.push(bench.ours(grpc(OUTLETS, clients)).await?);
        turns.theirs.push(empty.run(grpc(OUTLETS, clients), bench.length, false).await?);
        drop(empty);
        std::fs::remove_dir_all(&place)?;
    }
    turns.row(&name, |figures| figures.per_second, "/s");
    Ok(())
}

/// The files of a node whose growth is told, by a part of their paths.
const FILES: [(&str, &str); 4] = [
    ("records", "/journal/"),
    ("leaves", "/leaves/"),
    ("signatures", "/signatures/"),
    ("index", "index.redb"),
];

/// What a seal costs the three nodes together.
async fn cost(bench: &Bench, clients: usize) -> Result<()> {
    let (fiscus, nodes) = (&bench.fiscus, &bench.fiscus.nodes);
    let lengths = || -> Result<Vec<u64>> {
        FILES.iter().map(|(_, part)| file_bytes(&fiscus.dir, part)).collect()
    };
    let (mut signatures, mut bytes, mut all) = (Vec::new(), Vec::new(), 0.0);
    let first = lengths()?;
    for _ in 0..bench.rounds {
        let signature = signature_seconds();
        let before = (processor_seconds(nodes)?, disk_written(&fiscus.dir)?);
        let rate = bench.ours(grpc(OUTLETS, clients)).await?.per_second;
        // The warm-up of two seconds works, too.
        let sealed = rate * (bench.length.as_secs_f64() + 2.0);
        signatures.push((processor_seconds(nodes)? - before.0) / sealed / signature);
        // What waits for the disk goes there within two seconds.
        tokio::time::sleep(Duration::from_secs(2)).await;
        bytes.push((disk_written(&fiscus.dir)? - before.1) as f64 / sealed / nodes.len() as f64);
        all += sealed;
    }
    let (middle, low, high) = spread(signatures);
    println!(
        "| processor time of a seal, three nodes, in Ed25519 signatures | {middle:.2} | | {low:.2} to {high:.2} |"
    );
    let (middle, low, high) = spread(bytes);
    println!("| bytes to the disk for a seal, each node | {middle:.0} | | {low:.0} to {high:.0} |");
    for (((name, _), now), before) in FILES.iter().zip(lengths()?).zip(first) {
        let grown = now.saturating_sub(before) as f64 / all / nodes.len() as f64;
        println!("| of these, growth of the {name} | {grown:.0} | | |");
    }
    let memory = resident_bytes(nodes)? as f64 / nodes.len() as f64;
    println!("| memory of a node at the end, MiB | {:.0} | | |", memory / 1_048_576.0);
    let etcd = resident_bytes(&bench.etcd.pids())? as f64 / 3.0;
    println!("| memory of an etcd member at the end, MiB | {:.0} | | |", etcd / 1_048_576.0);
    Ok(())
}
