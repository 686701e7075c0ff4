//! The file system as this crate uses it: a narrow door, so that crash tests can stand behind it.
//!
//! The real one is [`RealDisk`]. The simulated one, [`SimulatedDisk`], keeps two images, what is live and what is durable, and
//! can lose, tear and corrupt whatever was not synced.

use std::fmt::Debug;
use std::io;
use std::path::Path;

mod real;
mod simulated;

pub use real::RealDisk;
pub use simulated::{RebootMode, SimulatedDisk};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenHow {
    /// It must exist; only reads.
    Read,
    /// It must exist; reads and writes.
    Write,
    /// It must not exist.
    Create,
}

/// A directory tree.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Opens a file.
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Box<dyn DiskFile>>;
    /// Makes a directory and its parents; it may exist.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Whether a file or directory is there.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and everything in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Renames a file or directory, replacing a file of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Free and total bytes of the file system.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// An open file.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Fills the whole buffer, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of it.
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts or extends with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// The length.
    fn size(&self) -> io::Result<u64>;
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What is left for us.
    pub free: u64,
    /// All of it.
    pub total: u64,
}
