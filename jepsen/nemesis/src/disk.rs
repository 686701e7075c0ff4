//! A disk of a node's own: ext4 in a file, through a loop device. Its power can be cut, which takes what was not synced,
//! and it can be filled.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::network::{run, told};

/// Of the file; only what is written takes room.
const IMAGE_BYTES: u64 = 6 << 30;
/// A disk with less than this is full.
const FULL_BYTES: u64 = 1 << 20;
/// `FS_IOC_SHUTDOWN` without flushing the file system's journal. A program in another language asks for it, because it
/// cannot be asked for here without unsafe code.
const SHUTDOWN: &str = "import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(fd, 0x8004587d, struct.pack('I', 2))";

/// A mounted disk. It is unmounted when this is dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    image: PathBuf,
    place: PathBuf,
    mounted: bool,
    has_power: bool,
}

impl Disk {
    /// Makes one and mounts it.
    pub(crate) fn make(image: &Path, place: &Path) -> Result<Self> {
        let file = File::create(image).with_context(|| image.display().to_string())?;
        file.set_len(IMAGE_BYTES)?;
        run("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1", &text(image)])?;
        std::fs::create_dir_all(place).with_context(|| place.display().to_string())?;
        let (image, place) = (image.to_owned(), place.to_owned());
        let mut disk = Self { image, place, mounted: false, has_power: true };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&mut self) -> Result<()> {
        run("mount", &["-o", "loop,noatime", &text(&self.image), &text(&self.place)])
            .context("a loop device is needed")?;
        self.mounted = true;
        Ok(())
    }

    /// From now on nothing reaches the disk any more, and what was not synced is lost.
    pub(crate) fn cut_power(&mut self) -> Result<()> {
        self.has_power = false;
        run("python3", &["-c", SHUTDOWN, &text(&self.place)])
    }

    /// Whether nobody has cut its power since it was mounted.
    pub(crate) fn has_power(&self) -> bool {
        self.has_power
    }

    /// Mounts it again, as after a start of the machine. Whoever used it must be gone.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        run("umount", &[&text(&self.place)])?;
        self.mounted = false;
        self.mount()?;
        self.has_power = true;
        Ok(())
    }

    fn ballast(&self) -> PathBuf {
        self.place.join("ballast")
    }

    /// Leaves so many bytes.
    pub(crate) fn fill(&self, left: u64) -> Result<()> {
        let free = rustix::fs::statvfs(&self.place)?;
        let free = free.f_bavail * free.f_frsize;
        let length = free.saturating_sub(left).max(1).to_string();
        let filled = run("fallocate", &["-l", &length, &text(&self.ballast())]);
        // What the file system needs for itself may be missing: then the disk is as full as it can be.
        match rustix::fs::statvfs(&self.place)? {
            now if now.f_bavail * now.f_frsize <= left.max(FULL_BYTES) => Ok(()),
            _ => filled,
        }
    }

    /// Gives the room back.
    pub(crate) fn empty(&self) -> Result<()> {
        match std::fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            told("umount", &["-l", &text(&self.place)]);
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
