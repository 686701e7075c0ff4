//! A real cluster of processes under load, measured: fail-over, restart, memory.
//!
//! ```sh
//! cargo bench -p fiscus-tools --bench cluster -- failover 15
//! cargo bench -p fiscus-tools --bench cluster -- fill 1000000
//! cargo bench -p fiscus-tools --bench cluster -- join 1000000
//! cargo bench -p fiscus-tools --bench cluster -- join-to DIR
//! ```
//!
//! `join` leaves its directory behind, for `join-to`.

#[path = "../tools/tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use fiscus_ledger::json::Value;
use fiscus_proto::client::ClusterClient;
use support::load::{Load, sell};
use support::operator::{ExtraNode, until};
use support::{Demo, fresh, leader_of, number, signal};

/// Terminals that sell while the cluster is measured.
const TERMINALS: usize = 16;
/// Terminals that fill it.
const FILLERS: usize = 256;
const PAUSE: Duration = Duration::from_millis(2);
/// A busy machine takes its time to hash a million records.
const JOIN_WAIT: Duration = Duration::from_secs(900);
/// Between two kills everything comes back and settles.
const SETTLE_SALES: u64 = 500;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let count =
        |fallback: u64| arguments.get(1).map_or(fallback, |text| text.parse().expect("a count"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match arguments.first().map(String::as_str) {
        None | Some("failover") => runtime.block_on(failover(count(15))),
        Some("fill") => runtime.block_on(fill(count(100_000))),
        Some("join") => runtime.block_on(join(count(100_000))),
        Some("join-to") => {
            let dir = arguments.get(1).expect("a demonstration's directory");
            runtime.block_on(join_to(Demo::start(Path::new(dir))));
        }
        Some(other) => panic!("{other}: failover COUNT, fill COUNT, join COUNT or join-to DIR"),
    }
}

fn quantile(sorted: &[Duration], of_100: usize) -> Duration {
    sorted[(sorted.len() - 1) * of_100 / 100]
}

fn spread(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    println!(
        "{name}: {} times, median {:?}, p90 {:?}, longest {:?}",
        times.len(),
        quantile(&times, 50),
        quantile(&times, 90),
        quantile(&times, 100)
    );
}

async fn all_run(demo: &Demo) {
    while demo.pids().len() < demo.nodes.len() {
        tokio::time::sleep(PAUSE * 25).await;
    }
}

/// Kills the leader again and again; how long no sale was acknowledged.
async fn failover(kills: u64) {
    let demo = Demo::start(&fresh("bench-failover"));
    let client = demo.client().await;
    let load = Load::start(&client, TERMINALS, "failover");
    let mut silent = Vec::new();
    for _ in 0..kills {
        load.wait_for(SETTLE_SALES).await;
        all_run(&demo).await;
        let leader = leader_of(&demo.dir, 1).await;
        demo.kill(leader);
        let killed = Instant::now();
        // Answers that were on their way when it died are not the new leader's.
        tokio::time::sleep(PAUSE * 25).await;
        load.wait_for(1).await;
        silent.push(killed.elapsed());
        println!("killed node {leader}: {:?}", killed.elapsed());
    }
    load.finish().await;
    demo.stop();
    spread("without a leader", silent);
}

async fn seal_many(client: &ClusterClient, records: u64) -> Duration {
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for filler in 0..FILLERS {
        let client = client.clone();
        let share = records / FILLERS as u64;
        tasks.spawn(async move {
            for number in 0..share {
                sell(&client, filler, &format!("fill-{filler}-{number}")).await.unwrap();
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    started.elapsed()
}

/// Seals many records; then memory, and how long a node takes until it is ready again.
async fn fill(records: u64) {
    let demo = Demo::start(&fresh("bench-fill"));
    let client = demo.client().await;
    let taken = seal_many(&client, records).await;
    println!("{records} records in {taken:?}: {:.0}/s", records as f64 / taken.as_secs_f64());
    let status = demo.status();
    let status = Value::parse(&status).unwrap();
    let Some(Value::Array(nodes)) = status.member("nodes") else { panic!("no nodes") };
    for node in nodes {
        println!(
            "node {}: {} MiB of memory, {} MiB of log",
            number(node, "id"),
            number(node, "memory_bytes") >> 20,
            number(node, "wal_bytes") >> 20
        );
    }
    let mut restarts = Vec::new();
    for (how, node) in ["KILL", "TERM"].into_iter().cycle().zip(demo.nodes.iter().cycle()).take(6) {
        let (_, pid) = demo.pids().into_iter().find(|(id, _)| *id == node.id).unwrap();
        signal(how, pid);
        let begun = loop {
            match demo.pids().into_iter().find(|(id, _)| *id == node.id) {
                Some((_, now)) if now != pid => break Instant::now(),
                _ => tokio::time::sleep(PAUSE).await,
            }
        };
        while !is_ready(&node.admin) {
            tokio::time::sleep(PAUSE).await;
        }
        println!("node {} after {how}: ready in {:?}", node.id, begun.elapsed());
        restarts.push(begun.elapsed());
    }
    demo.stop();
    spread("restart to ready", restarts);
}

/// Fills the cluster, then takes in an empty node.
async fn join(records: u64) {
    let demo = Demo::start(&fresh("bench-join"));
    let client = demo.client().await;
    let taken = seal_many(&client, records).await;
    println!("{records} records in {taken:?}");
    join_to(demo).await;
}

/// Takes in an empty node while points of sale go on selling, and lets it go again.
async fn join_to(demo: Demo) {
    let client = demo.client().await;
    let run = std::process::id();
    let before = Load::paced(&client, TERMINALS, &format!("before-{run}"), PAUSE * 50);
    tokio::time::sleep(Duration::from_secs(10)).await;
    spread("a sale before", lasted(before).await);
    let load = Load::paced(&client, TERMINALS, &format!("join-{run}"), PAUSE * 50);
    let id = (1..).find(|id| !demo.path(&format!("n{id}")).exists()).expect("a free id");
    let empty = ExtraNode::start(&demo, id).await;
    let begun = Instant::now();
    let add = format!("nodes add {} --yes", empty.address);
    demo.ok_within(JOIN_WAIT, &add).await;
    println!("the node is a voter after {:?}", begun.elapsed());
    let leader = leader_of(&demo.dir, 1).await;
    let target = demo.replica(leader, 1).await.committed;
    until("it has caught up", async || demo.replica(id, 1).await.applied >= target).await;
    println!("it has all that there was then after {:?}", begun.elapsed());
    spread("a sale meanwhile", lasted(load).await);
    println!("the group has {} leaves", demo.replica(leader, 1).await.leaves);
    demo.ok_within(JOIN_WAIT, &format!("nodes remove {id} --yes")).await;
    empty.stop().await;
    demo.stop();
}

async fn lasted(load: Load) -> Vec<Duration> {
    load.finish().await.iter().map(|sale| sale.ended - sale.began).collect()
}

fn is_ready(admin: &str) -> bool {
    let at = admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/');
    let Ok(mut connection) = TcpStream::connect(at) else { return false };
    let asked = connection.write_all(b"GET /readyz HTTP/1.0\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok() && connection.read_to_string(&mut answer).is_ok() && answer.contains(" 200 ")
}
