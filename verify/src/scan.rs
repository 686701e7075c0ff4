//! Reads canonical JSON: no white space, members in a known order, one spelling of every string and number. The
//! caller names what must come next; anything else is an error with its byte.

use std::borrow::Cow;

use unicode_normalization::is_nfc;

/// The text leaves its canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub(crate) struct Unreadable {
    pub(crate) at: usize,
    pub(crate) what: String,
}

/// A place in a text.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    pub(crate) fn error(&self, what: impl Into<String>) -> Unreadable {
        Unreadable { at: self.at, what: what.into() }
    }

    /// Everything from here on.
    pub(crate) fn remaining(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Takes `expected` if it comes next.
    pub(crate) fn take(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected.as_bytes());
        if found {
            self.at += expected.len();
        }
        found
    }

    /// Takes `expected`, which must come next.
    pub(crate) fn literal(&mut self, expected: &str) -> Result<(), Unreadable> {
        if self.take(expected) {
            Ok(())
        } else {
            Err(self.error(format!("{expected} should stand here")))
        }
    }

    /// What byte comes next.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    /// The whole text was read.
    pub(crate) fn finish(&self) -> Result<(), Unreadable> {
        if self.at == self.text.len() { Ok(()) } else { Err(self.error("the text goes on")) }
    }

    /// A string with its quotes.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Unreadable> {
        self.literal("\"")?;
        let start = self.at;
        self.skip_plain();
        if self.take("\"") {
            return Ok(Cow::Borrowed(&self.text[start..self.at - 1]));
        }
        let mut whole = String::with_capacity(2 * (self.at - start) + 64);
        whole.push_str(&self.text[start..self.at]);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(whole));
                }
                Some(b'\\') => whole.push(self.escape()?),
                _ => return Err(self.error("a string should end before this byte")),
            }
            let plain = self.at;
            self.skip_plain();
            whole.push_str(&self.text[plain..self.at]);
        }
    }

    /// Moves to the next quote, backslash or control character.
    fn skip_plain(&mut self) {
        let rest = self.rest();
        let plain = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
        self.at += rest.iter().position(|byte| !plain(byte)).unwrap_or(rest.len());
    }

    /// The one escape of a character that needs one.
    fn escape(&mut self) -> Result<char, Unreadable> {
        for (spelling, character) in [
            ("\\\"", '"'),
            ("\\\\", '\\'),
            ("\\n", '\n'),
            ("\\b", '\u{8}'),
            ("\\t", '\t'),
            ("\\f", '\u{c}'),
            ("\\r", '\r'),
        ] {
            if self.take(spelling) {
                return Ok(character);
            }
        }
        let wrong = self.error("this escape is not the one spelling of a character");
        let digits = self.rest().strip_prefix(b"\\u00").and_then(|rest| rest.first_chunk::<2>());
        let value = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let [value] = value.and_then(crate::encoding::from_hex::<1>).ok_or(wrong.clone())?;
        let short = matches!(value, 8..=10 | 12 | 13);
        if value >= b' ' || short {
            return Err(wrong);
        }
        self.at += 6;
        Ok(char::from(value))
    }

    /// A string that holds text in normalisation form C, of `least` to `most` bytes.
    pub(crate) fn text(&mut self, least: usize, most: usize) -> Result<Cow<'a, str>, Unreadable> {
        let at = self.at;
        let text = self.string()?;
        if !(least..=most).contains(&text.len()) {
            return Err(Unreadable {
                at,
                what: format!("{least} to {most} bytes should stand here"),
            });
        }
        if !text.is_ascii() && !is_nfc(&text) {
            return Err(Unreadable {
                at,
                what: "this text is not in normalisation form C".to_owned(),
            });
        }
        Ok(text)
    }

    /// A string that `read` understands.
    pub(crate) fn parsed<T>(
        &mut self,
        what: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Unreadable> {
        let at = self.at;
        let text = self.string()?;
        read(&text).ok_or_else(|| Unreadable { at, what: format!("{what} should stand here") })
    }

    /// A plain whole number.
    pub(crate) fn count(&mut self) -> Result<u64, Unreadable> {
        let rest = self.rest();
        let length = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        let digits = &self.text[self.at..self.at + length];
        let value = digits.parse().ok().filter(|_| digits == "0" || !digits.starts_with('0'));
        let value = value.ok_or_else(|| self.error("a plain whole number should stand here"))?;
        self.at += length;
        Ok(value)
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self) -> Result<bool, Unreadable> {
        if self.take("true") {
            return Ok(true);
        }
        self.literal("false").map(|()| false)
    }

    /// An array of at most `most` elements.
    pub(crate) fn list<T>(
        &mut self,
        most: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, Unreadable>,
    ) -> Result<Vec<T>, Unreadable> {
        self.literal("[")?;
        let mut all = Vec::new();
        if self.take("]") {
            return Ok(all);
        }
        loop {
            if all.len() == most {
                return Err(self.error(format!("there are more than {most} elements")));
            }
            all.push(element(self)?);
            if self.take("]") {
                return Ok(all);
            }
            self.literal(",")?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_have_one_spelling() {
        let read = |text: &str| Scanner::new(text).string().map(Cow::into_owned).ok();
        assert_eq!(read(r#""a/é""#).as_deref(), Some("a/é"));
        assert_eq!(
            read(r#""\"\\\b\t\n\f\r\u0001\u001f""#).as_deref(),
            Some("\"\\\u{8}\t\n\u{c}\r\u{1}\u{1f}")
        );
        for wrong in [
            r#""\/""#,
            r#""\u0041""#,
            r#""\u0008""#,
            r#""\u000a""#,
            r#""\u001F""#,
            r#""\u00""#,
            "\"\n\"",
            "\"",
            "\"\\",
            "a",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_and_lists_have_one_spelling() {
        let count = |text: &str| Scanner::new(text).count().ok();
        assert_eq!(count("0]"), Some(0));
        assert_eq!(count("18446744073709551615"), Some(u64::MAX));
        for wrong in ["", "-1", "01", "00", "18446744073709551616", "x"] {
            assert_eq!(count(wrong), None, "{wrong}");
        }
        let list = |text: &str| Scanner::new(text).list(2, Scanner::count).ok();
        assert_eq!(list("[]"), Some(vec![]));
        assert_eq!(list("[1,2]"), Some(vec![1, 2]));
        for wrong in ["[1,]", "[,1]", "[1 ,2]", "[1,2,3]", "[1", "1"] {
            assert_eq!(list(wrong), None, "{wrong}");
        }
    }
}
