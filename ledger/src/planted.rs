//! Bugs that are planted in a build of its own, to show that simulations see them.
//!
//! Invariant: this module is compiled with the feature `planted-bugs` only, which no product has, and even then no bug
//! is there until one is chosen. Each bug is one place, found by the name of its variant. Non-goal: being right.

use std::sync::OnceLock;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The log answers before its bytes are synced.
    AnswerBeforeSync,
    /// A state that is built from a snapshot lacks the idempotency keys.
    KeysLostInSnapshot,
    /// The leader signs records before their entry is committed.
    SignBeforeCommit,
    /// A leader answers reads without asking a majority.
    StaleRead,
    /// The leader gives the numbers, from a counter of its own.
    LeaderNumbers,
    /// Lent numbers are sealed online, too.
    BlockReused,
    /// A vote is not synced.
    VoteNotSynced,
    /// A checkpoint is signed when it is cut, and not when it is decided.
    CheckpointBeforeDecision,
    /// A repetition that comes before the signature is in the log is answered without one.
    RepetitionUnsigned,
    /// The group's time is also the local one.
    LocalTime,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::AnswerBeforeSync,
        Self::KeysLostInSnapshot,
        Self::SignBeforeCommit,
        Self::StaleRead,
        Self::LeaderNumbers,
        Self::BlockReused,
        Self::VoteNotSynced,
        Self::CheckpointBeforeDecision,
        Self::RepetitionUnsigned,
        Self::LocalTime,
    ];

    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AnswerBeforeSync => "answer-before-sync",
            Self::KeysLostInSnapshot => "keys-lost-in-snapshot",
            Self::SignBeforeCommit => "sign-before-commit",
            Self::StaleRead => "stale-read",
            Self::LeaderNumbers => "leader-numbers",
            Self::BlockReused => "block-reused",
            Self::VoteNotSynced => "vote-not-synced",
            Self::CheckpointBeforeDecision => "checkpoint-before-decision",
            Self::RepetitionUnsigned => "repetition-unsigned",
            Self::LocalTime => "local-time",
        }
    }
}

static CHOSEN: OnceLock<Bug> = OnceLock::new();

/// Plants a bug in this process, for good; says whether it is the first one.
pub fn plant(bug: Bug) -> bool {
    CHOSEN.set(bug).is_ok()
}

/// The bug that is planted here.
#[must_use]
pub fn planted() -> Option<Bug> {
    CHOSEN.get().copied()
}

/// Whether this bug is planted here.
#[must_use]
pub fn is_planted(bug: Bug) -> bool {
    CHOSEN.get() == Some(&bug)
}
