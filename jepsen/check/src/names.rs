//! Names as small numbers: a history of millions of lines has few of them.

use std::collections::HashMap;

/// A name that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(u32);

/// Every name that was seen.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: HashMap<Box<str>, Name>,
    texts: Vec<Box<str>>,
}

impl Names {
    /// The number of a name, a new one when it was not seen before.
    pub(crate) fn of(&mut self, text: &str) -> Name {
        if let Some(known) = self.known.get(text) {
            return *known;
        }
        let name = Name(u32::try_from(self.texts.len()).expect("a history has fewer names"));
        self.known.insert(text.into(), name);
        self.texts.push(text.into());
        name
    }

    /// The name of a number.
    pub(crate) fn text(&self, name: Name) -> &str {
        &self.texts[name.0 as usize]
    }
}
