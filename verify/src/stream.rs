//! Splits a file of audit chunks into records, without holding more than one of them and what the file was read
//! ahead by.
//!
//! ```text
//! {"chunk_index":0,"records":[{…},{…}],"last":false}␊
//! {"chunk_index":1,"records":[{…}],"checkpoint":"…","last":true}␊
//! ```

use std::io::{self, Read, Seek, SeekFrom};

use crate::failure::{Failure, Kind};
use crate::note::NOTE_BYTES_MAX;
use crate::scan::Scanner;

const READ_BYTES: usize = 1 << 18;
/// An invoice of 1 MiB whose every character is escaped in the record, and its proof.
const RECORD_BYTES_MAX: usize = 8 << 20;
const CHUNK_RECORDS_MAX: usize = 1_000;
const BATCH_BYTES: usize = 1 << 19;
const BATCH_RECORDS: usize = 256;
/// What may stand after the last record: the checkpoint, every byte of it escaped.
const TAIL_BYTES_MAX: usize = 2 * NOTE_BYTES_MAX + 1024;

/// Why a check came to no good end.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Something is wrong with what was checked.
    #[error(transparent)]
    Found(#[from] Failure),
    /// It could not be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// Some records that follow each other.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn is_full(&self) -> bool {
        self.ends.len() >= BATCH_RECORDS || self.bytes.len() >= BATCH_BYTES
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    BeforeChunk,
    InChunk { records: usize },
    AfterLast,
}

/// A file of chunks being read.
#[derive(Debug)]
pub(crate) struct Stream<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    read: u64,
    chunk: u64,
    state: State,
    checkpoint: Option<String>,
}

impl<R: Read> Stream<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            start: 0,
            read: 0,
            chunk: 0,
            state: State::BeforeChunk,
            checkpoint: None,
        }
    }

    /// Bytes read from the source.
    pub(crate) fn bytes(&self) -> u64 {
        self.read
    }

    pub(crate) fn chunks(&self) -> u64 {
        self.chunk
    }

    /// The checkpoint of the last chunk.
    pub(crate) fn checkpoint(&self) -> Option<&str> {
        self.checkpoint.as_deref()
    }

    /// Adds records to `batch` until it is full or there are no more. What is wrong is told after the records
    /// before it were added.
    pub(crate) fn fill(&mut self, batch: &mut Batch) -> Result<(), VerifyError> {
        while !batch.is_full() {
            match self.state {
                State::BeforeChunk => self.begin_chunk()?,
                State::InChunk { records } => self.record(batch, records)?,
                State::AfterLast => {
                    let more = self.more(1)?;
                    return if more {
                        Err(self.format("the file goes on after its last chunk"))
                    } else {
                        Ok(())
                    };
                }
            }
        }
        Ok(())
    }

    fn format(&self, detail: &str) -> VerifyError {
        self.failure(Kind::Format, detail)
    }

    fn failure(&self, kind: Kind, detail: &str) -> VerifyError {
        let unread = u64::try_from(self.buffer.len() - self.start).unwrap_or(0);
        let place = format!("chunk {}, byte {}", self.chunk, self.read - unread);
        Failure::new(kind, place, detail).into()
    }

    /// Reads until `length` bytes are there; false when the file ends before.
    fn more(&mut self, length: usize) -> Result<bool, VerifyError> {
        while self.buffer.len() - self.start < length {
            if self.start > 0 {
                self.buffer.drain(..self.start);
                self.start = 0;
            }
            let held = self.buffer.len();
            self.buffer.resize(held + READ_BYTES, 0);
            let read = loop {
                match self.source.read(&mut self.buffer[held..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
            let read = read?;
            self.read += u64::try_from(read).unwrap_or(0);
            if read == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn ahead(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn take(&mut self, expected: &str) -> Result<bool, VerifyError> {
        let found = self.more(expected.len())? && self.ahead().starts_with(expected.as_bytes());
        if found {
            self.start += expected.len();
        }
        Ok(found)
    }

    fn literal(&mut self, expected: &str) -> Result<(), VerifyError> {
        if self.take(expected)? {
            Ok(())
        } else {
            Err(self.format(&format!("{expected} should stand here")))
        }
    }

    fn begin_chunk(&mut self) -> Result<(), VerifyError> {
        if !self.more(1)? {
            return Err(self.failure(Kind::Gap, "the file ends before its last chunk"));
        }
        self.literal("{\"chunk_index\":")?;
        let mut digits = 0;
        while self.more(digits + 1)? && self.ahead()[digits].is_ascii_digit() && digits < 20 {
            digits += 1;
        }
        let text = String::from_utf8_lossy(&self.ahead()[..digits]).into_owned();
        let index = Scanner::new(&text)
            .count()
            .map_err(|_| self.format("a chunk's number should stand here"))?;
        let kind = match index.cmp(&self.chunk) {
            std::cmp::Ordering::Less => Some(Kind::Duplicate),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(Kind::Gap),
        };
        if let Some(kind) = kind {
            return Err(self.failure(
                kind,
                &format!("chunk {index} stands at the place of chunk {}", self.chunk),
            ));
        }
        self.start += digits;
        self.literal(",\"records\":[")?;
        if self.take("]")? {
            return self.end_chunk();
        }
        self.state = State::InChunk { records: 0 };
        Ok(())
    }

    fn record(&mut self, batch: &mut Batch, records: usize) -> Result<(), VerifyError> {
        if records == CHUNK_RECORDS_MAX {
            return Err(self.format("the chunk has more than 1,000 records"));
        }
        let length = self.record_length()?;
        batch.bytes.extend_from_slice(&self.buffer[self.start..self.start + length]);
        batch.ends.push(batch.bytes.len());
        self.start += length;
        if self.take(",")? {
            self.state = State::InChunk { records: records + 1 };
            return Ok(());
        }
        self.literal("]")?;
        self.end_chunk()
    }

    /// A record holds no object: it ends with the first brace that stands in no string.
    fn record_length(&mut self) -> Result<usize, VerifyError> {
        let (mut at, mut in_string, mut escaped) = (0, false, false);
        loop {
            for byte in &self.buffer[self.start + at..] {
                at += 1;
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if in_string => escaped = true,
                    b'"' => in_string = !in_string,
                    b'}' if !in_string => return Ok(at),
                    _ => {}
                }
            }
            if at > RECORD_BYTES_MAX {
                return Err(self.format("a record is longer than 8 MiB"));
            }
            if !self.more(at + 1)? {
                return Err(self.format("the file ends inside a record"));
            }
        }
    }

    fn end_chunk(&mut self) -> Result<(), VerifyError> {
        self.chunk += 1;
        if self.take(",\"last\":false}\n")? {
            self.state = State::BeforeChunk;
            return Ok(());
        }
        // The checkpoint, too, is read as far as it goes: it is the end of the file.
        self.more(TAIL_BYTES_MAX)?;
        let length = self.ahead().len().min(TAIL_BYTES_MAX);
        let text = std::str::from_utf8(&self.ahead()[..length])
            .map_err(|_| self.format("the end is not UTF-8"))?;
        let (checkpoint, taken) = read_end(text).ok_or_else(|| {
            self.format("\"last\" and a line end, or the checkpoint and the end of the file, should stand here")
        })?;
        self.start += taken;
        self.checkpoint = Some(checkpoint);
        self.state = State::AfterLast;
        Ok(())
    }
}

/// What follows the last record of the last chunk, and how long it is; the line end may be missing.
fn read_end(text: &str) -> Option<(String, usize)> {
    let mut scanner = Scanner::new(text);
    scanner.literal(",\"checkpoint\":").ok()?;
    let checkpoint = scanner.string().ok()?.into_owned();
    scanner.literal(",\"last\":true}").ok()?;
    scanner.take("\n");
    Some((checkpoint, text.len() - scanner.remaining().len()))
}

/// Reads the checkpoint at the end of a file of chunks, and goes back to its start: what every proof leads to is
/// known before the first one.
pub(crate) fn checkpoint_at_the_end(
    source: &mut (impl Read + Seek),
) -> Result<(String, u64), VerifyError> {
    const BEGIN: &str = "],\"checkpoint\":";
    let length = source.seek(SeekFrom::End(0))?;
    let tail = length.min(u64::try_from(TAIL_BYTES_MAX).unwrap_or(u64::MAX));
    source.seek(SeekFrom::Start(length - tail))?;
    let mut bytes = Vec::new();
    source.take(tail).read_to_end(&mut bytes)?;
    source.seek(SeekFrom::Start(0))?;
    let at = bytes.windows(BEGIN.len()).rposition(|window| window == BEGIN.as_bytes());
    let end = at.and_then(|at| std::str::from_utf8(&bytes[at + 1..]).ok());
    match end.and_then(read_end) {
        Some((checkpoint, taken)) if Some(taken) == end.map(str::len) => Ok((checkpoint, length)),
        _ => {
            let trimmed = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let cut = trimmed.ends_with(b"],\"last\":false}") || bytes.is_empty();
            let kind = if cut { Kind::Gap } else { Kind::Format };
            let detail = "the file does not end with the checkpoint that its last chunk carries";
            Err(Failure::new(kind, "end of the file", detail).into())
        }
    }
}
