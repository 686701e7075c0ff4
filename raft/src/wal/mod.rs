//! The write-ahead log: one segmented, checksummed stream for all Raft groups of a node.
//!
//! ```text
//!  GroupLog ──op──► queue ──► Machine ──Step──► Driver ──► Disk
//!      ▲               (bounded)  ▲  └─ completions, in queue order
//!      └── index and cache        └──── outcome of each step
//! ```
//!
//! A segment begins with a header that carries every group's marks, so that older segments can be
//! dropped. Batches begin on a sector; each names the end of what was synced before it, so that a
//! torn tail, which is cut, can be told from damage, which is refused.
//!
//! Invariants: a sector that was synced is never written again; an operation is complete only after
//! its batch was synced; completions come in queue order, each once; after a failed write or sync
//! nothing more is written; a segment is removed only when nothing durable refers to it; names are
//! never reused. Non-goals: knowing what entries mean, replication, snapshots.

use bytes::Bytes;

mod compose;
mod copy;
mod driver;
mod error;
mod frame;
mod group;
mod handle;
mod inspect;
mod machine;
mod open;
mod options;
mod plan;
mod replay;
mod retain;
mod scan;
mod settle;
mod stats;
mod submit;
#[cfg(test)]
mod tests;
mod votes;

pub use error::WalError;
pub use handle::{GroupLog, Wal};
pub use inspect::{Inspected, Inspection, inspect};
pub use machine::Lagging;
pub use options::{OnPoison, OpenMode, WalOptions};
pub use stats::{SYNC_BUCKETS_US, SyncStats};

/// Where an entry stands in its group's log: ordered by term, then index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The term of the leader that proposed it.
    pub term: u64,
    /// Its place in the log.
    pub index: u64,
}

/// A vote, as Raft persists it before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vote {
    /// The term voted in.
    pub term: u64,
    /// Who got the vote.
    pub node: u64,
    /// Whether a majority granted it.
    pub committed: bool,
}

/// An entry; its payload is opaque here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place.
    pub id: LogId,
    /// Its payload.
    pub bytes: Bytes,
}
