//! The entry of a state that is put into use in place of the one before, until the log is purged up to it.
//!
//! The log of a replica that takes a snapshot ends before the snapshot's entry, or has others in its place. State and log
//! change one after the other: after a crash between the two, this file tells such a log from one that has lost its end.
//!
//! ```text
//! groups/{g}/INSTALLING     {term} {index}; written before the state is in use, removed when the log's purge is durable
//! ```
//!
//! Invariant: while the file names the entry of the state in use, the log holds nothing that this replica needs but what
//! follows that entry.

use std::path::Path;

use crate::disk::Disk;
use crate::store::SnapshotDir;
use crate::store::note;
use crate::store::replica::{Replica, StoreError};
use crate::wal::LogId;

pub(crate) const FILE: &str = "INSTALLING";
/// What the two largest numbers need.
const BYTES_MAX: u64 = 64;

/// Notes that the state of this entry is about to be in use.
pub(crate) fn write(disk: &dyn Disk, dir: &Path, id: LogId) -> Result<(), StoreError> {
    note::write(disk, dir, FILE, format!("{} {}\n", id.term, id.index).as_bytes())
}

/// The entry, if a crash came between state and log. A file that cannot be read says nothing: the replica then recovers as
/// if its log had lost its end.
pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<LogId>, StoreError> {
    let Some(bytes) = note::read(disk, dir, FILE, BYTES_MAX)? else { return Ok(None) };
    let text = std::str::from_utf8(&bytes).ok();
    let numbers = text.and_then(|text| text.trim_end().split_once(' '));
    Ok(numbers.and_then(|(term, index)| {
        Some(LogId { term: term.parse().ok()?, index: index.parse().ok()? })
    }))
}

/// State and log fit together again.
pub(crate) fn clear(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    note::clear(disk, dir, FILE)
}

impl Replica {
    /// Puts a prepared state into use. The log is to be purged up to it, and then [`Self::installed`] told.
    pub fn install(&self, name: &str, snapshot: &SnapshotDir) -> Result<(), StoreError> {
        if let Some(id) = snapshot.log_id() {
            write(&*self.disk, &self.dir, id)?;
        }
        self.switch(name, snapshot)
    }

    /// The log begins behind the state that was put into use, durably.
    pub fn installed(&self) -> Result<(), StoreError> {
        clear(&*self.disk, &self.dir)
    }
}
