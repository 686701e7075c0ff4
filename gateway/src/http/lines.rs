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
    /// So many bytes of it hold no end of a line: a line that comes a byte at a time is not searched through again
    /// for each.
    searched: usize,
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
            searched: 0,
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
            if let Some(end) = self.end_of_line() {
                let line = self.read.split_to(end + 1).freeze();
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
                self.searched = 0;
                return if self.skipping { None } else { self.line(&line) };
            }
            if self.skipping {
                self.clear();
            } else if self.read.len() > self.line_bytes_max {
                self.clear();
                self.skipping = true;
                return Some(Err(self.line_too_long()));
            }
            if let Err(problem) = self.more().await {
                self.ended = true;
                self.clear();
                return Some(Err(problem));
            }
        }
    }

    fn end_of_line(&mut self) -> Option<usize> {
        let found = self.read[self.searched..].iter().position(|byte| *byte == b'\n');
        let end = found.map(|at| self.searched + at);
        self.searched = if end.is_some() { 0 } else { self.read.len() };
        end
    }

    fn clear(&mut self) {
        self.read.clear();
        self.searched = 0;
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

    /// A line that comes a byte at a time takes as long as one that comes at once, but for the pieces.
    #[tokio::test]
    async fn a_line_in_pieces_is_searched_once() {
        let pieces = vec!["x"; 1 << 18];
        let sent = pieces.into_iter().chain(["\n", "y"]).map(Ok::<_, std::io::Error>);
        let body = Body::from_stream(futures_util::stream::iter(sent));
        let deadline = Instant::now() + Duration::from_secs(600);
        let mut lines = Lines::new(body, 1 << 20, 1 << 19, deadline);
        let first = lines.next().await.expect("a line").expect("a good one");
        let second = lines.next().await.expect("a line").expect("a good one");
        assert_eq!((first.len(), &second[..]), (1 << 18, &b"y"[..]));
    }
}
