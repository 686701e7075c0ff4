//! What can go wrong with the write-ahead log, said to the operator who has to act on it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A failed operation on the write-ahead log. Clones share the cause.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WalError {
    /// The file system refused.
    #[error("could not {attempt} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the file system said.
        source: Arc<io::Error>,
    },
    /// An earlier write or sync failed, so what is on disk is unknown until the log is opened anew.
    #[error(
        "the write-ahead log stopped after a failed write or sync ({cause}); check the disk, then \
         restart this node"
    )]
    Poisoned {
        /// The first failure.
        cause: Arc<WalError>,
    },
    /// There is no room for another segment.
    #[error(
        "no space for another write-ahead log segment of {wanted} bytes; free space on the disk of \
         the log, nothing was written and appends resume by themselves"
    )]
    Full {
        /// How much room the next segment needs.
        wanted: u64,
    },
    /// Bytes that were synced are not what was written.
    #[error(
        "the write-ahead log is damaged: segment {segment}, offset {offset}, {}: {what}; replace \
         this replica, or open it in salvage mode so that it catches up from its peers",
        of_group(*group)
    )]
    Damaged {
        /// Number of the segment.
        segment: u32,
        /// Where in it.
        offset: u64,
        /// Whose bytes they are, when that can still be told.
        group: Option<u64>,
        /// What is wrong.
        what: String,
    },
    /// The directory belongs to another node.
    #[error(
        "{} belongs to identity {found:032x}, this node is {expected:032x}; point the node at its \
         own directory", path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Who we are.
        expected: u128,
        /// Whose it is.
        found: u128,
    },
    /// A newer program wrote this.
    #[error(
        "segment {segment} has format version {version}, which this program cannot read; use \
             the program that wrote it, or a newer one"
    )]
    Version {
        /// Number of the segment.
        segment: u32,
        /// The version found.
        version: u32,
    },
    /// The log was shut down.
    #[error("the write-ahead log was shut down; open it again")]
    Closed,
    /// The caller's operation does not continue the group's log.
    #[error("group {group}: {what}; this is a fault of the program, report it")]
    OutOfOrder {
        /// The group.
        group: u64,
        /// What does not fit.
        what: String,
    },
    /// An entry inside the range of the log is not there.
    #[error("group {group}: entry {index} is missing from the log; replace this replica")]
    Hole {
        /// The group.
        group: u64,
        /// The index that is missing.
        index: u64,
    },
    /// One operation is larger than a segment can ever be.
    #[error("an operation of {bytes} bytes exceeds the limit of {limit}; append fewer entries")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The most that is possible.
        limit: u64,
    },
    /// The votes file has no room for another group.
    #[error("group {group} would exceed the limit of {limit} groups a node; use another node")]
    TooManyGroups {
        /// The group that does not fit.
        group: u64,
        /// The limit.
        limit: usize,
    },
    /// An option is out of its bounds.
    #[error("write-ahead log option {option} is {value}, allowed is {allowed}; correct it")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        value: u64,
        /// What is allowed.
        allowed: &'static str,
    },
}

fn of_group(group: Option<u64>) -> String {
    group.map_or_else(|| "unknown group".to_owned(), |group| format!("group {group}"))
}

impl WalError {
    /// A stable name for programs and documentation.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "WAL_IO",
            Self::Poisoned { .. } => "WAL_POISONED",
            Self::Full { .. } => "WAL_FULL",
            Self::Damaged { .. } => "WAL_DAMAGED",
            Self::Foreign { .. } => "WAL_FOREIGN",
            Self::Version { .. } => "WAL_VERSION",
            Self::Closed => "WAL_CLOSED",
            Self::OutOfOrder { .. } => "WAL_ORDER",
            Self::Hole { .. } => "WAL_HOLE",
            Self::TooLarge { .. } => "WAL_TOO_LARGE",
            Self::TooManyGroups { .. } => "WAL_TOO_MANY_GROUPS",
            Self::Option { .. } => "WAL_OPTION",
        }
    }

    pub(super) fn io(attempt: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { attempt, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Whether nothing but room is missing.
    pub(super) fn is_no_space(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}
