//! Why a replica cannot go on, and whether what is stored is to blame.
//!
//! Invariant: damage and a disk that fails are told apart; only the former calls for a rebuild.

use std::io;
use std::path::PathBuf;

use fiscus_ledger::apply::ApplyError;

use crate::entry::EntryError;
use crate::index::IndexError;
use crate::store::series::SeriesError;

/// Why a replica cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The journal failed.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// Apply cannot go on.
    #[error("group {group} cannot apply entry {index}: {source}")]
    Apply {
        /// The group.
        group: u64,
        /// The entry.
        index: u64,
        /// Why.
        source: ApplyError,
    },
    /// A committed entry cannot be read.
    #[error("group {group} cannot read entry {index}: {source}")]
    Entry {
        /// The group.
        group: u64,
        /// The entry.
        index: u64,
        /// Why.
        source: EntryError,
    },
    /// A row of the replica's own cannot be read.
    #[error("the {what} of group {group} in {dir} cannot be read: {detail}")]
    Row {
        /// The group.
        group: u64,
        /// Which row.
        what: &'static str,
        /// Where.
        dir: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The directory failed.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The state is damaged and nothing on this node leads back to it.
    #[error(
        "the state of group {group} in {dir} is lost: {damage}; no local snapshot is usable ({tried}) \
         and the log no longer goes back to the first entry"
    )]
    Lost {
        /// The group.
        group: u64,
        /// Where.
        dir: PathBuf,
        /// What is wrong with the state.
        damage: String,
        /// What was tried, and why it did not help.
        tried: String,
    },
    /// The replica stopped because it would have been wrong.
    #[error("group {group} is out of service on this node: {why}")]
    Stopped {
        /// The group.
        group: u64,
        /// Why.
        why: String,
    },
}

impl StoreError {
    /// Whether what is stored is not what was written: a state that is built again helps, another
    /// attempt does not.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Index(IndexError::Damaged { .. } | IndexError::Unclean { .. })
                | Self::Series(SeriesError::Damaged { .. })
                | Self::Row { .. }
        )
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}
