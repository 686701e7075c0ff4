//! What a replica has applied of one group: rows in the index, records in the journal.
//!
//! ```text
//! groups/{g}/CURRENT            the name of the state in use
//! groups/{g}/state-{n}/         index, journal/, leaves/, tree-*/, signatures/
//! groups/{g}/snapshots/{index}/ links to sealed files, copies of the tails, rows, MANIFEST
//! groups/{g}/incoming/{index}/  a snapshot on its way in
//! groups/{g}/RECOVERY           there while the replica may have forgotten something
//! groups/{g}/INSTALLING         there while a snapshot's state is in use and the log may not be purged to it
//! groups/{g}/MEMBERS            the members as they were known last, for when all else is lost
//! groups/{g}/lost-{n}/          what was set aside, until the recovery has ended
//! ```
//!
//! The truth is the last durable state and the log after it: every entry's rows, its place in the log
//! and the journal's lengths become visible in one batch, so that opening cuts the journal to what the
//! rows say and the log is replayed from there.

mod check;
mod decided;
mod documents;
mod error;
mod find;
mod harm;
mod incoming;
pub(crate) mod installing;
mod journal;
mod members;
mod note;
mod open_blocks;
mod prove;
mod read;
mod recovery;
mod references;
mod rehearse;
mod remains;
mod replica;
mod restore;
mod scrub;
mod series;
mod snapshot;
mod state;
mod taken;
#[cfg(test)]
mod tests;
mod uploads;
mod versions;
mod walk;

pub use check::Checked;
pub use decided::DecidedCheckpoint;
pub use documents::DocumentQuery;
pub use find::{FindLimits, Found, NumberQuery, RecordQuery};
pub use harm::Harm;
pub use incoming::{Incoming, IncomingError};
pub use journal::{Journal, LeafEntry, Lengths};
pub(crate) use members::known as known_members;
pub use prove::{ProofError, TILE_WIDTH};
pub use read::{AsOf, FoundRecord, Reading};
pub use recovery::{Recovery, Step};
pub(crate) use remains::remains;
pub use replica::{
    AppliedEntry, ApplyReply, DocumentChange, Holders, Progress, Replica, ReplicaOptions,
    StoreError,
};
pub use restore::{Restoration, Restored, restore_log};
pub use scrub::{Content, Examined, KEPT_HEIGHTS, Place};
pub use series::SeriesError;
pub use snapshot::{SnapshotBuild, SnapshotDir, SnapshotError};
pub use state::drop_index;
pub use uploads::FoundUpload;
pub use versions::HeadsVersion;
