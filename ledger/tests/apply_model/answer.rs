//! What a command must be answered with, and a command with what its author knows.

use std::rc::Rc;

use fiscus_ledger::facts::Fact;
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::outcome::Outcome;

use crate::invoice::Plan;

/// What a command must be answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Recorded { position: usize, leaf: usize, number: String, time: u64 },
    Already(usize),
    Waiting,
    Done,
    Unchanged,
    Refused(&'static str),
}

impl Answer {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let small = |value: u64| usize::try_from(value).unwrap();
        match outcome {
            Outcome::Recorded(recorded) => Self::Recorded {
                position: small(recorded.position),
                leaf: small(recorded.leaf_index),
                number: recorded.fiscal_number.to_string(),
                time: recorded.timestamp.get(),
            },
            Outcome::AlreadyRecorded { position } => Self::Already(small(*position)),
            Outcome::Waiting => Self::Waiting,
            Outcome::Done => Self::Done,
            Outcome::Unchanged => Self::Unchanged,
            Outcome::Refused(refusal) => Self::Refused(refusal.code()),
        }
    }
}

/// A command, and what its author knows about it.
#[derive(Debug, Clone)]
pub(crate) struct Step<C> {
    pub(crate) command: C,
    /// The invoice in it.
    pub(crate) plan: Option<Rc<Plan>>,
    /// The document in it, when its bytes are one.
    pub(crate) fact: Option<Fact>,
    /// The hash that the terminal signed.
    pub(crate) hash: Hash32,
    /// Whether signatures, proofs and tuples in it are genuine.
    pub(crate) genuine: bool,
}

impl<C> Step<C> {
    pub(crate) fn plain(command: C) -> Self {
        Self { command, plan: None, fact: None, hash: [0; 32], genuine: true }
    }
}
