//! The entry up to which a replica's state was taken from another one. A copy proves nothing about the state that it is a
//! copy of: until a later cut is decided, what it says of cuts is its source's opinion.
//!
//! The number stands in a file beside the states and outlives restarts. It is written before the copy is in use.

use std::path::Path;

use crate::disk::{Disk, OpenHow};
use crate::store::replica::{StoreError, io_error};

const FILE: &str = "TAKEN";
/// What a writing that was interrupted leaves behind.
pub(crate) const FRESH: &str = "TAKEN.new";
/// What the largest number needs.
const BYTES_MAX: u64 = 32;

/// The last entry that the state was taken with; 0 when every entry was applied here. When the note is damaged, all that is
/// applied counts as taken: the replica may know better than it says, and never the other way round.
pub(crate) fn read(disk: &dyn Disk, dir: &Path, applied: u64) -> Result<u64, StoreError> {
    let path = dir.join(FILE);
    if !disk.exists(&path).map_err(io_error("look for", &path))? {
        return Ok(0);
    }
    let file = disk.open(&path, OpenHow::Read).map_err(io_error("open", &path))?;
    let size = file.size().map_err(io_error("measure", &path))?.min(BYTES_MAX);
    let mut text = vec![0; usize::try_from(size).expect("it is small")];
    file.read_exact_at(&mut text, 0).map_err(io_error("read", &path))?;
    let index = std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok());
    Ok(index.unwrap_or_else(|| {
        tracing::warn!(path = %path.display(), "the note of what was taken is damaged; it is made anew");
        if let Err(error) = write(disk, dir, applied) {
            tracing::warn!(%error, "it is made anew at the next start");
        }
        applied
    }))
}

/// Notes that the state is about to be taken with this entry.
pub(crate) fn write(disk: &dyn Disk, dir: &Path, index: u64) -> Result<(), StoreError> {
    let (path, fresh) = (dir.join(FILE), dir.join(FRESH));
    if disk.exists(&fresh).map_err(io_error("look for", &fresh))? {
        disk.remove_file(&fresh).map_err(io_error("remove", &fresh))?;
    }
    let file = disk.open(&fresh, OpenHow::Create).map_err(io_error("make", &fresh))?;
    file.write_all_at(format!("{index}\n").as_bytes(), 0).map_err(io_error("write", &fresh))?;
    file.sync_data().map_err(io_error("sync", &fresh))?;
    disk.rename(&fresh, &path).map_err(io_error("rename to", &path))?;
    disk.sync_dir(dir).map_err(io_error("sync", dir))
}
