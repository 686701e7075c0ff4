//! Serial lines as pairs of pseudo-terminals, which `socat` makes.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::io::Join;
use tokio::net::unix::pipe::{Receiver, Sender};

use super::host::{Host, LIMIT};

/// To the system a line's two directions are read and written as the ends of pipes are.
pub(crate) type Line = Join<Receiver, Sender>;

/// A pair of pseudo-terminals, as `socat` makes it.
pub(crate) struct Pair {
    child: Child,
    links: [PathBuf; 2],
}

impl Pair {
    pub(crate) fn new(device: &Path, host: &Path) -> Self {
        let end = |path: &Path| format!("pty,raw,echo=0,link={}", path.display());
        let mut command = Command::new("socat");
        command.args([end(device), end(host)]).stdin(Stdio::null());
        let child = command.spawn().expect("socat starts; `make setup` installs it");
        Self { child, links: [device.to_owned(), host.to_owned()] }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // A link that stays leads to whatever pair has the same number next.
        for link in &self.links {
            let _ = std::fs::remove_file(link);
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of a pair that hosts hold.
pub(crate) async fn open(path: &Path) -> Host<Line> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let flags = i32::try_from(flags).expect("flags are few");
    let opening = async {
        loop {
            let line = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
            match line {
                Ok(line) => return line,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let line = tokio::time::timeout(LIMIT, opening).await.expect("the line is there");
    let other = line.try_clone().expect("a second handle");
    let sender = Sender::from_file_unchecked(other).expect("it is written");
    Host::new(tokio::io::join(Receiver::from_file_unchecked(line).expect("it is read"), sender))
}
