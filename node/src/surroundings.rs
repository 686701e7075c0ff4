//! What a node has around it: disk, network, clock, randomness, threads.
//!
//! ```text
//! Surroundings::real()  files, TCP, the system's clock and randomness, a thread for the log
//! anything else         whoever runs many nodes in one process, on one thread, gives each its own
//! ```
//!
//! Invariant: a node does not know which of them it has.

use std::fmt::{self, Debug};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use fiscus_proto::dial::{Dialer, Wire};
use fiscus_raft::disk::{Disk, RealDisk};
use fiscus_raft::wal::Wal;
use futures_util::stream::BoxStream;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use crate::signer::Signer;

/// There is no randomness.
#[derive(Debug, thiserror::Error)]
#[error("there is no randomness")]
pub struct NoRandomness;

type Fill = dyn Fn(&mut [u8]) -> Result<(), NoRandomness> + Send + Sync;

/// Where random bytes come from. Copies share it.
#[derive(Clone)]
pub struct Randomness(Arc<Fill>);

impl Randomness {
    /// The system's.
    #[must_use]
    pub fn system() -> Self {
        let system = SystemRandom::new();
        Self::new(move |bytes| system.fill(bytes).map_err(|_| NoRandomness))
    }

    /// Another one.
    pub fn new(
        fill: impl Fn(&mut [u8]) -> Result<(), NoRandomness> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(fill))
    }

    /// Fills the bytes.
    pub fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        (self.0)(bytes)
    }
}

impl Debug for Randomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Randomness").finish_non_exhaustive()
    }
}

/// The time of day. Copies share it.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl WallClock {
    /// The system's.
    #[must_use]
    pub fn system() -> Self {
        Self::new(SystemTime::now)
    }

    /// Another one.
    pub fn new(read: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// What it says.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WallClock").finish_non_exhaustive()
    }
}

/// Drives a log that has no thread, until the log is dropped.
pub type DriveLog = Arc<dyn Fn(Wal) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A connection that came in over another network than TCP.
pub struct Arrived(Box<dyn Wire>);

impl Arrived {
    /// One that came over this.
    pub fn new(wire: impl Wire + 'static) -> Self {
        Self(Box::new(wire))
    }
}

impl Debug for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrived").finish_non_exhaustive()
    }
}

impl Connected for Arrived {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Arrived {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Arrived {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(context)
    }
}

/// Another network than TCP. A node on it has no listener of health and metrics.
pub struct Network {
    /// Reaches others.
    pub dialer: Dialer,
    /// Who reaches this node.
    pub incoming: BoxStream<'static, io::Result<Arrived>>,
}

impl Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("dialer", &self.dialer).finish_non_exhaustive()
    }
}

/// What a node has around it.
pub struct Surroundings {
    /// Where everything is kept.
    pub disk: Arc<dyn Disk>,
    /// The time of day.
    pub wall: WallClock,
    /// Randomness.
    pub random: Randomness,
    /// The keys, when they are not where the configuration says.
    pub signer: Option<Arc<dyn Signer>>,
    /// The network, when it is not TCP.
    pub network: Option<Network>,
    /// What drives the log, when it is not a thread.
    pub drive_log: Option<DriveLog>,
}

impl Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("disk", &self.disk).finish_non_exhaustive()
    }
}

impl Surroundings {
    /// Those of a node in a process of its own.
    #[must_use]
    pub fn real() -> Self {
        Self {
            disk: Arc::new(RealDisk::new()),
            wall: WallClock::system(),
            random: Randomness::system(),
            signer: None,
            network: None,
            drive_log: None,
        }
    }
}
