//! The canonical binary encoding of stored rows and records: fixed-width little-endian integers and
//! length-prefixed bytes, so that equal state is equal bytes.
//!
//! There is one way to write a value and the reader accepts no other; decoding is total, and bounded
//! by the input's own length.

use crate::hash::Hash32;

/// Why stored bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes ended inside a value.
    #[error("the bytes end inside {0}")]
    Truncated(&'static str),
    /// A value is outside what its field may hold.
    #[error("{0} holds a value that it may not hold")]
    Invalid(&'static str),
    /// Bytes are left over after the last value.
    #[error("{0} bytes are left over after the last field")]
    Trailing(usize),
}

/// Writes fields one after the other.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Eight bytes, two's complement.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Sixteen bytes, two's complement.
    pub fn i128(&mut self, value: i128) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    /// `u32` length and the bytes.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.len(value.len());
        self.raw(value)
    }

    /// `u32` length and the UTF-8 bytes.
    pub fn str(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    /// The number of elements that follow.
    pub fn len(&mut self, count: usize) -> &mut Self {
        self.u32(u32::try_from(count).expect("stored lists are bounded far below 2^32 elements"))
    }

    /// `u32` length and whatever `fill` writes.
    pub fn framed(&mut self, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.bytes.len();
        self.u32(0);
        fill(self);
        let length = u32::try_from(self.bytes.len() - at - 4).expect("frames are bounded");
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        self
    }

    /// Bytes of a fixed length.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(value);
        self
    }

    /// What has been written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// What has been written so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads fields one after the other.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    /// Two bytes.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    /// Four bytes.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// Eight bytes.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// Eight bytes, two's complement.
    pub fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array(field)?))
    }

    /// Sixteen bytes, two's complement.
    pub fn i128(&mut self, field: &'static str) -> Result<i128, DecodeError> {
        Ok(i128::from_le_bytes(self.array(field)?))
    }

    /// One byte, 0 or 1 and nothing else.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid(field)),
        }
    }

    /// 32 raw bytes.
    pub fn h32(&mut self, field: &'static str) -> Result<Hash32, DecodeError> {
        self.array(field)
    }

    /// A fixed number of bytes.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, rest) =
            self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated(field))?;
        self.rest = rest;
        Ok(*head)
    }

    /// Length-prefixed bytes.
    pub fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.len(field)?;
        let (head, rest) =
            self.rest.split_at_checked(length).ok_or(DecodeError::Truncated(field))?;
        self.rest = rest;
        Ok(head)
    }

    /// Length-prefixed UTF-8.
    pub fn str(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| DecodeError::Invalid(field))
    }

    /// The number of elements that follow. Never more than the bytes that are left, so that a broken
    /// length cannot make the caller reserve memory.
    pub fn len(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.u32(field)?).map_err(|_| DecodeError::Invalid(field))?;
        if count > self.rest.len() {
            return Err(DecodeError::Truncated(field));
        }
        Ok(count)
    }

    /// Whether everything has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Ends the reading; left-over bytes are an error.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }
}
