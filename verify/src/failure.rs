//! What can be wrong with what is checked: one kind a failure, and an exit code a kind.

use std::fmt;

/// The kind of a failure. Kinds and their exit codes never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A signature, or the key that it should be by.
    Signature,
    /// A record, or an outlet's head, is not where a proof says.
    Inclusion,
    /// A log is not the continuation of an earlier state.
    Consistency,
    /// A record is not what its hash says, or does not continue its journal.
    Chain,
    /// Something is left out.
    Gap,
    /// Something is there twice.
    Duplicate,
    /// Sums are not those of the records.
    Totals,
    /// A tax, its base, or the rules for its group.
    Tax,
    /// Too few witnesses saw it.
    Quorum,
    /// It is not spelled as its format says.
    Format,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Signature,
        Self::Inclusion,
        Self::Consistency,
        Self::Chain,
        Self::Gap,
        Self::Duplicate,
        Self::Totals,
        Self::Tax,
        Self::Quorum,
        Self::Format,
    ];

    /// The word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Inclusion => "inclusion",
            Self::Consistency => "consistency",
            Self::Chain => "chain",
            Self::Gap => "gap",
            Self::Duplicate => "duplicate",
            Self::Totals => "totals",
            Self::Tax => "tax",
            Self::Quorum => "quorum",
            Self::Format => "format",
        }
    }

    /// What a process that found it ends with.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Signature => 10,
            Self::Inclusion => 11,
            Self::Consistency => 12,
            Self::Chain => 13,
            Self::Gap => 14,
            Self::Duplicate => 15,
            Self::Totals => 16,
            Self::Tax => 17,
            Self::Quorum => 18,
            Self::Format => 19,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What was found to be wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {place}: {detail}")]
pub struct Failure {
    /// Its kind.
    pub kind: Kind,
    /// The part that is wrong, such as `record 17` or `checkpoint`.
    pub place: String,
    /// A sentence about it.
    pub detail: String,
}

impl Failure {
    pub(crate) fn new(kind: Kind, place: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, place: place.into(), detail: detail.into() }
    }

    /// The same failure in another, outer place.
    pub(crate) fn within(self, place: &str) -> Self {
        let place = if self.place.is_empty() {
            place.to_owned()
        } else {
            format!("{place}, {}", self.place)
        };
        Self { place, ..self }
    }
}
