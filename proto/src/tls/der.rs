//! A walk over DER values: tag, length, content.
//!
//! Invariants: nothing is read outside of the bytes given; lengths are minimal and definite, as DER
//! demands; nothing is copied.
//!
//! Non-goals: tags of more than one byte, which certificates do not use where we look.

/// Why bytes are not the DER that they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DerError {
    /// A value ends before its length says.
    #[error("a value is cut short")]
    Short,
    /// A length is not minimal, indefinite, or over 4 GiB.
    #[error("a length is not spelled as DER demands")]
    Length,
    /// Another value than expected stands there.
    #[error("expected a value with tag {expected:#04x}, found {found:#04x}")]
    Tag {
        /// What should stand there.
        expected: u8,
        /// What stands there.
        found: u8,
    },
    /// A point in time is not one.
    #[error("a time is not spelled as X.509 demands")]
    Time,
}

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// What is left to read of a value's content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'a> {
    rest: &'a [u8],
}

impl<'a> Der<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(self) -> bool {
        self.rest.is_empty()
    }

    /// The tag that comes next; none at the end.
    pub(super) fn next_tag(self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next value, whatever it is.
    pub(super) fn any(&mut self) -> Result<(u8, &'a [u8]), DerError> {
        let (&tag, rest) = self.rest.split_first().ok_or(DerError::Short)?;
        let (size, rest) = length(rest)?;
        let content = rest.get(..size).ok_or(DerError::Short)?;
        self.rest = &rest[size..];
        Ok((tag, content))
    }

    /// The content of the next value, which must have this tag.
    pub(super) fn expect(&mut self, expected: u8) -> Result<&'a [u8], DerError> {
        let (found, content) = self.any()?;
        if found == expected { Ok(content) } else { Err(DerError::Tag { expected, found }) }
    }

    /// As [`Self::expect`], to walk into the value.
    pub(super) fn enter(&mut self, expected: u8) -> Result<Self, DerError> {
        self.expect(expected).map(Self::new)
    }

    /// The content of the next value when it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, DerError> {
        if self.next_tag() == Some(tag) { self.expect(tag).map(Some) } else { Ok(None) }
    }
}

fn length(bytes: &[u8]) -> Result<(usize, &[u8]), DerError> {
    let (&first, rest) = bytes.split_first().ok_or(DerError::Short)?;
    if first < 0x80 {
        return Ok((usize::from(first), rest));
    }
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) {
        return Err(DerError::Length);
    }
    let digits = rest.get(..count).ok_or(DerError::Short)?;
    let value = digits.iter().fold(0_u64, |value, digit| (value << 8) | u64::from(*digit));
    let minimal = digits[0] != 0 && value >= 0x80;
    match usize::try_from(value) {
        Ok(value) if minimal => Ok((value, &rest[count..])),
        _ => Err(DerError::Length),
    }
}
