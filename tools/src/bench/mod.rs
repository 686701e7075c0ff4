//! `fiscus bench`: points of sale, as many and as fast as wanted, against a running cluster.
//!
//! ```text
//! Workload ─► workers ─► Till (gRPC, REST or a fiscal device) ─► answers ─► histograms ─► table, JSON, chart
//! (outlets,    closed: each sends when it was answered              └────► Tally ─► check: gaps, duplicates,
//!  skew, size) open: each sends when it is due                                      all that was answered is there
//! ```
//!
//! A sale without a clear answer is sent again under its key until there is one; its time runs from its first attempt,
//! or, in an open loop, from the moment when it was due.

mod chart;
mod check;
mod drive;
mod figures;
mod outlets;
mod places;
mod till;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::admin::cluster::Connection;

use crate::output::answer;
use drive::{Pace, Step};
use figures::Figures;
use outlets::Roster;
use places::Places;
use till::Tills;
use workload::Workload;

const OUTLETS_MAX: u32 = 100_000;
const CLIENTS_MAX: usize = 10_000;
const BATCH_MAX: usize = 1_000;
const LENGTH_SECS_MAX: u64 = 3_600;

/// Load a cluster with sales, and measure it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus bench --dir /tmp/fiscus-demo
  fiscus bench --dir /tmp/fiscus-demo --outlets 1000 --clients 1,16,256,1024 --verify
  fiscus bench --dir /tmp/fiscus-demo --via rest --rate 100,200,400 --chart load.svg
  fiscus bench --dir /tmp/fiscus-demo --batch 1000 --clients 2 --json
  fiscus bench --node-address n1.example:7400 --ca ca.pem --cert me.pem --key me.key --merchant A1234567B

It seals real invoices in outlets of its own, bench-00000 and so on, which it registers: use a cluster whose journal
you can do without. A table goes to standard output, or with --json one document; progress goes to standard error.

Exit codes:
  0  done; with --verify, everything that was answered is there, without gaps or duplicates
  1  --verify found something missing, doubled or out of order, or a sale was refused
  2  wrong usage, or the cluster cannot be reached")]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// How sales reach the cluster.
    #[arg(long, value_enum, default_value_t = Via::Grpc)]
    via: Via,
    /// The gateway's URL, for REST; a demonstration's own when absent.
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
    /// A file with the key to the API, for REST; a demonstration's own when absent.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// The fiscal device's address; a demonstration's own when absent. A device seals for its own outlet alone.
    #[arg(long, value_name = "HOST:PORT")]
    device: Option<String>,
    /// The outlet that the device seals for.
    #[arg(long, value_name = "ID", default_value = "outlet-gombe")]
    device_outlet: String,
    /// The merchant of the outlets.
    #[arg(long, value_name = "NIF", default_value = "A1234567B")]
    merchant: String,
    /// How many outlets sell.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(OUTLETS_MAX)))]
    outlets: u32,
    /// How unequal they are: the n-th sells 1/n^SKEW of what the first one does. 0: all alike.
    #[arg(long, default_value_t = 0.0)]
    skew: f64,
    /// The size of an invoice, about.
    #[arg(long, value_name = "BYTES", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(700..=65_536))]
    invoice_bytes: u32,
    /// Invoices in one submission, at most 1,000: over gRPC that many at once, over REST a batch.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    batch: usize,
    /// Closed loop: so many clients, each of which sends its next sale when its last one was answered; a step for
    /// each number.
    #[arg(long, value_name = "COUNT,…", value_delimiter = ',', default_value = "1,16,64,256")]
    clients: Vec<usize>,
    /// Open loop: so many submissions a second, whatever the answers; a step for each number. The largest number of
    /// --clients bounds how many may wait.
    #[arg(long, value_name = "PER_SECOND,…", value_delimiter = ',')]
    rate: Vec<u64>,
    /// Seconds before a step is measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    warm_up: u64,
    /// Seconds that a step is measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=LENGTH_SECS_MAX))]
    length: u64,
    /// Where the choice of outlets starts; equal numbers choose alike.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Read everything back at the end, and compare it with the answers.
    #[arg(long)]
    verify: bool,
    /// Draw the steps into this file (SVG).
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Via {
    Grpc,
    Rest,
    Device,
}

impl Via {
    fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Rest => "rest",
            Self::Device => "device",
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let measured = runtime
        .context("starting the runtime")
        .and_then(|runtime| runtime.block_on(measure(arguments)));
    match measured {
        Ok(Outcome { text, sound }) => answer("bench", &text, if sound { 0 } else { 1 }),
        Err(error) => {
            eprintln!("fiscus bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

struct Outcome {
    text: String,
    sound: bool,
}

async fn measure(arguments: &Arguments) -> Result<Outcome> {
    let plan = steps(arguments)?;
    let client = arguments.connection.open()?.client().await?;
    let places = match arguments.connection.directory() {
        Some(dir) => Places::of(dir)?,
        None => Places::default(),
    };
    let tills = tills(arguments, client.clone(), places)?;
    let roster = match arguments.via {
        Via::Device => {
            Roster::of_device(&arguments.device_outlet, &arguments.merchant, &client).await?
        }
        _ => Roster::named(arguments.outlets, &arguments.merchant, &client),
    };
    eprintln!("{} outlets, invoices of about {} bytes", roster.len(), arguments.invoice_bytes);
    let workload = Workload::new(roster, arguments.invoice_bytes, arguments.skew, arguments.seed)?;
    let workload = Arc::new(workload);
    match arguments.via {
        Via::Grpc => outlets::register(&client, workload.roster()).await?,
        Via::Rest => tills.open_outlets(workload.roster()).await?,
        Via::Device => {}
    }
    let mut figures = Figures::new(arguments.via.name(), &workload, arguments.batch);
    let mut tally = arguments.verify.then(check::Tally::default);
    for step in plan {
        let told = drive::run(&tills, &workload, &step, tally.as_mut()).await?;
        eprintln!("{}", told.line());
        figures.push(told);
    }
    let checked = match tally {
        Some(tally) => Some(check::compare(&client, &workload, &tally).await?),
        None => None,
    };
    if let Some(file) = &arguments.chart {
        let svg = chart::draw(&figures);
        std::fs::write(file, svg).with_context(|| file.display().to_string())?;
    }
    let sound = figures.refused() == 0 && checked.as_ref().is_none_or(check::Checked::is_sound);
    let text = if arguments.json {
        let mut document = figures.json();
        document["checked"] = checked.as_ref().map_or(json!(null), check::Checked::json);
        format!("{document}\n")
    } else {
        figures.table() + &checked.map_or_else(String::new, |checked| checked.line())
    };
    Ok(Outcome { text, sound })
}

/// The steps that were asked for.
fn steps(arguments: &Arguments) -> Result<Vec<Step>> {
    let Arguments { clients, rate, batch, .. } = arguments;
    ensure!((1..=BATCH_MAX).contains(batch), "--batch is 1 to {BATCH_MAX}");
    ensure!(
        clients.iter().all(|count| (1..=CLIENTS_MAX).contains(count)),
        "--clients are 1 to {CLIENTS_MAX}"
    );
    ensure!(rate.iter().all(|rate| (1..=1_000_000).contains(rate)), "--rate is 1 to 1,000,000");
    ensure!((0.0..=4.0).contains(&arguments.skew), "--skew is 0 to 4");
    ensure!(arguments.warm_up <= LENGTH_SECS_MAX, "--warm-up is at most {LENGTH_SECS_MAX}");
    ensure!(
        arguments.via != Via::Device || *batch == 1,
        "a fiscal device takes one sale after the other: leave --batch away"
    );
    let step = |clients: usize, pace: Pace| Step {
        clients,
        pace,
        batch: *batch,
        warm_up: Duration::from_secs(arguments.warm_up),
        length: Duration::from_secs(arguments.length),
    };
    let most = clients.iter().copied().max().context("--clients needs a number")?;
    Ok(if rate.is_empty() {
        clients.iter().map(|count| step(*count, Pace::Closed)).collect()
    } else {
        rate.iter().map(|rate| step(most, Pace::Open { per_second: *rate })).collect()
    })
}

fn tills(
    arguments: &Arguments,
    client: fiscus_proto::client::ClusterClient,
    places: Places,
) -> Result<Tills> {
    match arguments.via {
        Via::Grpc => Ok(Tills::grpc(client)),
        Via::Rest => {
            let url = arguments.gateway.clone().or(places.gateway);
            let Some(url) = url else { bail!("name the gateway: --gateway URL") };
            let file = arguments.api_key_file.clone().or(places.api_key_file);
            let Some(file) = file else { bail!("name the key's file: --api-key-file FILE") };
            let key = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            Tills::rest(&url, key.trim())
        }
        Via::Device => {
            let device = arguments.device.clone().or(places.device);
            let Some(device) = device else { bail!("name the device: --device HOST:PORT") };
            Ok(Tills::device(device))
        }
    }
}
