//! Small files beside a group's states that are written as a whole.

use std::path::Path;

use crate::disk::{Disk, OpenHow};
use crate::store::replica::{StoreError, io_error};

/// What the name of a file ends in whose writing was interrupted.
const FRESH: &str = ".new";

/// Writes a file anew. It is durable on return, and whatever happens meanwhile the old one or the new one is there.
pub(crate) fn write(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let (path, fresh) = (dir.join(name), dir.join(format!("{name}{FRESH}")));
    if disk.exists(&fresh).map_err(io_error("look for", &fresh))? {
        disk.remove_file(&fresh).map_err(io_error("remove", &fresh))?;
    }
    let file = disk.open(&fresh, OpenHow::Create).map_err(io_error("make", &fresh))?;
    file.write_all_at(bytes, 0).map_err(io_error("write", &fresh))?;
    file.sync_data().map_err(io_error("sync", &fresh))?;
    disk.rename(&fresh, &path).map_err(io_error("rename to", &path))?;
    disk.sync_dir(dir).map_err(io_error("sync", dir))
}

/// The beginning of a file; none when it is not there.
pub(crate) fn read(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let path = dir.join(name);
    if !disk.exists(&path).map_err(io_error("look for", &path))? {
        return Ok(None);
    }
    let file = disk.open(&path, OpenHow::Read).map_err(io_error("open", &path))?;
    let size = file.size().map_err(io_error("measure", &path))?.min(bytes_max);
    let mut bytes = vec![0; usize::try_from(size).expect("it is small")];
    file.read_exact_at(&mut bytes, 0).map_err(io_error("read", &path))?;
    Ok(Some(bytes))
}

/// Removes a file if it is there; durable on return.
pub(crate) fn clear(disk: &dyn Disk, dir: &Path, name: &str) -> Result<(), StoreError> {
    let path = dir.join(name);
    if disk.exists(&path).map_err(io_error("look for", &path))? {
        disk.remove_file(&path).map_err(io_error("remove", &path))?;
        disk.sync_dir(dir).map_err(io_error("sync", dir))?;
    }
    Ok(())
}

/// Whether a name is that of a file whose writing was interrupted.
pub(crate) fn is_fresh(name: &str, of: &[&str]) -> bool {
    name.strip_suffix(FRESH).is_some_and(|name| of.contains(&name))
}
