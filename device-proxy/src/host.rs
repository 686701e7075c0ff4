//! One host: bytes in, answers out, one call at a time.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::metrics::Metrics;
use crate::port::Port;
use crate::protocol::frame::framed;
use crate::protocol::{Call, Code, Fault, Reply, Session, SessionLimits, Step};

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;

/// A device with its hosts.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) port: Arc<Port>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: SessionLimits,
    pub(crate) write_timeout: Duration,
    /// The zero of the sessions' clock.
    pub(crate) began: Instant,
    pub(crate) random: SystemRandom,
}

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error("reading from the host: {0}")]
    Read(io::Error),
    #[error("writing to the host: {0}")]
    Write(io::Error),
    #[error("the host did not take its answer in time")]
    NotTaken,
}

impl Device {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Random bytes for a nonce; the system has them, or nothing is prepared.
    fn random(&self) -> Option<[u8; 8]> {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes).ok().map(|()| bytes)
    }

    /// Talks with a host until it has hung up, or `stop`, and everything that it asked is answered.
    pub(crate) async fn converse<S>(
        &self,
        stream: S,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), HostError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut session = Session::new(self.limits);
        let mut buffer = vec![0; READ_BYTES];
        let mut open = true;
        let mut call = None;
        loop {
            let wake = match session.step(self.port.standing().await, self.now()) {
                Step::Answer(answer, code) => {
                    self.metrics.answered(self.port.device_id(), code);
                    self.write(&mut writer, &answer).await?;
                    continue;
                }
                Step::Call(asked, until) => {
                    call = Some(Box::pin(self.ask(asked, until)));
                    continue;
                }
                Step::Wait(_) if !open && session.is_idle() => return Ok(()),
                Step::Wait(until) => until,
            };
            let wake = async {
                match wake {
                    Some(until) => sleep_until(self.began + until).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                read = reader.read(&mut buffer), if open && session.wants_input() => match read {
                    // What it asked before it hung up is still answered.
                    Ok(0) => open = false,
                    Ok(bytes) => session.receive(&buffer[..bytes], self.now()),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => open = false,
                    Err(error) => return Err(HostError::Read(error)),
                },
                (reply, random) = async { call.as_mut().expect("there is one").await }, if call.is_some() => {
                    call = None;
                    session.replied(reply, random, self.now());
                }
                () = wake => {}
                // A sender that is gone stops as well.
                _ = stop.wait_for(|stop| *stop), if open => open = false,
            }
        }
    }

    async fn ask(&self, call: Call, until: Duration) -> (Reply, [u8; 8]) {
        let Some(random) = self.random() else {
            let fault = Fault::new(Code::Unavailable, "this machine has no randomness");
            return (Reply::NotNow(fault), [0; 8]);
        };
        let begun = Instant::now();
        let reply = self.port.call(call, self.began + until).await;
        self.metrics.called(begun.elapsed());
        (reply, random)
    }

    async fn write<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut W,
        bytes: &[u8],
    ) -> Result<(), HostError> {
        let writing = async {
            writer.write_all(bytes).await?;
            writer.flush().await
        };
        match timeout(self.write_timeout, writing).await {
            Ok(written) => written.map_err(HostError::Write),
            Err(_elapsed) => Err(HostError::NotTaken),
        }
    }

    /// Tells a host that there is no place for it.
    pub(crate) async fn turn_away<S: AsyncWrite + Unpin>(&self, mut stream: S) {
        let detail = "as many hosts as may be talk with this device; connect again later";
        let answer = framed(&Fault::new(Code::DeviceBusy, detail).to_json(), false);
        self.metrics.answered(self.port.device_id(), Some(Code::DeviceBusy));
        if let Err(error) = self.write(&mut stream, &answer).await {
            tracing::debug!(%error, "a host was turned away without a word");
        }
    }
}
