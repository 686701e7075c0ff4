//! What the fields of a request may hold, told all at once with a pointer each.

use axum::http::StatusCode;

use crate::http::problem::{FieldError, Problem};

/// An id has at most so many bytes.
pub const ID_BYTES_MAX: usize = 64;
const NAME_CHARS_MAX: usize = 200;
const TEXT_CHARS_MAX: usize = 500;

/// Whether text can be an id: 1 to 64 printable ASCII characters without spaces and slashes. The ledger keeps
/// what begins with `@`, and a path of dots is a way to another resource.
#[must_use]
pub fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b'\\')
        && !text.starts_with('@')
        && text.bytes().any(|byte| byte != b'.')
}

/// What was found wrong so far.
#[derive(Debug, Default)]
pub struct Fields {
    errors: Vec<FieldError>,
}

impl Fields {
    /// Notes what is wrong at a place.
    pub fn refuse(&mut self, pointer: &str, code: &'static str, detail: impl Into<String>) {
        self.errors.push(FieldError {
            pointer: pointer.to_owned(),
            code: code.into(),
            detail: detail.into(),
            expected: None,
        });
    }

    fn require(&mut self, holds: bool, pointer: &str, rule: &str) {
        if !holds {
            self.refuse(pointer, "FIELD_INVALID", rule);
        }
    }

    /// An id.
    pub fn id(&mut self, pointer: &str, text: &str) {
        let rule = "must have 1 to 64 printable ASCII characters, no spaces and no slashes, and not begin with @";
        self.require(is_id(text), pointer, rule);
    }

    /// What something is called.
    pub fn name(&mut self, pointer: &str, text: &str) {
        let fits = !text.trim().is_empty() && is_text(text, NAME_CHARS_MAX);
        self.require(fits, pointer, "must have 1 to 200 characters on one line");
    }

    /// Any other text; it may be empty.
    pub fn text(&mut self, pointer: &str, text: &str) {
        let rule = "must have at most 500 characters on one line";
        self.require(is_text(text, TEXT_CHARS_MAX), pointer, rule);
    }

    /// One of some words.
    pub fn word(&mut self, pointer: &str, text: &str, words: &[&str]) {
        self.require(
            words.contains(&text),
            pointer,
            &format!("must be one of {}", words.join(", ")),
        );
    }

    /// A part of fiscal numbers.
    pub fn code(&mut self, pointer: &str, text: &str) {
        let fits = fiscus_ledger::facts::is_code(text);
        self.require(fits, pointer, "must have 1 to 12 capital letters and digits");
    }

    /// Refuses when anything is wrong; nothing was done then.
    pub fn finish(self) -> Result<(), Problem> {
        let Some(first) = self.errors.first() else { return Ok(()) };
        let detail = format!("{}: {}", first.pointer, first.detail);
        let code = first.code.clone();
        let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
        problem.errors = self.errors;
        Err(problem)
    }
}

fn is_text(text: &str, chars_max: usize) -> bool {
    text.chars().count() <= chars_max && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_can_stand_in_a_path() {
        for good in ["a", "outlet-gombe", "A1234567B", "x.y", &"z".repeat(64)] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", ".", "..", "@g", "a b", "a/b", "a\\b", "é", "a\n", &"z".repeat(65)] {
            assert!(!is_id(bad), "{bad:?}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let mut fields = Fields::default();
        fields.id("/id", "a b");
        fields.name("/name", " ");
        fields.word("/tier", "gold", &["growth", "enterprise"]);
        fields.code("/code", "OK1");
        let problem = fields.finish().expect_err("three are wrong");
        let pointers: Vec<_> = problem.errors.iter().map(|error| &*error.pointer).collect();
        assert_eq!(pointers, ["/id", "/name", "/tier"]);
        assert_eq!(problem.code, "FIELD_INVALID");
    }
}
