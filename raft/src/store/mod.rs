//! What a replica has applied of one group: rows in the index, records in the journal.
//!
//! ```text
//! groups/{g}/CURRENT            the name of the state in use
//! groups/{g}/state-{n}/         index, journal/, leaves/, tree-*/, signatures/
//! groups/{g}/snapshots/{index}/ links to sealed files, copies of the tails, rows, MANIFEST
//! groups/{g}/incoming/{index}/  a snapshot on its way in
//! groups/{g}/RECOVERY           there while the replica may have forgotten something
//! ```
//!
//! The truth is the last durable state and the log after it: every entry's rows, its place in the log
//! and the journal's lengths become visible in one batch, so that opening cuts the journal to what the
//! rows say and the log is replayed from there.

mod check;
mod incoming;
mod journal;
mod read;
mod recovery;
mod replica;
mod restore;
mod scrub;
mod series;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;

pub use check::Checked;
pub use incoming::{Incoming, IncomingError};
pub use journal::{Journal, LeafEntry, Lengths};
pub use read::{AsOf, FoundRecord, Reading};
pub use recovery::{Recovery, Step};
pub use replica::{
    AppliedEntry, ApplyReply, DocumentChange, Holders, Progress, Replica, ReplicaOptions,
    StoreError,
};
pub use restore::{Restoration, Restored, restore_log};
pub use scrub::{Content, Examined, KEPT_HEIGHTS, Place};
pub use series::SeriesError;
pub use snapshot::{SnapshotBuild, SnapshotDir, SnapshotError};
