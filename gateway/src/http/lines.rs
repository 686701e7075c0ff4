//! A body of lines, read one at a time, so that only one is held in memory.

use axum::body::{Body, BodyDataStream};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::http::problem::Problem;

/// The media type of JSON values, one a line.
pub const NDJSON: &str = "application/x-ndjson";

/// The lines of a body.
#[derive(Debug)]
pub struct Lines {
    body: BodyDataStream,
    read: BytesMut,
    /// So much of what was read has no end of a line in it. Looking again for each piece that comes would cost the
    /// square of a line that comes in many.
    looked_at: usize,
    /// Bytes of the whole body that may still come.
    bytes_left: usize,
    line_bytes_max: usize,
    deadline: Instant,
    /// The rest of a line that was too long is passed over.
    skipping: bool,
    ended: bool,
}

impl Lines {
    /// Nothing has been read yet.
    #[must_use]
    pub fn new(body: Body, bytes_max: usize, line_bytes_max: usize, deadline: Instant) -> Self {
        Self {
            body: body.into_data_stream(),
            read: BytesMut::new(),
            looked_at: 0,
            bytes_left: bytes_max,
            line_bytes_max,
            deadline,
            skipping: false,
            ended: false,
        }
    }

    /// The next line that is not blank. After an error about the body there is none; after one about a line there
    /// are others.
    pub async fn next(&mut self) -> Option<Result<Bytes, Problem>> {
        loop {
            let fresh = &self.read[self.looked_at..];
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(self.looked_at + end + 1).freeze();
                self.looked_at = 0;
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                if let Some(told) = self.line(&line) {
                    return Some(told);
                }
                continue;
            }
            if self.ended {
                let line = self.read.split().freeze();
                self.looked_at = 0;
                return if self.skipping { None } else { self.line(&line) };
            }
            if self.skipping {
                self.read.clear();
            } else if self.read.len() > self.line_bytes_max {
                self.read.clear();
                self.looked_at = 0;
                self.skipping = true;
                return Some(Err(self.line_too_long()));
            }
            self.looked_at = self.read.len();
            if let Err(problem) = self.more().await {
                self.ended = true;
                self.read.clear();
                self.looked_at = 0;
                return Some(Err(problem));
            }
        }
    }

    fn line(&self, line: &Bytes) -> Option<Result<Bytes, Problem>> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return None;
        }
        if line.len() > self.line_bytes_max {
            return Some(Err(self.line_too_long()));
        }
        Some(Ok(Bytes::copy_from_slice(line)))
    }

    async fn more(&mut self) -> Result<(), Problem> {
        let incomplete =
            |detail: String| Problem::new(StatusCode::BAD_REQUEST, "BODY_INCOMPLETE", detail);
        match timeout_at(self.deadline, self.body.next()).await {
            Err(_elapsed) => {
                Err(incomplete("the rest of the body did not come in time".to_owned()))
            }
            Ok(None) => {
                self.ended = true;
                Ok(())
            }
            Ok(Some(Err(error))) => {
                Err(incomplete(format!("the body could not be read to its end: {error}")))
            }
            Ok(Some(Ok(bytes))) if bytes.len() > self.bytes_left => Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "BODY_TOO_LARGE",
                "the body has more bytes than a batch may have; send the rest in another one",
            )),
            Ok(Some(Ok(bytes))) => {
                self.bytes_left -= bytes.len();
                self.read.extend_from_slice(&bytes);
                Ok(())
            }
        }
    }

    fn line_too_long(&self) -> Problem {
        let detail = format!("the line has more than {} bytes", self.line_bytes_max);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn read(chunks: &[&'static str], bytes_max: usize) -> Vec<Result<String, String>> {
        let chunks: Vec<_> =
            chunks.iter().map(|chunk| Ok::<_, std::io::Error>(Bytes::from(*chunk))).collect();
        let body = Body::from_stream(futures_util::stream::iter(chunks));
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut lines = Lines::new(body, bytes_max, 8, deadline);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("text");
            all.push(line.map(text).map_err(|problem| problem.code.into_owned()));
        }
        all
    }

    #[tokio::test]
    async fn lines_come_however_they_are_cut() {
        let ok = |text: &str| Ok(text.to_owned());
        let large = || Err("BODY_TOO_LARGE".to_owned());
        assert_eq!(read(&["a\nb", "c\r\n\n  \nd"], 99).await, [ok("a"), ok("bc"), ok("d")]);
        assert_eq!(read(&[], 99).await, []);
        assert_eq!(read(&["123456789\nb"], 99).await, [large(), ok("b")]);
        assert_eq!(read(&["123456789", "012", "\nb\n"], 99).await, [large(), ok("b")]);
        assert_eq!(read(&["a\n", "b\nccc"], 4).await, [ok("a"), large()]);
    }
}
