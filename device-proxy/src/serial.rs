//! Serial devices and pseudo-terminals as streams of bytes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::termios::{self, OptionalActions, QueueSelector};
use tokio::io::Join;
use tokio::net::unix::pipe::{Receiver, Sender};

/// An open line. To the system its two directions are read and written as the ends of pipes are.
pub(crate) type Line = Join<Receiver, Sender>;

/// Without waiting for a carrier, and without becoming this process's terminal.
const OPEN_FLAGS: i32 = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits().cast_signed();

/// Opens a line, and lets every byte through as it is. Must be called in a Tokio runtime.
pub(crate) fn open(path: &Path) -> io::Result<Line> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(OPEN_FLAGS).open(path)?;
    make_raw(&file)?;
    line_of(file)
}

/// Lets every byte through as it is, and forgets what lay there before.
pub(crate) fn make_raw(file: &File) -> io::Result<()> {
    let mut attributes = termios::tcgetattr(file)?;
    attributes.make_raw();
    termios::tcsetattr(file, OptionalActions::Now, &attributes)?;
    Ok(())
}

/// A line over an open end of it, which is made not to block.
pub(crate) fn line_of(file: File) -> io::Result<Line> {
    rustix::io::ioctl_fionbio(&file, true)?;
    let sender = Sender::from_file_unchecked(file.try_clone()?)?;
    Ok(tokio::io::join(Receiver::from_file_unchecked(file)?, sender))
}

/// Throws away what has come and was not read.
pub(crate) fn flush(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(OPEN_FLAGS).open(path)?;
    Ok(termios::tcflush(&file, QueueSelector::IOFlush)?)
}
