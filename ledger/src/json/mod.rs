//! A pull reader over raw JSON text, and the canonical writer of strings.
//!
//! The reader never converts a number: it hands out its text. Strings without escapes are borrowed.
//! Nesting is bounded, nothing recurses, and every error says at which byte it stands.

mod value;

use std::borrow::Cow;

pub use value::Value;

/// Objects and arrays nest at most this deeply; an invoice needs four levels.
pub const DEPTH_MAX: u32 = 16;

/// The text is not the JSON that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    /// The byte.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// `[`
    Array,
    /// `{`
    Object,
}

/// Reads one JSON text from its start to its end.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

type Result<T> = std::result::Result<T, JsonError>;

impl<'a> Reader<'a> {
    /// Reads from the start of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// The byte that comes next.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// What comes next.
    pub fn peek(&mut self) -> Result<Kind> {
        match self.next_byte() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(_) => Err(self.error("no JSON value starts like this")),
            None => Err(self.error("the text ends where a value should be")),
        }
    }

    /// Enters an object.
    pub fn begin_object(&mut self) -> Result<()> {
        self.begin(b'{', "an object should start")
    }

    /// Enters an array.
    pub fn begin_array(&mut self) -> Result<()> {
        self.begin(b'[', "an array should start")
    }

    /// The next member's key, or `None` at the object's end. `first` is true for the first call.
    pub fn next_key(&mut self, first: &mut bool) -> Result<Option<Cow<'a, str>>> {
        if !self.next_in(b'}', first)? {
            return Ok(None);
        }
        let key = self.string()?;
        self.expect(b':', "a colon should stand after the key")?;
        Ok(Some(key))
    }

    /// Whether another element follows in the array. `first` is true for the first call.
    pub fn next_element(&mut self, first: &mut bool) -> Result<bool> {
        self.next_in(b']', first)
    }

    /// A string.
    pub fn string(&mut self) -> Result<Cow<'a, str>> {
        self.expect(b'"', "a string should start")?;
        let start = self.at;
        let end = plain_run(self.text.as_bytes(), start);
        match self.text.as_bytes().get(end) {
            Some(b'"') => {
                self.at = end + 1;
                Ok(Cow::Borrowed(&self.text[start..end]))
            }
            Some(b'\\') => self.escaped_string(start, end).map(Cow::Owned),
            Some(_) => {
                Err(JsonError { at: end, what: "a raw control character stands in a string" })
            }
            None => Err(JsonError { at: end, what: "the text ends inside a string" }),
        }
    }

    /// A number, as its text.
    pub fn number(&mut self) -> Result<&'a str> {
        self.skip_space();
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut at = start + usize::from(bytes.get(start) == Some(&b'-'));
        let whole = self.digits(at);
        if whole == at || (bytes[at] == b'0' && whole > at + 1) {
            return Err(JsonError { at, what: "a number should stand, without leading zeros" });
        }
        at = whole;
        if bytes.get(at) == Some(&b'.') {
            let fraction = self.digits(at + 1);
            if fraction == at + 1 {
                return Err(JsonError { at, what: "digits should follow the point" });
            }
            at = fraction;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = self.digits(at + 1 + sign);
            if exponent == at + 1 + sign {
                return Err(JsonError { at, what: "digits should follow the exponent" });
            }
            at = exponent;
        }
        self.at = at;
        Ok(&self.text[start..at])
    }

    /// Takes a `null` when it comes next.
    pub fn take_null(&mut self) -> Result<bool> {
        if self.peek()? != Kind::Null {
            return Ok(false);
        }
        self.word("null")?;
        Ok(true)
    }

    /// `true` or `false`.
    pub fn boolean(&mut self) -> Result<bool> {
        if self.next_byte() == Some(b't') {
            self.word("true").map(|()| true)
        } else {
            self.word("false").map(|()| false)
        }
    }

    /// Ends the reading: only white space may be left.
    pub fn finish(mut self) -> Result<()> {
        match self.next_byte() {
            None => Ok(()),
            Some(_) => Err(self.error("something follows the end of the document")),
        }
    }

    fn error(&self, what: &'static str) -> JsonError {
        JsonError { at: self.at, what }
    }

    fn skip_space(&mut self) {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn next_byte(&mut self) -> Option<u8> {
        self.skip_space();
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<()> {
        if self.next_byte() != Some(byte) {
            return Err(self.error(what));
        }
        self.at += 1;
        Ok(())
    }

    fn begin(&mut self, bracket: u8, what: &'static str) -> Result<()> {
        self.expect(bracket, what)?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error("the document nests too deeply"));
        }
        Ok(())
    }

    fn next_in(&mut self, end: u8, first: &mut bool) -> Result<bool> {
        let is_first = std::mem::replace(first, false);
        match self.next_byte() {
            Some(byte) if byte == end => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            Some(_) if is_first => Ok(true),
            Some(b',') => {
                self.at += 1;
                // A comma promises another element.
                match self.next_byte() {
                    Some(byte) if byte == end => Err(self.error("nothing follows the comma")),
                    _ => Ok(true),
                }
            }
            _ => Err(self.error("a comma or the end should stand here")),
        }
    }

    fn digits(&self, from: usize) -> usize {
        let rest = self.text.as_bytes().get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    fn word(&mut self, word: &'static str) -> Result<()> {
        self.skip_space();
        if !self.text[self.at..].starts_with(word) {
            return Err(self.error("null, true or false should stand here"));
        }
        self.at += word.len();
        Ok(())
    }

    fn escaped_string(&mut self, start: usize, first_escape: usize) -> Result<String> {
        let mut value = String::from(&self.text[start..first_escape]);
        self.at = first_escape;
        loop {
            let bytes = self.text.as_bytes();
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(value);
                }
                Some(b'\\') => value.push(self.escape()?),
                Some(0..0x20) => {
                    return Err(self.error("a raw control character stands in a string"));
                }
                Some(_) => {
                    let end = plain_run(bytes, self.at);
                    value.push_str(&self.text[self.at..end]);
                    self.at = end;
                }
                None => return Err(self.error("the text ends inside a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        let letter = self.text.as_bytes().get(self.at + 1).copied();
        let plain = match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.error("this escape does not exist")),
        };
        self.at += 2;
        Ok(plain)
    }

    fn unicode_escape(&mut self) -> Result<char> {
        const LONE: &str = "half of a surrogate pair stands alone";
        let high = self.code_unit(self.at)?;
        let code = match high {
            0xD800..=0xDBFF => {
                let low = self.code_unit(self.at + 6).map_err(|_| self.error(LONE))?;
                if !(0xDC00..=0xDFFF).contains(&low) {
                    return Err(self.error(LONE));
                }
                self.at += 6;
                0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)
            }
            other => other,
        };
        let letter = char::from_u32(code).ok_or_else(|| self.error(LONE))?;
        self.at += 6;
        Ok(letter)
    }

    fn code_unit(&self, at: usize) -> Result<u32> {
        let wrong = JsonError { at, what: "four hexadecimal digits should follow \\u" };
        let Some([b'\\', b'u', digits @ ..]) = self.text.as_bytes().get(at..at + 6) else {
            return Err(wrong);
        };
        digits
            .iter()
            .try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
            .ok_or(wrong)
    }
}

/// Where the run of bytes that stand for themselves ends. Eight bytes at a time: this loop sees
/// every byte of every invoice.
fn plain_run(bytes: &[u8], from: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let equals = |byte: u8| {
            let xor = word ^ (ONES * u64::from(byte));
            xor.wrapping_sub(ONES) & !xor & HIGHS
        };
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let stop = equals(b'"') | equals(b'\\') | control;
        if stop != 0 {
            // A borrow can only mark bytes above the first real one, so the lowest mark is right.
            return at + usize::try_from(stop.trailing_zeros() / 8).unwrap_or(0);
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| *byte >= 0x20 && *byte != b'"' && *byte != b'\\') {
        at += 1;
    }
    at
}

/// Writes a string in its one canonical spelling: only what must be escaped is.
pub fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut written = 0;
    loop {
        let end = plain_run(text.as_bytes(), written);
        out.push_str(&text[written..end]);
        let Some(escaped) = text.as_bytes().get(end) else { break };
        written = end + 1;
        match escaped {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x08 => out.push_str("\\b"),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            0x0c => out.push_str("\\f"),
            b'\r' => out.push_str("\\r"),
            control => {
                out.push_str("\\u00");
                out.push_str(&crate::hash::hex(&[*control]));
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Result<String> {
        let mut reader = Reader::new(text);
        let value = reader.string()?.into_owned();
        reader.finish()?;
        Ok(value)
    }

    #[test]
    fn strings_are_decoded_and_written_canonically() {
        for (text, value, canonical) in [
            (r#""""#, "", r#""""#),
            (
                r#""plain text, longer than eight bytes""#,
                "plain text, longer than eight bytes",
                r#""plain text, longer than eight bytes""#,
            ),
            (r#""a\/b\u0041\u00e9""#, "a/bAé", r#""a/bAé""#),
            (
                r#""\u001F\u0000\b\t\n\f\r\"\\""#,
                "\u{1f}\0\u{8}\t\n\u{c}\r\"\\",
                r#""\u001f\u0000\b\t\n\f\r\"\\""#,
            ),
            (r#""\ud83e\uddfe\u2028\u007f""#, "🧾\u{2028}\u{7f}", "\"🧾\u{2028}\u{7f}\""),
        ] {
            assert_eq!(string(text).as_deref(), Ok(value), "{text}");
            let mut out = String::new();
            write_string(&mut out, value);
            assert_eq!(out, canonical);
        }
    }

    #[test]
    fn broken_strings_are_refused_where_they_break() {
        for (text, at) in [
            ("\"abc", 4),
            ("\"a\nb\"", 2),
            ("\"1234567\u{1f}\"", 8),
            (r#""\x""#, 1),
            (r#""\ud800""#, 1),
            (r#""\ud800\u0041""#, 1),
            (r#""\udc00""#, 1),
            (r#""\u12g4""#, 1),
            (r#""\u+123""#, 1),
            (r#""ab" x"#, 5),
            ("\u{feff}\"\"", 0),
        ] {
            assert_eq!(string(text).map_err(|error| error.at), Err(at), "{text:?}");
        }
    }

    #[test]
    fn every_stop_byte_is_found_at_every_offset() {
        for length in 0..40 {
            for stop in ['"', '\\', '\u{1f}', '\u{0}'] {
                let text = format!("\"{}{stop}aaaaaaaaaaaa", "é".repeat(length));
                assert_eq!(plain_run(text.as_bytes(), 1), 1 + 2 * length, "{text:?}");
            }
        }
    }

    #[test]
    fn values_of_any_kind_are_checked() {
        let check = |text: &str| Value::parse(text).map(|_| ());
        for text in [
            "null",
            " true ",
            "-1.5e+3",
            "[]",
            "{}",
            "[[],{}]",
            r#"{"a":[1,{"b":null}],"c":""}"#,
            "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for text in [
            "",
            "nul",
            "tru",
            "01",
            "1.",
            "-",
            "1e",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{1:2}",
            r#"{"a"}"#,
            r#"{"a":1,}"#,
            "[}",
            "]",
            "+1",
            "'a'",
            "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]",
            "nullx",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
