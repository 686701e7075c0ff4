//! Rust source with its code and its comments told apart, so that a rule about code does not trip over
//! prose, and a rule about prose not over a string.
//!
//! Non-goals: parsing. Code stays text of the same lines and columns, with strings and comments blanked.

/// One Rust file, split.
#[derive(Debug)]
pub(crate) struct Source {
    /// The file with every comment and the inside of every literal replaced by spaces.
    pub(crate) code: String,
    pub(crate) comments: Vec<Comment>,
}

/// A line of a comment, with its slashes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Comment {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// A function's place; lines are counted from 1 and inclusive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text,
    RawText { hashes: usize },
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let mut split = Split { chars: &chars, at: 0, code: String::new(), comment: String::new() };
        split.run();
        let comment_line = |(index, line): (usize, &str)| {
            let text = line.trim();
            (!text.is_empty()).then(|| Comment { line: index + 1, text: text.to_owned() })
        };
        let comments = split.comment.lines().enumerate().filter_map(comment_line).collect();
        Self { code: split.code, comments }
    }

    /// The code without the items under `#[cfg(test)]`.
    pub(crate) fn code_outside_tests(&self) -> String {
        let mut code: Vec<char> = self.code.chars().collect();
        for attribute in attributes(&self.code) {
            let squeezed = attribute.text.replace(' ', "");
            if squeezed == "#[cfg(test)]" || squeezed.starts_with("#[cfg(all(test,") {
                let end = item_end(&code, attribute.end);
                for c in &mut code[attribute.start..end] {
                    if *c != '\n' {
                        *c = ' ';
                    }
                }
            }
        }
        code.into_iter().collect()
    }

    /// Every function with a body, nested ones too.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let code: Vec<char> = self.code.chars().collect();
        let mut functions = Vec::new();
        for start in word_starts(&code, "fn") {
            let name: String = code[start + 2..]
                .iter()
                .skip_while(|c| c.is_whitespace())
                .take_while(|c| is_word(**c))
                .collect();
            // A type such as `fn(u8)` has no name, and what ends with `;` has no body.
            if name.is_empty() {
                continue;
            }
            let end = item_end(&code, start);
            if code[end - 1] == '}' {
                let (first, last) = (line_at(&code, start), line_at(&code, end - 1));
                functions.push(Function { name, first, last });
            }
        }
        functions
    }
}

struct Split<'a> {
    chars: &'a [char],
    at: usize,
    code: String,
    comment: String,
}

impl Split<'_> {
    fn run(&mut self) {
        let mut mode = Mode::Code;
        while self.at < self.chars.len() {
            mode = match mode {
                Mode::Code => self.code_step(),
                Mode::LineComment if self.peek(0) == Some('\n') => self.take_code(1, Mode::Code),
                Mode::LineComment => self.take_comment(1, Mode::LineComment),
                Mode::BlockComment { depth } => self.block_comment_step(depth),
                Mode::Text => self.text_step(),
                Mode::RawText { hashes } => self.raw_text_step(hashes),
            };
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn starts_with(&self, what: &str) -> bool {
        what.chars().enumerate().all(|(ahead, c)| self.peek(ahead) == Some(c))
    }

    /// Passes `count` characters on as code.
    fn take_code(&mut self, count: usize, next: Mode) -> Mode {
        self.take(count, |c| (c, ' '));
        next
    }

    /// Passes `count` characters on as comment.
    fn take_comment(&mut self, count: usize, next: Mode) -> Mode {
        self.take(count, |c| (' ', c));
        next
    }

    /// Drops `count` characters.
    fn blank(&mut self, count: usize, next: Mode) -> Mode {
        self.take(count, |_| (' ', ' '));
        next
    }

    fn take(&mut self, count: usize, split: impl Fn(char) -> (char, char)) {
        let end = (self.at + count).min(self.chars.len());
        for c in &self.chars[self.at..end] {
            let (code, comment) = if *c == '\n' { ('\n', '\n') } else { split(*c) };
            self.code.push(code);
            self.comment.push(comment);
        }
        self.at = end;
    }

    fn code_step(&mut self) -> Mode {
        let after_word = self.at > 0 && is_word(self.chars[self.at - 1]);
        match self.peek(0) {
            Some('/') if self.starts_with("//") => self.take_comment(2, Mode::LineComment),
            Some('/') if self.starts_with("/*") => {
                self.take_comment(2, Mode::BlockComment { depth: 1 })
            }
            Some('"') => self.take_code(1, Mode::Text),
            Some('r' | 'b' | 'c') if !after_word => self.prefixed_step(),
            Some('\'') => self.quote_step(),
            _ => self.take_code(1, Mode::Code),
        }
    }

    /// After a word boundary: `r"`, `br#"`, `cr"` and the like open a raw text; anything else is code.
    fn prefixed_step(&mut self) -> Mode {
        let prefix = if self.starts_with("br") || self.starts_with("cr") { 2 } else { 1 };
        if self.peek(prefix - 1) == Some('r') {
            let hashes = (0..).take_while(|n| self.peek(prefix + n) == Some('#')).count();
            if self.peek(prefix + hashes) == Some('"') {
                self.blank(prefix + hashes, Mode::Code);
                return self.take_code(1, Mode::RawText { hashes });
            }
        }
        self.take_code(1, Mode::Code)
    }

    /// A quote opens a character literal or names a lifetime.
    fn quote_step(&mut self) -> Mode {
        if self.peek(1) == Some('\\') {
            let escaped = (3..).take_while(|n| !matches!(self.peek(*n), None | Some('\''))).count();
            return self.blank(3 + escaped + 1, Mode::Code);
        }
        if self.peek(2) == Some('\'') {
            return self.blank(3, Mode::Code);
        }
        self.take_code(1, Mode::Code)
    }

    fn text_step(&mut self) -> Mode {
        match self.peek(0) {
            Some('\\') => self.blank(2, Mode::Text),
            Some('"') => self.take_code(1, Mode::Code),
            _ => self.blank(1, Mode::Text),
        }
    }

    fn raw_text_step(&mut self, hashes: usize) -> Mode {
        let closes = self.peek(0) == Some('"') && (1..=hashes).all(|n| self.peek(n) == Some('#'));
        if closes {
            self.take_code(1, Mode::Code);
            return self.blank(hashes, Mode::Code);
        }
        self.blank(1, Mode::RawText { hashes })
    }

    fn block_comment_step(&mut self, depth: usize) -> Mode {
        if self.starts_with("/*") {
            return self.take_comment(2, Mode::BlockComment { depth: depth + 1 });
        }
        if self.starts_with("*/") {
            let outer = Mode::BlockComment { depth: depth - 1 };
            return self.take_comment(2, if depth == 1 { Mode::Code } else { outer });
        }
        self.take_comment(1, Mode::BlockComment { depth })
    }
}

/// An attribute of the code, as `#[…]` or `#![…]`; positions are in characters.
#[derive(Debug)]
pub(crate) struct Attribute {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Attribute {
    /// The words in it, in order: `#[cfg_attr(x, ignore)]` gives `cfg_attr`, `x`, `ignore`.
    pub(crate) fn words(&self) -> Vec<&str> {
        self.text.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect()
    }
}

/// Every attribute in blanked code.
pub(crate) fn attributes(code: &str) -> Vec<Attribute> {
    let code: Vec<char> = code.chars().collect();
    let mut attributes = Vec::new();
    for start in 0..code.len() {
        let opens = match code[start..] {
            ['#', '[', ..] => start + 1,
            ['#', '!', '[', ..] => start + 2,
            _ => continue,
        };
        let end = closing(&code, opens);
        let text = code[start..end].iter().collect();
        attributes.push(Attribute { start, end, line: line_at(&code, start), text });
    }
    attributes
}

/// The lines (from 1) on which `needle` stands in blanked code with no word running into it.
pub(crate) fn lines_with_word(code: &str, needle: &str) -> Vec<usize> {
    let stands_alone = |line: &str| {
        line.match_indices(needle).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + needle.len()..].chars().next();
            let joins = |inner: Option<char>, outer: Option<char>| {
                inner.is_some_and(is_word) && outer.is_some_and(is_word)
            };
            !joins(needle.chars().next(), before) && !joins(needle.chars().next_back(), after)
        })
    };
    let numbered = code.lines().enumerate();
    numbered.filter(|(_, line)| stands_alone(line)).map(|(index, _)| index + 1).collect()
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

pub(crate) fn line_at(code: &[char], at: usize) -> usize {
    code[..at].iter().filter(|c| **c == '\n').count() + 1
}

fn word_starts(code: &[char], word: &str) -> Vec<usize> {
    let word: Vec<char> = word.chars().collect();
    let alone = |start: usize| {
        code[start..].starts_with(&word)
            && (start == 0 || !is_word(code[start - 1]) && code[start - 1] != '#')
            && code.get(start + word.len()).is_none_or(|c| !is_word(*c))
    };
    (0..code.len()).filter(|start| alone(*start)).collect()
}

/// Where the item that begins at `start` ends (exclusive): after its first `;` or closing `}` outside of
/// parentheses and brackets.
fn item_end(code: &[char], start: usize) -> usize {
    let mut at = start;
    while at < code.len() {
        match code[at] {
            ';' => return at + 1,
            '{' => return closing(code, at),
            '(' | '[' => at = closing(code, at),
            _ => at += 1,
        }
    }
    code.len()
}

/// Where the bracket that opens at `at` is closed (exclusive); the end of the code if never.
pub(crate) fn closing(code: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    for (index, c) in code.iter().enumerate().skip(at) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth <= 1 => return index + 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_blanked() {
        let table = [
            ("a // b", "a     "),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"x("a\"b") // c"#, r#"x("    ")     "#),
            (r##"r#"a"b"# + 1"##, r#"  "   "  + 1"#),
            ("br\"a\\\" c", "  \"  \" c"),
            ("'\"' + '\\'' + 'a", "    +      + 'a"),
            ("r#fn + bar\"x\"", "r#fn + bar\" \""),
            ("b'\\u{41}' c", "b         c"),
            ("\"http://x\" y", "\"        \" y"),
        ];
        for (text, code) in table {
            assert_eq!(Source::new(text).code, code, "{text}");
        }
        let source = Source::new("x\n  /// f64\n\"// no\"");
        assert_eq!(source.comments, [Comment { line: 2, text: "/// f64".to_owned() }]);
    }

    #[test]
    fn an_unfinished_file_ends() {
        for text in ["/*", "\"a", "r#\"a", "'\\", "fn a(", "#[cfg(test)]", "#[", "fn", "'"] {
            let source = Source::new(text);
            source.code_outside_tests();
            source.functions();
        }
    }

    #[test]
    fn test_items_are_left_out() {
        let table = [
            ("a(); #[cfg(test)] mod tests { b(); } c();", "a(); c();"),
            ("#[cfg(test)]\nmod tests;\nc();", "c();"),
            ("#[cfg(all(test, unix))] use x::{y}; c();", "; c();"),
            ("#[cfg(not(test))] fn a() {}", "#[cfg(not(test))] fn a() {}"),
            ("#[cfg(test)] #[allow(x)] fn a(b: [u8; 3]) -> u8 { b[0] } c();", "c();"),
        ];
        for (text, expected) in table {
            let code = Source::new(text).code_outside_tests();
            let words: Vec<&str> = code.split_whitespace().collect();
            assert_eq!(words.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn functions_have_their_lines() {
        let text = "type F = fn(u8);\nfn a(x: [u8; 2])\nwhere\n    X: Y,\n{\n    fn b() {}\n}\ntrait T {\n    fn c();\n}\n";
        let lines: Vec<_> =
            Source::new(text).functions().into_iter().map(|f| (f.name, f.first, f.last)).collect();
        assert_eq!(lines, [("a".to_owned(), 2, 7), ("b".to_owned(), 6, 6)]);
    }

    #[test]
    fn words_do_not_run_into_others() {
        let table = [
            ("f64", "x: f64", true),
            ("f64", "xf64()", false),
            ("f64", "f64_bits", false),
            ("rand::", "rand::rng()", true),
            ("rand::", "brand::x", false),
            (".unwrap()", "x.unwrap()", true),
            (".unwrap()", "x.unwrap_or(1)", false),
        ];
        for (needle, line, found) in table {
            assert_eq!(!lines_with_word(line, needle).is_empty(), found, "{needle} in {line}");
        }
    }
}
