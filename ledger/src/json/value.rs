//! A whole document as a tree, for small files that are read once.

use std::borrow::Cow;

use super::{JsonError, Kind, Reader};

/// An object has at most this many members, so that looking for a key twice stays cheap.
const MEMBERS_MAX: usize = 1_024;

/// A JSON value. Numbers stay text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number's text.
    Number(&'a str),
    /// A string.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Self>),
    /// An object; no key stands twice.
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl<'a> Value<'a> {
    /// Reads one whole document.
    pub fn parse(text: &'a str) -> Result<Self, JsonError> {
        let mut reader = Reader::new(text);
        let value = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    /// The member of an object.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Recurses no deeper than the reader lets documents nest.
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        Ok(match reader.peek()? {
            Kind::Null => {
                reader.take_null()?;
                Self::Null
            }
            Kind::Bool => Self::Bool(reader.boolean()?),
            Kind::Number => Self::Number(reader.number()?),
            Kind::String => Self::String(reader.string()?),
            Kind::Array => {
                reader.begin_array()?;
                let (mut values, mut first) = (Vec::new(), true);
                while reader.next_element(&mut first)? {
                    values.push(Self::read(reader)?);
                }
                Self::Array(values)
            }
            Kind::Object => {
                reader.begin_object()?;
                let (mut members, mut first) = (Vec::<(Cow<'a, str>, Self)>::new(), true);
                while let Some(key) = reader.next_key(&mut first)? {
                    if members.iter().any(|(known, _)| *known == key) {
                        let what = "a key stands twice in its object before here";
                        return Err(JsonError { at: reader.position(), what });
                    }
                    if members.len() == MEMBERS_MAX {
                        let what = "an object has too many members before here";
                        return Err(JsonError { at: reader.position(), what });
                    }
                    members.push((key, Self::read(reader)?));
                }
                Self::Object(members)
            }
        })
    }
}
