//! The real line: a serial port under its stable path, or TCP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::mediator::{Line, Lost};
use crate::protocol::FrameParser;
use crate::protocol::frame::framed;
use crate::serial;

const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// What was on its way when a line was lost has come within this time, or its shape tells that it is late.
const QUIET: Duration = Duration::from_millis(50);
const READ_BYTES: usize = 16 << 10;

/// Where a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Under a path that stays the same whatever else is plugged in.
    Serial(PathBuf),
    /// Behind a server that tunnels its line.
    Tcp(SocketAddr),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The line to one device.
pub(crate) struct Link {
    place: Place,
    stream: Option<Box<dyn Stream>>,
    parser: FrameParser,
    began: Instant,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, stream: None, parser: FrameParser::default(), began: Instant::now() }
    }

    async fn exchange(&mut self, body: &str, limit: Duration) -> std::io::Result<String> {
        let ended = || std::io::Error::other("the line has gone");
        let stream = self.stream.as_mut().ok_or_else(ended)?;
        let until = Instant::now() + limit;
        let late = |_| std::io::Error::other("no answer came in time");
        // With a checksum, so that a disturbed line is not taken for an answer.
        let bytes = framed(body, true);
        timeout_at(until, async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        })
        .await
        .map_err(late)??;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = timeout_at(until, stream.read(&mut buffer)).await.map_err(late)??;
            if read == 0 {
                return Err(ended());
            }
            let mut rest = &buffer[..read];
            while let Some(next) = self.parser.next(&mut rest, self.began.elapsed()) {
                // A frame that is broken, or carries no checksum, is noise: the answer is still to come.
                if let Ok(frame) = next
                    && frame.checked
                    && let Ok(text) = String::from_utf8(frame.body)
                {
                    return Ok(text);
                }
            }
        }
    }

    async fn open(&mut self) -> std::io::Result<()> {
        self.stream = None;
        self.parser = FrameParser::default();
        let mut stream: Box<dyn Stream> = match &self.place {
            Place::Serial(path) => {
                let line = serial::open(path)?;
                serial::flush(path)?;
                Box::new(line)
            }
            Place::Tcp(address) => {
                let late = |_| std::io::Error::other("no connection in time");
                let connecting = timeout(CONNECT_LIMIT, TcpStream::connect(address));
                let stream = connecting.await.map_err(late)??;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        };
        // An end of frame: whatever a broken write has left open in the device's parser ends here.
        if matches!(self.place, Place::Serial(_)) {
            stream.write_all(&[crate::protocol::frame::ETX]).await?;
            let mut buffer = vec![0; READ_BYTES];
            while let Ok(read) = timeout(QUIET, stream.read(&mut buffer)).await {
                if read? == 0 {
                    return Err(std::io::Error::other("the line has gone"));
                }
            }
        }
        self.stream = Some(stream);
        Ok(())
    }
}

impl Line for Link {
    async fn ask(&mut self, body: &str, limit: Duration) -> Result<String, Lost> {
        let asked = self.exchange(body, limit).await;
        if asked.is_err() {
            self.stream = None;
        }
        asked.map_err(|error| Lost(error.to_string()))
    }

    async fn reset(&mut self) -> Result<(), Lost> {
        self.open().await.map_err(|error| Lost(error.to_string()))
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}
