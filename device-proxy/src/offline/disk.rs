//! The few things that a spool does with a disk, so that a test can cut the power between any two of them.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, OFlags, flock, statvfs};
use rustix::process::geteuid;

/// A directory of few files.
pub(crate) trait Disk: Send {
    /// A file's length; none when it is not there.
    fn len(&mut self, name: &'static str) -> io::Result<Option<u64>>;
    /// Reads exactly these bytes.
    fn read(&mut self, name: &'static str, at: u64, into: &mut [u8]) -> io::Result<()>;
    /// Writes bytes, into a new file when there is none.
    fn write(&mut self, name: &'static str, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when a file's bytes and its length survive a power cut.
    fn sync(&mut self, name: &'static str) -> io::Result<()>;
    /// Cuts a file.
    fn truncate(&mut self, name: &'static str, length: u64) -> io::Result<()>;
    /// Gives a file another name, whose file is no more; survives a power cut after [`Disk::sync_names`].
    fn rename(&mut self, from: &'static str, to: &str) -> io::Result<()>;
    /// Whether there is a file of this name.
    fn has(&mut self, name: &str) -> io::Result<bool>;
    /// Whether a file is still the one of its name: nobody has taken it away or put another one in its place.
    fn has_its_name(&mut self, name: &'static str) -> io::Result<bool>;
    /// Returns when the names survive a power cut.
    fn sync_names(&mut self) -> io::Result<()>;
    /// Bytes that are free.
    fn free_bytes(&mut self) -> io::Result<u64>;
}

/// A link somebody put there is not followed.
pub(super) const NO_FOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// Whether a file belongs to this process, and nobody else may read or write it: it holds a shop's sales.
pub(super) fn is_private(file: &File, name: &str) -> io::Result<()> {
    let known = file.metadata()?;
    if known.uid() == geteuid().as_raw() && known.mode() & 0o077 == 0 {
        return Ok(());
    }
    let detail = format!("{name} must be 0600, and belong to whoever runs the proxy");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, detail))
}

/// A directory of this machine, which no other process has.
#[derive(Debug)]
pub(crate) struct RealDisk {
    dir: PathBuf,
    names: File,
    open: BTreeMap<&'static str, File>,
}

impl RealDisk {
    /// Opens a directory, which is made when it is not there, for this process alone.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        if !dir.try_exists()? {
            DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
            // Its own name is to survive a power cut as well.
            if let Some(parent) = dir.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        let names = File::open(&dir)?;
        let known = names.metadata()?;
        if known.uid() != geteuid().as_raw() || known.mode() & 0o022 != 0 {
            let detail =
                "it must belong to whoever runs the proxy, and nobody else may write into it";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, detail));
        }
        flock(&names, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            io::Error::new(io::ErrorKind::ResourceBusy, "another process uses this directory")
        })?;
        Ok(Self { dir, names, open: BTreeMap::new() })
    }

    fn file(&mut self, name: &'static str) -> io::Result<&File> {
        if !self.open.contains_key(name) {
            let mut options = OpenOptions::new();
            options.read(true).write(true).mode(0o600).custom_flags(NO_FOLLOW);
            let file = options.open(self.dir.join(name))?;
            is_private(&file, name)?;
            self.open.insert(name, file);
        }
        Ok(&self.open[name])
    }
}

impl Disk for RealDisk {
    fn len(&mut self, name: &'static str) -> io::Result<Option<u64>> {
        match self.file(name) {
            Ok(file) => file.metadata().map(|known| Some(known.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&mut self, name: &'static str, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.file(name)?.read_exact_at(into, at)
    }

    fn write(&mut self, name: &'static str, at: u64, bytes: &[u8]) -> io::Result<()> {
        if self.len(name)?.is_none() {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = options.custom_flags(NO_FOLLOW).open(self.dir.join(name))?;
            is_private(&file, name)?;
            self.open.insert(name, file);
        }
        self.file(name)?.write_all_at(bytes, at)
    }

    fn sync(&mut self, name: &'static str) -> io::Result<()> {
        self.file(name)?.sync_all()
    }

    fn truncate(&mut self, name: &'static str, length: u64) -> io::Result<()> {
        self.file(name)?.set_len(length)
    }

    fn rename(&mut self, from: &'static str, to: &str) -> io::Result<()> {
        self.open.clear();
        std::fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn has(&mut self, name: &str) -> io::Result<bool> {
        self.dir.join(name).try_exists()
    }

    fn has_its_name(&mut self, name: &'static str) -> io::Result<bool> {
        let open = self.file(name)?.metadata()?;
        match std::fs::symlink_metadata(self.dir.join(name)) {
            Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.names.sync_all()
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        let told = statvfs(&self.dir)?;
        Ok(told.f_bavail.saturating_mul(told.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn denied<T>(tried: io::Result<T>) -> bool {
        matches!(tried, Err(error) if error.kind() == io::ErrorKind::PermissionDenied)
    }

    #[test]
    fn what_others_could_change_is_not_used() {
        let above = tempfile::tempdir().expect("a directory");
        let dir = above.path().join("till/def-1");
        let mut disk = RealDisk::open(dir.clone()).expect("it is made");
        assert_eq!(dir.metadata().expect("a directory").mode() & 0o777, 0o700);
        disk.write("spool", 0, b"x").expect("written");
        let spool = dir.join("spool");
        assert_eq!(spool.metadata().expect("a file").mode() & 0o777, 0o600);
        assert!(RealDisk::open(dir.clone()).is_err(), "another process has it");
        drop(disk);
        for (path, mode) in [(&spool, 0o640), (&spool, 0o602), (&dir, 0o720), (&dir, 0o702)] {
            let before = path.metadata().expect("it is there").permissions();
            set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
            let tried = RealDisk::open(dir.clone()).and_then(|mut disk| disk.len("spool"));
            assert!(denied(tried), "{} {mode:o}", path.display());
            set_permissions(path, before).expect("a mode");
        }
        std::fs::rename(&spool, dir.join("elsewhere")).expect("moved");
        symlink("elsewhere", &spool).expect("a link");
        let mut disk = RealDisk::open(dir).expect("it opens");
        assert!(disk.len("spool").is_err(), "a link is not followed");
    }
}
