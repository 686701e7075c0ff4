//! Canonical JSON for the payloads of records that are not invoices: the fields in the order in which
//! they are written, no white space, numbers only where they count things.

use crate::hash::hex;
use crate::json::write_string;

/// Writes one JSON object.
#[derive(Debug)]
pub struct Object {
    text: String,
}

impl Object {
    /// An object without fields.
    #[must_use]
    pub fn new() -> Self {
        Self { text: String::from("{") }
    }

    /// A text field.
    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        write_string(&mut self.text, value);
        self
    }

    /// A text field that is left out when there is nothing.
    #[must_use]
    pub fn optional(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// A count.
    #[must_use]
    pub fn count(self, name: &str, value: u64) -> Self {
        self.json(name, &value.to_string())
    }

    /// Yes or no.
    #[must_use]
    pub fn flag(self, name: &str, value: bool) -> Self {
        self.json(name, if value { "true" } else { "false" })
    }

    /// Bytes in lower-case hexadecimal.
    #[must_use]
    pub fn bytes(self, name: &str, value: &[u8]) -> Self {
        self.text(name, &hex(value))
    }

    /// A field whose value is JSON already.
    #[must_use]
    pub fn json(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        self.text.push_str(value);
        self
    }

    /// A list of texts.
    #[must_use]
    pub fn texts<'t>(self, name: &str, values: impl IntoIterator<Item = &'t str>) -> Self {
        let quoted = values.into_iter().map(|value| {
            let mut text = String::new();
            write_string(&mut text, value);
            text
        });
        self.json(name, &array(quoted))
    }

    /// A list of `[first,last]` pairs.
    #[must_use]
    pub fn ranges(self, name: &str, ranges: &[(u64, u64)]) -> Self {
        self.json(name, &array(ranges.iter().map(|(first, last)| format!("[{first},{last}]"))))
    }

    /// The object as text.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }

    fn name(&mut self, name: &str) {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        write_string(&mut self.text, name);
        self.text.push(':');
    }
}

impl Default for Object {
    fn default() -> Self {
        Self::new()
    }
}

/// A JSON array of values that are JSON already.
#[must_use]
pub fn array(values: impl IntoIterator<Item = String>) -> String {
    let mut text = String::from("[");
    for value in values {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&value);
    }
    text.push(']');
    text
}
