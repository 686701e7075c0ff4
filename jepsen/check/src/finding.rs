//! What is wrong with a history.

use std::collections::BTreeMap;

use serde::Serialize;

/// What kind of promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A number is left out, given twice, or out of its series.
    Numbers,
    /// What was acknowledged is not in the journal.
    Lost,
    /// A submission is in the journal more than once.
    Doubled,
    /// An answer differs from the journal, or from an earlier answer to the same submission.
    Altered,
    /// What ended before something else began has the higher number.
    Order,
    /// A read misses what was acknowledged before it began, goes back, or sees what nobody has begun.
    Reads,
    /// Two states of one log, or a state that is not one of the journal.
    Log,
    /// Replicas at the same entry have different states.
    States,
    /// Totals are not the sums of the invoices, or more is credited than was sold.
    Totals,
    /// All is healed, and something is not answered or not equal.
    Convergence,
    /// A chain has a gap, is not linked, or goes back in time.
    Chain,
    /// The journal has what nobody submitted, or what was refused.
    Phantom,
    /// A record's time lies outside of its submission's.
    Dated,
    /// A proof does not verify.
    Proofs,
    /// A process ended or panicked although nobody ended it. No history says so: who runs the processes does.
    Crashed,
}

impl Kind {
    /// The exit code when every finding is of this kind.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Numbers => 10,
            Self::Lost => 11,
            Self::Doubled => 12,
            Self::Altered => 13,
            Self::Order => 14,
            Self::Reads => 15,
            Self::Log => 16,
            Self::States => 17,
            Self::Totals => 18,
            Self::Convergence => 19,
            Self::Chain => 20,
            Self::Phantom => 21,
            Self::Dated => 22,
            Self::Proofs => 23,
            Self::Crashed => 24,
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// What exactly.
    pub detail: String,
}

/// 0 when nothing is wrong, the kind's own code when all findings are of one kind, and else 1.
#[must_use]
pub fn exit_code(findings: &[Finding]) -> u8 {
    let Some(first) = findings.first() else { return 0 };
    match findings.iter().all(|finding| finding.kind == first.kind) {
        true => first.kind.exit_code(),
        false => 1,
    }
}

/// Collects findings; what exceeds a bound of its kind is only counted.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<Finding>,
    counts: BTreeMap<Kind, usize>,
}

/// A broken history may have a finding for every line; none of another kind is lost for it.
const FOUND_OF_KIND_MAX: usize = 1_000;

impl Findings {
    pub(crate) fn add(&mut self, kind: Kind, detail: impl FnOnce() -> String) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= FOUND_OF_KIND_MAX {
            self.found.push(Finding { kind, detail: detail() });
        }
    }

    pub(crate) fn into_vec(mut self) -> Vec<Finding> {
        for (kind, count) in self.counts {
            let more = count.saturating_sub(FOUND_OF_KIND_MAX);
            if more > 0 {
                self.found.push(Finding { kind, detail: format!("and {more} more of this kind") });
            }
        }
        self.found
    }
}
