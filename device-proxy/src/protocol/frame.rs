//! Frames in a stream of bytes: `STX body [*CRC-32] ETX`.
//!
//! Invariants: a broken frame is told once and changes nothing; after it the parser waits for the next STX;
//! never more than one frame's bytes are kept.

use std::time::Duration;

use super::crc32::crc32;

/// Begins a frame.
pub const STX: u8 = 0x02;
/// Ends a frame.
pub const ETX: u8 = 0x03;
/// Bytes between STX and ETX.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// A frame ends within this time, or is dropped.
pub const OPEN_FRAME_MAX: Duration = Duration::from_secs(5);
/// A buffer that grew beyond this is given back after its frame.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// `*` and eight digits.
const CHECKSUM_BYTES: usize = 9;

/// A whole frame whose checksum, when it has one, is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What stands between STX and the checksum or ETX.
    pub body: Vec<u8>,
    /// Whether it carried a checksum: then its answer does, too.
    pub checked: bool,
}

/// Why a frame was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than a frame may be.
    #[error("the frame is longer than {FRAME_BYTES_MAX} bytes and was dropped; nothing was done")]
    TooLong,
    /// Its end did not come.
    #[error("the frame was open for 5 seconds and was dropped; nothing was done; send it again")]
    TimedOut,
    /// Another one began inside it.
    #[error("another frame began before this one ended; nothing was done; send it again")]
    Cut,
    /// Its checksum is not that of its body.
    #[error("the checksum does not match the body; nothing was done; send the frame again")]
    Checksum,
}

/// What a stream of bytes holds next.
pub type Framed = Result<Frame, FrameError>;

/// Finds frames in a stream.
#[derive(Debug, Default)]
pub struct FrameParser {
    body: Vec<u8>,
    /// When the frame began; outside of frames bytes are discarded.
    open: Option<Duration>,
}

impl FrameParser {
    /// Takes bytes off `input` until a frame has ended or broken, or there are none left.
    pub fn next(&mut self, input: &mut &[u8], now: Duration) -> Option<Framed> {
        if let Some(error) = self.expire(now) {
            return Some(Err(error));
        }
        if self.open.is_none() {
            let Some(start) = input.iter().position(|byte| *byte == STX) else {
                *input = &[];
                return None;
            };
            *input = &input[start + 1..];
            self.open = Some(now);
        }
        let end = input.iter().position(|byte| *byte == STX || *byte == ETX);
        let taken = end.unwrap_or(input.len());
        if self.body.len() + taken > FRAME_BYTES_MAX {
            *input = &input[taken..];
            self.drop_frame();
            return Some(Err(FrameError::TooLong));
        }
        self.body.extend_from_slice(&input[..taken]);
        *input = &input[taken..];
        match input.first() {
            None => None,
            Some(&STX) => {
                // Left in the input: it begins the next frame.
                self.drop_frame();
                Some(Err(FrameError::Cut))
            }
            Some(_) => {
                *input = &input[1..];
                Some(self.finish())
            }
        }
    }

    /// Drops a frame that has been open for too long.
    pub fn expire(&mut self, now: Duration) -> Option<FrameError> {
        let until = self.deadline()?;
        (now >= until).then(|| {
            self.drop_frame();
            FrameError::TimedOut
        })
    }

    /// The rest of the open frame could not have been taken until now: its time begins anew.
    pub fn excuse(&mut self, now: Duration) {
        self.open = self.open.map(|_| now);
    }

    /// When the open frame is dropped.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.open.map(|open| open + OPEN_FRAME_MAX)
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.body.capacity()
    }

    fn finish(&mut self) -> Framed {
        let mut body = std::mem::take(&mut self.body);
        self.open = None;
        let Some(stated) = checksum_in(&body) else { return Ok(Frame { body, checked: false }) };
        body.truncate(body.len() - CHECKSUM_BYTES);
        if crc32(&body) != stated {
            return Err(FrameError::Checksum);
        }
        Ok(Frame { body, checked: true })
    }

    fn drop_frame(&mut self) {
        self.open = None;
        self.body.clear();
        if self.body.capacity() > KEPT_BYTES_MAX {
            self.body = Vec::new();
        }
    }
}

/// The checksum at the end of a frame. JSON ends with a brace, so nothing else looks like one.
fn checksum_in(bytes: &[u8]) -> Option<u32> {
    let tail = bytes.get(bytes.len().checked_sub(CHECKSUM_BYTES)?..)?;
    let digits = std::str::from_utf8(tail.strip_prefix(b"*")?).ok()?;
    // The reader of numbers would take a sign.
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

/// A frame around a body.
#[must_use]
pub fn framed(body: &str, checked: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + CHECKSUM_BYTES + 2);
    bytes.push(STX);
    bytes.extend_from_slice(body.as_bytes());
    if checked {
        bytes.extend_from_slice(format!("*{:08X}", crc32(body.as_bytes())).as_bytes());
    }
    bytes.push(ETX);
    bytes
}
