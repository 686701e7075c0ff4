//! A canonical JSON text as a tree, for the payloads of records that are not invoices. They are few, and each has
//! its own members.

use crate::scan::{Scanner, Unreadable};

/// Payloads nest at most four deep.
const DEPTH_MAX: u32 = 8;
/// More members or elements than any payload has.
const ELEMENTS_MAX: usize = 100_000;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Count(u64),
    Flag(bool),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Reads a whole text.
    pub(crate) fn parse(text: &str) -> Result<Self, Unreadable> {
        let mut scanner = Scanner::new(text);
        let value = Self::read(&mut scanner, DEPTH_MAX)?;
        scanner.finish()?;
        Ok(value)
    }

    fn read(scanner: &mut Scanner<'_>, depth: u32) -> Result<Self, Unreadable> {
        let deeper = depth.checked_sub(1).ok_or_else(|| scanner.error("the text nests too deeply"));
        match scanner.peek() {
            Some(b'"') => scanner.string().map(|text| Self::Text(text.into_owned())),
            Some(b't' | b'f') => scanner.flag().map(Self::Flag),
            Some(b'[') => {
                let depth = deeper?;
                scanner.list(ELEMENTS_MAX, |scanner| Self::read(scanner, depth)).map(Self::List)
            }
            Some(b'{') => Self::object(scanner, deeper?),
            _ => scanner.count().map(Self::Count),
        }
    }

    fn object(scanner: &mut Scanner<'_>, depth: u32) -> Result<Self, Unreadable> {
        scanner.literal("{")?;
        let mut members: Vec<(String, Self)> = Vec::new();
        if scanner.take("}") {
            return Ok(Self::Object(members));
        }
        while members.len() < ELEMENTS_MAX {
            let name = scanner.string()?.into_owned();
            if members.len() < 64 && members.iter().any(|(known, _)| *known == name) {
                return Err(scanner.error("a member stands there twice"));
            }
            scanner.literal(":")?;
            members.push((name, Self::read(scanner, depth)?));
            if scanner.take("}") {
                return Ok(Self::Object(members));
            }
            scanner.literal(",")?;
        }
        Err(scanner.error("the object has too many members"))
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.member(name)? {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        match self.member(name)? {
            Self::Count(count) => Some(*count),
            _ => None,
        }
    }

    pub(crate) fn list(&self, name: &str) -> Option<&[Self]> {
        match self.member(name)? {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// 32 bytes in hexadecimal.
    pub(crate) fn hash(&self, name: &str) -> Option<[u8; 32]> {
        self.text(name).and_then(crate::encoding::from_hex)
    }

    /// `[[first,last],…]`, ascending and apart.
    pub(crate) fn ranges(&self, name: &str) -> Option<Vec<(u64, u64)>> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for range in self.list(name)? {
            let Self::List(ends) = range else { return None };
            let [Self::Count(first), Self::Count(last)] = ends[..] else { return None };
            let apart = ranges
                .last()
                .is_none_or(|(_, before)| before.checked_add(1).is_some_and(|next| next < first));
            if first > last || !apart {
                return None;
            }
            ranges.push((first, last));
        }
        Some(ranges)
    }
}
