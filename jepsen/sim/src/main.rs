//! `fiscus-sim`: runs seeds, several at a time, and says what they came to.

#[cfg(feature = "planted-bugs")]
mod gate;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::ops::Range;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use fiscus_sim::{Options, Outcome, Summary, planned_faults, run};

/// The nodes' memory is one thread's, and is taken and given back all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// No fault at all.
    #[arg(long, conflicts_with = "faults")]
    calm: bool,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
    /// Go on after a seed that fails, and do not look which of its faults it takes.
    #[arg(long)]
    keep_going: bool,
    /// What the nodes log, as in `info` or `fiscus_raft=debug`.
    #[arg(long)]
    log: Option<String>,
    /// Print one line for each seed.
    #[arg(long)]
    each: bool,
    /// Print what a single seed came to as JSON.
    #[arg(long)]
    json: bool,
    /// Plant this bug in the product.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, value_parser = gate::bug)]
    planted: Option<fiscus_ledger::planted::Bug>,
    /// Plant each bug in turn, look for it with these seeds, and print a table of what was found.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, conflicts_with_all = ["planted", "faults", "calm", "trace", "json"])]
    gate: bool,
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
    #[cfg(feature = "planted-bugs")]
    if arguments.gate {
        return gate::run(&arguments);
    }
    #[cfg(feature = "planted-bugs")]
    if let Some(bug) = arguments.planted {
        fiscus_ledger::planted::plant(bug);
    }
    let began = Instant::now();
    let seed = arguments.seeds.start;
    let is_single = arguments.seeds.end == seed + 1;
    if arguments.json && !is_single {
        bail!("--json is for a single seed");
    }
    let faults = if arguments.calm { Some(Vec::new()) } else { arguments.faults.clone() };
    let only = faults.map(|faults| faults.into_iter().collect::<BTreeSet<_>>());
    let options = Options { only, keep_trace: arguments.trace };
    if arguments.json {
        let outcome = run(seed, &options);
        println!("{}", serde_json::to_string(&outcome)?);
        return Ok(ExitCode::from(u8::from(!outcome.wrong.is_empty())));
    }
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
            let _ = writeln!(std::io::stdout(), "{}", outcome.line());
        }
        summary.add(&outcome);
        if !outcome.wrong.is_empty() {
            failed = true;
            report(&outcome, &options, !arguments.keep_going);
        }
        outcome.wrong.is_empty() || arguments.keep_going
    });
    let _ = writeln!(std::io::stdout(), "{}", summary.table(began.elapsed()));
    let few = !arguments.calm && arguments.faults.is_none() && summary.counts_too_few();
    if few {
        eprintln!("less than nine of ten seeds count: this proves little");
    }
    Ok(ExitCode::from(u8::from(failed || few)))
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
    let is_single = arguments.seeds.end == arguments.seeds.start + 1;
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
                    let outcome =
                        if is_single { run(seed, options) } else { run_apart(seed, options) };
                    if sender.send(outcome).is_err() {
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

/// Runs a seed in a process of its own, so that it is the same run as when it is replayed alone.
fn run_apart(seed: u64, options: &Options) -> Outcome {
    let told = ask_apart(seed, options);
    told.unwrap_or_else(|error| Outcome {
        seed,
        wrong: vec![format!("its process: {error:#}")],
        ..Outcome::default()
    })
}

fn ask_apart(seed: u64, options: &Options) -> Result<Outcome> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--json", "--seeds", &seed.to_string()]);
    command.args(options.only.as_ref().map(chosen).unwrap_or_default());
    #[cfg(feature = "planted-bugs")]
    if let Some(bug) = fiscus_ledger::planted::planted() {
        command.args(["--planted", bug.name()]);
    }
    answer_of(command)
}

/// What a process that simulates a single seed has to say.
fn answer_of(mut command: Command) -> Result<Outcome> {
    let told = command.output()?;
    let said = String::from_utf8_lossy(&told.stderr);
    serde_json::from_slice(&told.stdout).with_context(|| format!("{}: {said}", told.status))
}

/// Says what went wrong, and how to see it again: with the fewest faults that still make it, when there is time.
fn report(outcome: &Outcome, options: &Options, shrinks: bool) {
    let seed = outcome.seed;
    eprintln!("seed {seed} FAILED");
    for what in outcome.wrong.iter().take(20) {
        eprintln!("  {what}");
    }
    let all = options.only.clone().unwrap_or_else(|| (0..planned_faults(seed)).collect());
    let kept = if shrinks { shrink(seed, all) } else { all };
    eprintln!("replay: fiscus-sim --seeds {seed} {} --trace", chosen(&kept).join(" "));
}

/// The arguments that choose these faults.
fn chosen(faults: &BTreeSet<usize>) -> Vec<String> {
    if faults.is_empty() {
        return vec!["--calm".to_owned()];
    }
    let places: Vec<String> = faults.iter().map(ToString::to_string).collect();
    vec!["--faults".to_owned(), places.join(",")]
}

/// Leaves out one fault after the other, as long as the seed still fails.
fn shrink(seed: u64, mut kept: BTreeSet<usize>) -> BTreeSet<usize> {
    for fault in kept.clone() {
        let mut fewer = kept.clone();
        fewer.remove(&fault);
        let options = Options { only: Some(fewer.clone()), keep_trace: false };
        if !run_apart(seed, &options).wrong.is_empty() {
            kept = fewer;
        }
    }
    kept
}
