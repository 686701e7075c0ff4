//! Random command sequences, applied by two replicas and by a second, naive implementation.
//!
//! Each sequence is made from a seed. One replica keeps its group in memory; the other forgets
//! everything after each entry and comes back from its rows. Both must agree to the byte, and the
//! answers, numbers and totals must be the model's.
//!
//! `FISCUS_SEED=7` repeats one sequence; `FISCUS_SEQUENCES=100000` makes more of them.

mod answer;
mod directory;
mod generate;
mod imports;
mod invariants;
mod invoice;
mod model;
mod payments;
mod random;
mod store;
mod system;
mod uploads;
#[path = "../vectors/mod.rs"]
mod vectors;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use fiscus_ledger::apply::Entry;
use fiscus_ledger::commands::Command;
use fiscus_ledger::hash::{Hash32, hex};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;

use answer::{Answer, Step};
use generate::{Generator, OPENING};
use invariants::Journals;
use model::Model;
use store::Store;

const SEQUENCES: u64 = 10_000;
const DIRECTORY_SEQUENCES: u64 = 3_000;
const GOLDEN_SEQUENCES: u64 = 200;
const UPLOAD_SEQUENCES: u64 = 2_000;

#[allow(clippy::disallowed_methods, reason = "a failure is repeated by naming its seed")]
fn number_from(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a seed or a count is a number"))
}

/// Runs a sequence for each seed, and says which one failed.
fn for_each_seed(sequences: u64, sequence: impl Fn(u64, &[Manifest])) {
    let manifests = generate::manifests();
    let seeds = match number_from("FISCUS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from("FISCUS_SEQUENCES").unwrap_or(sequences),
    };
    for seed in seeds {
        let run = catch_unwind(AssertUnwindSafe(|| sequence(seed, &manifests)));
        if let Err(panic) = run {
            eprintln!("the sequence of FISCUS_SEED={seed} failed");
            resume_unwind(panic);
        }
    }
}

/// Two replicas that apply the same entries.
struct Pair {
    steady: Store,
    restarting: Store,
}

impl Pair {
    fn new(number: u64) -> Self {
        Self { steady: Store::new(number), restarting: Store::new(number) }
    }

    fn commit<C: Command + Clone + std::fmt::Debug>(
        &mut self,
        stamp: u64,
        seed: [u8; 32],
        steps: &[Step<C>],
        expected: &[Answer],
    ) {
        let entry = Entry {
            log_index: self.steady.group.log_index + 1,
            apply_version: 1,
            stamp: UnixMs::new(stamp),
            seed,
            commands: steps.iter().map(|step| step.command.clone()).collect(),
        };
        let (outcomes, effects) = self.steady.commit(&entry);
        let (same_outcomes, same_effects) = self.restarting.commit(&entry);
        assert_eq!(outcomes, same_outcomes, "a restarted replica answers differently");
        assert_eq!(effects, same_effects, "a restarted replica has other effects");
        let hash = self.steady.group.state_hash();
        assert_eq!(hash, self.restarting.group.state_hash());
        self.restarting.restart();
        for ((outcome, answer), step) in outcomes.iter().zip(expected).zip(steps) {
            assert_eq!(Answer::of(outcome), *answer, "{outcome:?} to {:?}", step.command);
        }
        let idle = |answer: &Answer| {
            matches!(answer, Answer::Refused(_) | Answer::Already(_) | Answer::Unchanged)
        };
        if expected.iter().all(idle) {
            assert!(effects.leaves.is_empty(), "a refused command makes a record");
            assert_eq!(effects.nodes, []);
            assert_eq!(effects.rows.iter().count(), 0, "a refused command changes a row");
        }
    }
}

fn group_sequence(seed: u64, manifests: &[Manifest], uploads: bool) -> Hash32 {
    let mut generator = Generator::new(seed, manifests);
    generator.uploads = uploads;
    let mut model = Model::new(1);
    let mut pair = Pair::new(1);
    let mut journals = Journals::default();
    for round in 0..generator.random.between(5, 9) {
        let (stamp, steps) = if round == 0 {
            (OPENING, generator.opening(1))
        } else {
            let stamp = generator.stamp(model.system.time.max(OPENING));
            let count = generator.random.between(1, 6);
            let steps: Vec<_> =
                (0..count).map(|_| generator.step(&model, &pair.steady.group)).collect();
            (stamp, steps)
        };
        let expected = model.entry(stamp, &steps);
        pair.commit(stamp, generator.random.bytes(), &steps, &expected);
        journals.follow(&pair.steady, &model.system, &model.shops, &generator.manifests());
        journals.outlets(&pair.steady, &model);
        for lent in &mut model.lent {
            let hash = journals.hashes[&*lent.outlet][lent.granted_at - 1];
            lent.grant_hash.get_or_insert(hash);
        }
        if generator.random.percent(6) && !model.shops.is_empty() {
            let at = generator.random.index(model.shops.len());
            model.shops[at].held = true;
            pair.steady.hold(&model.shops[at].fact.outlet_id);
            pair.restarting.hold(&model.shops[at].fact.outlet_id);
        }
    }
    pair.steady.group.state_hash()
}

/// The state after each of the first sequences, as apply version 1 reaches it for ever.
#[test]
fn the_first_sequences_reach_the_committed_states() {
    let manifests = generate::manifests();
    let lines = (0..GOLDEN_SEQUENCES).map(|seed| {
        let state = group_sequence(seed, &manifests, false);
        format!("{seed} {}\n", hex(&state))
    });
    vectors::compare("../../ledger/tests/apply_model/states-v1.txt", &lines.collect::<String>());
}

#[test]
fn the_directory_agrees_with_its_registry() {
    for_each_seed(DIRECTORY_SEQUENCES, |seed, _| directory::directory_sequence(seed));
}

#[test]
fn a_data_group_agrees_with_its_model() {
    for_each_seed(SEQUENCES, |seed, manifests| {
        group_sequence(seed, manifests, false);
    });
}

/// Sequences of their own, so that those above stay what they are.
#[test]
fn a_group_that_uploads_agrees_with_its_model() {
    for_each_seed(UPLOAD_SEQUENCES, |seed, manifests| {
        group_sequence(seed, manifests, true);
    });
}
