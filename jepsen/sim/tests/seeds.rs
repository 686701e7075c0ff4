//! A few seeds of the simulation, and the proof that a seed is a run. Many seeds: `make soak`.

use fiscus_sim::{Options, Outcome, run};

/// The seeds that every change is tried with, unless `FISCUS_SIM_SEEDS` says how many.
const SEEDS: u64 = 4;

fn sound(seed: u64) -> Outcome {
    let outcome = run(seed, &Options::default());
    assert!(outcome.wrong.is_empty(), "seed {seed}: {:#?}", outcome.wrong);
    outcome
}

#[test]
fn two_runs_of_a_seed_are_the_same() {
    let options = Options { keep_trace: true, ..Options::default() };
    let other = std::thread::spawn({
        let options = options.clone();
        move || run(1, &options)
    });
    let (first, second) = (run(1, &options), other.join().expect("no panic"));
    let differs = first.trace.iter().zip(&second.trace).find(|(first, second)| first != second);
    assert_eq!(differs, None);
    assert_eq!(first.trace.len(), second.trace.len());
    assert_eq!(first.trace_hash, second.trace_hash);
    assert!(first.trace.len() > 1_000, "{} lines are no trace", first.trace.len());
}

#[test]
fn clusters_survive_what_the_seeds_decide() {
    let seeds = std::env::var("FISCUS_SIM_SEEDS").ok().and_then(|text| text.parse().ok());
    let outcomes: Vec<Outcome> = (2..2 + seeds.unwrap_or(SEEDS)).map(sound).collect();
    let counted = outcomes.iter().filter(|outcome| outcome.counts()).count();
    assert!(counted * 2 > outcomes.len(), "only {counted} of {} seeds count", outcomes.len());
}
