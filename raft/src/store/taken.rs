//! The entry up to which a replica's state was taken from another one. A copy proves nothing about the state that it is a
//! copy of: until a later cut is decided, what it says of cuts is its source's opinion.
//!
//! The number stands in a file beside the states and outlives restarts. It is written before the copy is in use.

use std::path::Path;

use crate::disk::Disk;
use crate::store::note;
use crate::store::replica::StoreError;

pub(crate) const FILE: &str = "TAKEN";
/// What the largest number needs.
const BYTES_MAX: u64 = 32;

/// The last entry that the state was taken with; 0 when every entry was applied here. When the note is damaged, all that is
/// applied counts as taken: the replica may know better than it says, and never the other way round.
pub(crate) fn read(disk: &dyn Disk, dir: &Path, applied: u64) -> Result<u64, StoreError> {
    let Some(text) = note::read(disk, dir, FILE, BYTES_MAX)? else { return Ok(0) };
    let index = std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok());
    Ok(index.unwrap_or_else(|| {
        tracing::warn!(dir = %dir.display(), "the note of what was taken is damaged; it is made anew");
        if let Err(error) = write(disk, dir, applied) {
            tracing::warn!(%error, "it is made anew at the next start");
        }
        applied
    }))
}

/// Notes that the state is about to be taken with this entry.
pub(crate) fn write(disk: &dyn Disk, dir: &Path, index: u64) -> Result<(), StoreError> {
    note::write(disk, dir, FILE, format!("{index}\n").as_bytes())
}
