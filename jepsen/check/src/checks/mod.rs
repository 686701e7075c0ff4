//! The checks, each of which has been seen to find what it is for (`tests/violations.rs`).

mod answers;
mod chain;
mod convergence;
mod logs;
mod numbers;
mod order;
mod reads;
mod totals;

use std::collections::HashMap;

use crate::finding::{Finding, Findings};
use crate::history::{Entry, History, Operation};
use crate::line::Outcome;
use crate::names::Name;

/// An outlet: its group and its name.
type Outlet = (u64, Name);
/// A submission: the outlet, the operation, the key.
type Submission = (Outlet, Name, Name);

/// Everything that is wrong with a history, in the order of the checks.
#[must_use]
pub fn check(history: &History) -> Vec<Finding> {
    let mut findings = Findings::default();
    let index = Index::of(history);
    chain::check(history, &mut findings);
    numbers::check(history, &mut findings);
    answers::check(history, &index, &mut findings);
    order::check(history, &index, &mut findings);
    reads::check(history, &index, &mut findings);
    logs::check(history, &mut findings);
    totals::check(history, &mut findings);
    convergence::check(history, &mut findings);
    findings.into_vec()
}

/// What belongs to one submission.
#[derive(Debug, Default)]
struct Attempts<'h> {
    ops: Vec<&'h Operation>,
    entries: Vec<&'h Entry>,
}

impl Attempts<'_> {
    /// When somebody first began to ask for it in a way that may have made it; what surely did nothing does not count.
    fn began(&self) -> Option<u64> {
        let effective = self.ops.iter().filter(|op| op.outcome != Outcome::Fail);
        effective.map(|op| op.start).min()
    }

    /// When it was first acknowledged as a record.
    fn acknowledged(&self) -> Option<u64> {
        let ok = self.ops.iter().filter(|op| op.outcome == Outcome::Ok && op.position.is_some());
        ok.filter_map(|op| op.end).min()
    }
}

/// Operations and records by what was submitted.
#[derive(Debug, Default)]
struct Index<'h> {
    submissions: HashMap<Submission, Attempts<'h>>,
}

impl<'h> Index<'h> {
    fn of(history: &'h History) -> Self {
        let mut index = Self::default();
        for op in &history.ops {
            if let Some(key) = op.key {
                index.submissions.entry((op.outlet, op.f, key)).or_default().ops.push(op);
            }
        }
        for entry in &history.entries {
            if let Some((f, key)) = entry.submission {
                index.submissions.entry((entry.outlet, f, key)).or_default().entries.push(entry);
            }
        }
        index
    }

    /// All of them in an order that does not change from run to run.
    fn sorted(&self) -> Vec<(&Submission, &Attempts<'h>)> {
        let mut all: Vec<_> = self.submissions.iter().collect();
        all.sort_unstable_by_key(|(submission, _)| **submission);
        all
    }
}

/// An outlet in words.
fn named(history: &History, outlet: Outlet) -> String {
    format!("{} (group {})", history.text(outlet.1), outlet.0)
}
