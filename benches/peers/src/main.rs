//! `peers`: the same work on three nodes of Fiscus, three of etcd and one PostgreSQL, in turns, on one machine.
//!
//! ```text
//! for each row:  best concurrency of each, once  ─►  rounds: Fiscus, peer, Fiscus, peer, …  ─►  ratios, median and spread
//! ```
//!
//! All of them run for the whole time; who is not asked is idle. What counts is the ratio within a round.

mod etcd;
mod fiscus;
mod load;
mod machine;
mod postgres;
mod rows;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Parser;

use etcd::Etcd;
use fiscus::Fiscus;
use postgres::Postgres;
use rows::Bench;

/// An invoice is about so long, and so is what the peers store.
const RECORD_BYTES: usize = 1_024;

/// What a whole comparison writes at most; a peer whose disk is full ends.
const FREE_GIB: u64 = 40;

/// Compare Fiscus with etcd and PostgreSQL on this machine.
#[derive(Debug, Parser)]
#[command(
    after_help = "Example:\n  peers --fiscus target/release/fiscus --etcd ~/.cache/fiscus/etcd/etcd --rounds 5"
)]
struct Arguments {
    /// The product.
    #[arg(long, value_name = "FILE")]
    fiscus: PathBuf,
    /// etcd's program.
    #[arg(long, value_name = "FILE")]
    etcd: PathBuf,
    /// How often each row's two sides take turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that one turn is measured.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Only rows whose names hold one of these, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(compare(&arguments))
}

async fn compare(arguments: &Arguments) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("fiscus-peers-").tempdir().context("a directory")?;
    let place = |name: &str| -> Result<PathBuf> {
        let place = dir.path().join(name);
        std::fs::create_dir(&place)?;
        Ok(place)
    };
    // PostgreSQL runs as another user.
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    println!("machine: {}", machine::facts(dir.path()));
    let free = machine::free_bytes(dir.path())? >> 30;
    if free < FREE_GIB {
        eprintln!("peers: {free} GiB are free here, and all rows at five turns need {FREE_GIB}");
    }
    let bench = Bench {
        fiscus: Fiscus::start(&arguments.fiscus, &place("fiscus")?, false)?,
        program: arguments.fiscus.clone(),
        spare: place("gateway")?,
        etcd: Etcd::start(&arguments.etcd, &place("etcd")?).await?,
        postgres: Postgres::start(&postgres::programs()?, &place("postgres")?).await?,
        // Random, so that nobody can make it shorter.
        record: Bytes::from(noise(RECORD_BYTES)),
        rounds: arguments.rounds,
        length: Duration::from_secs(arguments.seconds),
        runs: Default::default(),
    };
    rows::all(&bench, &arguments.only).await
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}
