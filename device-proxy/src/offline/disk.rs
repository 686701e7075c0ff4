//! The few things that a spool does with a disk, so that a test can cut the power between any two of them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock, statvfs};

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
    /// Returns when the names survive a power cut.
    fn sync_names(&mut self) -> io::Result<()>;
    /// Bytes that are free.
    fn free_bytes(&mut self) -> io::Result<u64>;
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
        std::fs::create_dir_all(&dir)?;
        let names = File::open(&dir)?;
        flock(&names, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            io::Error::new(io::ErrorKind::ResourceBusy, "another process uses this directory")
        })?;
        Ok(Self { dir, names, open: BTreeMap::new() })
    }

    fn file(&mut self, name: &'static str) -> io::Result<&File> {
        if !self.open.contains_key(name) {
            let mut options = OpenOptions::new();
            options.read(true).write(true).mode(0o600);
            let file = options.open(self.dir.join(name))?;
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
            let file = options.open(self.dir.join(name))?;
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

    fn sync_names(&mut self) -> io::Result<()> {
        self.names.sync_all()
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        let told = statvfs(&self.dir)?;
        Ok(told.f_bavail.saturating_mul(told.f_frsize))
    }
}
