//! Ids of what an outlet has several of: opaque to clients, safe in URLs, and telling which outlet to look in.
//!
//! Whose outlet it is, is checked when it is looked up, as for any id that a client sends.

use std::fmt;

use fiscus_ledger::base64::{decode_url, encode_url};

/// `{letter}-{outlet in base64url}-{number}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlaceId {
    /// What it is: `z`, `x`, `a` or `e`.
    pub(crate) letter: char,
    /// The outlet.
    pub(crate) outlet_id: String,
    /// Which one of the outlet's.
    pub(crate) number: u64,
}

impl PlaceId {
    pub(crate) fn new(letter: char, outlet_id: &str, number: u64) -> Self {
        Self { letter, outlet_id: outlet_id.to_owned(), number }
    }

    /// Reads what [`fmt::Display`] writes, and nothing else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (letter, rest) = text.split_once('-')?;
        let (outlet, number) = rest.rsplit_once('-')?;
        let mut letters = letter.chars();
        let (letter, None) = (letters.next()?, letters.next()) else { return None };
        let outlet_id = String::from_utf8(decode_url(outlet)?).ok()?;
        let read = Self { letter, outlet_id, number: number.parse().ok()? };
        (read.to_string() == text).then_some(read)
    }
}

impl fmt::Display for PlaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.letter, encode_url(self.outlet_id.as_bytes()), self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_and_has_one_spelling() {
        for outlet in ["outlet-gombe", "a", "é?~>", "-"] {
            let id = PlaceId::new('z', outlet, 17);
            assert_eq!(PlaceId::parse(&id.to_string()), Some(id));
        }
        for text in
            ["", "z", "z-", "z--1", "zz-YQ-1", "z-YQ-01", "z-YQ-+1", "z-YQ==-1", "z-YQ-", "z-/-1"]
        {
            let read = PlaceId::parse(text);
            assert!(read.as_ref().is_none_or(|id| id.outlet_id.is_empty()), "{text}: {read:?}");
        }
    }
}
