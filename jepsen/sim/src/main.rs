//! `fiscus-sim`: runs seeds, several at a time, and says what they came to.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Parser;
use fiscus_sim::{Options, Outcome, Summary, planned_faults, run};

/// Simulate clusters under faults, each decided by its seed.
#[derive(Debug, Parser)]
#[command(
    name = "fiscus-sim",
    after_help = "\
Examples:
  fiscus-sim --seeds 1..101 --jobs 2
  fiscus-sim --seeds 17 --faults 0,3 --trace

Exit codes: 0 all seeds were sound, 1 one was not, 2 wrong use."
)]
struct Arguments {
    /// A seed, or a range without its end.
    #[arg(long, value_parser = seeds)]
    seeds: Range<u64>,
    /// Seeds that run at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Begin no seed after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Only these faults of the seed's plan, by their place in it.
    #[arg(long, value_delimiter = ',')]
    faults: Option<Vec<usize>>,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
    /// Go on after a seed that fails.
    #[arg(long)]
    keep_going: bool,
    /// What the nodes log, as in `info` or `fiscus_raft=debug`.
    #[arg(long)]
    log: Option<String>,
    /// Print one line for each seed.
    #[arg(long)]
    each: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let range = match text.split_once("..") {
        Some((from, to)) => number(from)?..number(to)?,
        None => number(text)?..number(text)?.saturating_add(1),
    };
    if range.is_empty() { Err("there is no seed in it".to_owned()) } else { Ok(range) }
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.jobs == 0 {
        bail!("--jobs must be at least 1");
    }
    if let Some(filter) = &arguments.log {
        tracing_subscriber::fmt()
            .with_env_filter(filter.as_str())
            .with_writer(std::io::stderr)
            .without_time()
            .init();
    }
    let began = Instant::now();
    let only = arguments.faults.clone().map(|faults| faults.into_iter().collect::<BTreeSet<_>>());
    let options = Options { only, keep_trace: arguments.trace };
    let mut summary = Summary::default();
    let mut failed = false;
    each(&arguments, &options, began, |outcome| {
        if arguments.trace {
            let mut out = std::io::stdout().lock();
            for line in &outcome.trace {
                // Whoever reads may have seen enough.
                let _ = writeln!(out, "{line}");
            }
        }
        if arguments.each {
            println!("{}", outcome.line());
        }
        summary.add(&outcome);
        if !outcome.wrong.is_empty() {
            failed = true;
            report(&outcome, &options);
        }
        outcome.wrong.is_empty() || arguments.keep_going
    });
    println!("{}", summary.table(began.elapsed()));
    Ok(ExitCode::from(u8::from(failed)))
}

/// Runs the seeds, and hands over what they came to, until `take` has enough.
fn each(
    arguments: &Arguments,
    options: &Options,
    began: Instant,
    mut take: impl FnMut(Outcome) -> bool,
) {
    let next = AtomicU64::new(arguments.seeds.start);
    let enough = AtomicBool::new(false);
    let limit = arguments.seconds.map(Duration::from_secs);
    let (sender, receiver) = sync_channel(arguments.jobs);
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            let (sender, next, enough) = (sender.clone(), &next, &enough);
            scope.spawn(move || {
                loop {
                    let late = limit.is_some_and(|limit| began.elapsed() >= limit);
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if late || enough.load(Ordering::Relaxed) || seed >= arguments.seeds.end {
                        return;
                    }
                    if sender.send(run(seed, options)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        while let Ok(outcome) = receiver.recv() {
            if !take(outcome) {
                enough.store(true, Ordering::Relaxed);
            }
        }
    });
}

/// Says what went wrong, with the fewest faults that still make it.
fn report(outcome: &Outcome, options: &Options) {
    let seed = outcome.seed;
    eprintln!("seed {seed} FAILED");
    for what in outcome.wrong.iter().take(20) {
        eprintln!("  {what}");
    }
    let all = options.only.clone().unwrap_or_else(|| (0..planned_faults(seed)).collect());
    let kept = shrink(seed, all);
    let places: Vec<String> = kept.iter().map(ToString::to_string).collect();
    eprintln!("replay: fiscus-sim --seeds {seed} --faults {} --trace", places.join(","));
}

/// Leaves out one fault after the other, as long as the seed still fails.
fn shrink(seed: u64, mut kept: BTreeSet<usize>) -> BTreeSet<usize> {
    for fault in kept.clone() {
        let mut fewer = kept.clone();
        fewer.remove(&fault);
        let options = Options { only: Some(fewer.clone()), keep_trace: false };
        if !run(seed, &options).wrong.is_empty() {
            kept = fewer;
        }
    }
    kept
}
