//! JSON as the model writes it: in the one spelling, and in any other that means the same.

use unicode_normalization::UnicodeNormalization;

/// A JSON tree that knows which of its strings are decimals and which are free text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    Text(String),
    Word(String),
    Decimal(String),
    Raw(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

/// What free choice there is in the spelling of a document, drawn from one seed.
pub(crate) struct Spelling(pub(crate) u64);

impl Spelling {
    fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next(count) == 0
    }

    fn space(&mut self, out: &mut String) {
        for _ in 0..self.next(6).saturating_sub(3) {
            out.push([' ', '\t', '\n', '\r'][usize::try_from(self.next(4)).unwrap()]);
        }
    }

    /// Text in some normal form, with some characters escaped.
    fn text(&mut self, out: &mut String, text: &str) {
        let text: String = if self.one_in(2) { text.nfd().collect() } else { text.to_owned() };
        out.push('"');
        for letter in text.chars() {
            if self.one_in(4) || u32::from(letter) < 0x20 || letter == '"' || letter == '\\' {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    out.push_str(&match self.one_in(2) {
                        true => format!("\\u{unit:04x}"),
                        false => format!("\\u{unit:04X}"),
                    });
                }
            } else {
                out.push(letter);
            }
        }
        out.push('"');
    }

    fn decimal(&mut self, out: &mut String, text: &str) {
        let padded = if text.contains('.') { format!("{text}00") } else { format!("{text}.0") };
        out.push_str(&match self.next(5) {
            0 => text.to_owned(),
            1 => format!("\"{padded}\""),
            2 => padded,
            3 => format!("{text}e0"),
            _ => format!("\"{text}\""),
        });
    }

    pub(crate) fn render(&mut self, out: &mut String, tree: &Tree) {
        self.space(out);
        match tree {
            Tree::Text(text) => self.text(out, text),
            Tree::Word(text) => {
                let respelled = match text.as_str() {
                    "individual" => "Individual",
                    "company" => "Company",
                    "commercial_individual" => "CommercialIndividual",
                    "professional" => "Professional",
                    "embassy" => "Embassy",
                    other => other,
                };
                let word = if self.one_in(2) { respelled } else { text };
                self.text(out, word);
            }
            Tree::Decimal(text) => self.decimal(out, text),
            Tree::Raw(text) => out.push_str(text),
            Tree::List(values) => {
                out.push('[');
                for (at, value) in values.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    self.render(out, value);
                }
                out.push(']');
            }
            Tree::Object(members) => {
                let mut order: Vec<_> = members.iter().collect();
                for at in (1..order.len()).rev() {
                    let other = usize::try_from(self.next(at as u64 + 1)).unwrap();
                    order.swap(at, other);
                }
                out.push('{');
                for (at, (key, value)) in order.into_iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    self.space(out);
                    self.text(out, key);
                    self.space(out);
                    out.push(':');
                    self.render(out, value);
                }
                self.space(out);
                out.push('}');
            }
        }
        self.space(out);
    }
}

/// The one spelling, written without the library.
pub(crate) fn canonical(tree: &Tree) -> String {
    let string = |text: &str| {
        let mut out = String::from("\"");
        for letter in text.chars() {
            match letter {
                '"' | '\\' => out.extend(['\\', letter]),
                '\u{8}' => out.push_str("\\b"),
                '\t' => out.push_str("\\t"),
                '\n' => out.push_str("\\n"),
                '\u{c}' => out.push_str("\\f"),
                '\r' => out.push_str("\\r"),
                '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
                _ => out.push(letter),
            }
        }
        out + "\""
    };
    match tree {
        Tree::Text(text) | Tree::Word(text) | Tree::Decimal(text) => string(text),
        Tree::Raw(text) => text.clone(),
        Tree::List(values) => {
            format!("[{}]", values.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        Tree::Object(members) => {
            let members = members.iter().map(|(key, value)| string(key) + ":" + &canonical(value));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
    }
}
