//! Serial devices and pseudo-terminals as streams of bytes.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::termios::{self, OptionalActions};
use tokio::io::Join;
use tokio::net::unix::pipe::{Receiver, Sender};

/// An open line. To the system its two directions are read and written as the ends of pipes are.
pub(crate) type Line = Join<Receiver, Sender>;

/// Opens a line, and lets every byte through as it is. Must be called in a Tokio runtime.
pub(crate) fn open(path: &Path) -> io::Result<Line> {
    // Without waiting for a carrier, and without becoming this process's terminal.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let flags = i32::try_from(flags).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    let mut attributes = termios::tcgetattr(&file)?;
    attributes.make_raw();
    termios::tcsetattr(&file, OptionalActions::Now, &attributes)?;
    let sender = Sender::from_file_unchecked(file.try_clone()?)?;
    Ok(tokio::io::join(Receiver::from_file_unchecked(file)?, sender))
}
