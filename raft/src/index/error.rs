//! What can go wrong with an index, and what to do about it.
//!
//! Invariant: every variant has a stable code and says the path.

use std::io;
use std::path::PathBuf;

/// An operation on an index that failed.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// What was read is not what was written.
    #[error(
        "the index {path} is damaged: {detail}; close it, remove it and rebuild it from the snapshot and the log, or from a peer",
        path = path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// Where, and how it showed.
        detail: String,
        /// The key of the damaged row, where it is one row.
        key: Option<Vec<u8>>,
    },
    /// The disk refused.
    #[error(
        "cannot {attempted} the index {path}: {source}; what was not durable may be gone: close it, look after the disk, open it again",
        path = path.display()
    )]
    Io {
        /// The database.
        path: PathBuf,
        /// What was being done.
        attempted: &'static str,
        /// What the disk said.
        source: io::Error,
    },
    /// The disk is full.
    #[error(
        "no room left to {attempted} the index {path}: make room on the disk, then close the index and open it again",
        path = path.display()
    )]
    Full {
        /// The database.
        path: PathBuf,
        /// What was being done.
        attempted: &'static str,
    },
    /// A later version of the program wrote it.
    #[error(
        "the index {path} has format {found}, this program knows formats up to {known}: start the version of the program that wrote it",
        path = path.display()
    )]
    TooNew {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The last one known here.
        known: u32,
    },
    /// It was not closed, and its backend cannot say what is missing.
    #[error(
        "the index {path} was not closed and may miss writes: remove it and rebuild it from the snapshot and the log, or from a peer",
        path = path.display()
    )]
    Unclean {
        /// The database.
        path: PathBuf,
    },
    /// Something holds it that the operation cannot share it with.
    #[error("the index {path} is in use by {holder}: try again when it is not", path = path.display())]
    Busy {
        /// The database.
        path: PathBuf,
        /// What holds it.
        holder: &'static str,
    },
    /// The rows of a bulk load do not come in order.
    #[error(
        "row {row} of the bulk load of the index {path} does not follow the key before it: take the snapshot again",
        path = path.display()
    )]
    Unsorted {
        /// The database.
        path: PathBuf,
        /// Which row, from 0.
        row: u64,
    },
}

impl IndexError {
    /// The code that operators look up.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "INDEX_DAMAGED",
            Self::Io { .. } => "INDEX_IO",
            Self::Full { .. } => "INDEX_FULL",
            Self::TooNew { .. } => "INDEX_TOO_NEW",
            Self::Unclean { .. } => "INDEX_UNCLEAN",
            Self::Busy { .. } => "INDEX_BUSY",
            Self::Unsorted { .. } => "INDEX_UNSORTED",
        }
    }
}
