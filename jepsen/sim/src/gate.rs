//! The mutation gate: each planted bug must be found, and the same build without any must find nothing.
//!
//! Invariant: seeds are tried in their order, and the first one that fails is the one that is told. Non-goal: shrinking.

use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use fiscus_ledger::planted::Bug;
use fiscus_sim::Outcome;

use crate::{Arguments, answer_of};

/// What is told although something more exact is, too.
const GENERAL: [&str; 3] = ["an invariant does not hold", "an answer was wrong", "a task panicked"];

/// A bug by its name.
pub(crate) fn bug(name: &str) -> Result<Bug, String> {
    let names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
    let found = Bug::ALL.into_iter().find(|bug| bug.name() == name);
    found.ok_or_else(|| format!("there are {}", names.join(", ")))
}

/// What a search came to.
#[derive(Debug, Default)]
struct Search {
    tried: u64,
    found: Option<(u64, String)>,
}

/// Prints the table; fails when a bug was not found, or something was that is not there.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    println!("| planted bug | found by | seed | seeds tried | seconds |");
    println!("|---|---|---|---|---|");
    let mut sound = true;
    for bug in std::iter::once(None).chain(Bug::ALL.map(Some)) {
        let began = Instant::now();
        let search = search(arguments, bug)?;
        let seconds = began.elapsed().as_secs_f64();
        sound &= search.found.is_some() == bug.is_some();
        let name = bug.map_or("none".to_owned(), |bug| format!("`{}`", bug.name()));
        let (seed, what) = match search.found {
            Some((seed, what)) => (seed.to_string(), what),
            None => ("–".to_owned(), "nothing found".to_owned()),
        };
        println!("| {name} | {what} | {seed} | {} | {seconds:.1} |", search.tried);
    }
    Ok(ExitCode::from(u8::from(!sound)))
}

/// Tries seed after seed, several at a time, until one fails.
fn search(arguments: &Arguments, bug: Option<Bug>) -> Result<Search> {
    let next = AtomicU64::new(arguments.seeds.start);
    let search = Mutex::new(Search::default());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.jobs)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        let known = || search.lock().unwrap_or_else(PoisonError::into_inner);
                        if seed >= arguments.seeds.end || known().found.is_some() {
                            return Ok(());
                        }
                        let outcome = ask(seed, bug)?;
                        let mut known = known();
                        known.tried += 1;
                        let is_first = known.found.as_ref().is_none_or(|(first, _)| seed < *first);
                        if let Some(what) = told(&outcome).filter(|_| is_first) {
                            known.found = Some((seed, what));
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    Ok(search.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn ask(seed: u64, bug: Option<Bug>) -> Result<Outcome> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--json", "--seeds", &seed.to_string()]);
    command.args(bug.iter().flat_map(|bug| ["--planted", bug.name()]));
    answer_of(command)
}

/// What was wrong, in one line that fits into a table.
fn told(outcome: &Outcome) -> Option<String> {
    let exact = outcome.wrong.iter().find(|what| !GENERAL.contains(&what.as_str()));
    let line = exact.or(outcome.wrong.first())?.replace(['\n', '|'], " ");
    // Where the sources of a library lie on this machine says nothing.
    let words = line.split(' ').map(|word| word.rsplit_once("/src/").map_or(word, |(_, of)| of));
    let line = words.collect::<Vec<_>>().join(" ");
    Some(line.chars().take(160).collect())
}
