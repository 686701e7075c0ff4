//! Versions of what is read and changed: `ETag` in answers, `If-Match` in requests.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::http::problem::Problem;

const BYTES_MAX: usize = 256;
/// A change that names no version is tried so often from what is newer.
const ATTEMPTS_MAX: u32 = 4;

/// From which version a change is made, where the client says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precondition {
    /// Each with its quotes; `None` when any version will do.
    tags: Option<Vec<String>>,
}

impl Precondition {
    /// Reads `If-Match`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if text.trim() == "*" {
            return Ok(Self::default());
        }
        let is_tag = |tag: &&str| {
            let bare = tag.strip_prefix("W/").unwrap_or(tag);
            let inner = bare.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            inner.is_some_and(|inner| {
                inner.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b',')
            })
        };
        let tags: Vec<&str> = text.split(',').map(str::trim).collect();
        if text.len() > BYTES_MAX || !tags.iter().all(is_tag) {
            return Err(Problem::at(
                StatusCode::BAD_REQUEST,
                "IF_MATCH_INVALID",
                "If-Match",
                "If-Match holds the ETag of an earlier answer, with its quotes, or *",
            ));
        }
        Ok(Self { tags: Some(tags.into_iter().map(str::to_owned).collect()) })
    }

    /// Refuses a change of another version than the one that the client saw.
    pub fn check(&self, version: &str) -> Result<(), Problem> {
        let Some(tags) = &self.tags else { return Ok(()) };
        let strong = format!("\"{version}\"");
        if tags.contains(&strong) {
            return Ok(());
        }
        Err(Problem::at(
            StatusCode::CONFLICT,
            "VERSION_CONFLICT",
            "If-Match",
            format!("this is at version {strong} now; read it again and repeat the change"),
        ))
    }

    /// Whether a change that met another one is to be made again, from what is newer.
    #[must_use]
    pub fn lets_retry(&self, problem: &Problem, attempt: u32) -> bool {
        self.tags.is_none() && problem.code == "VERSION_CONFLICT" && attempt < ATTEMPTS_MAX
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Precondition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(header::IF_MATCH).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(Self::default()),
            (Some(value), None) => Self::parse(value.to_str().unwrap_or("")),
            (Some(_), Some(_)) => Self::parse(""),
        }
    }
}

/// One object with its version.
#[derive(Debug, Clone)]
pub struct Tagged<T> {
    /// As the client may name it in `If-Match`, without quotes.
    pub version: String,
    /// The object.
    pub value: T,
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let tag = HeaderValue::from_str(&format!("\"{}\"", self.version));
        let mut response = Json(self.value).into_response();
        let headers = response.headers_mut();
        headers.insert(header::ETAG, tag.expect("versions are numbers and dashes"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_matched_whole_and_strongly() {
        for (text, fits) in [
            ("\"3\"", true),
            ("\"2\", \"3\"", true),
            ("*", true),
            ("\"4\"", false),
            ("W/\"3\"", false),
        ] {
            let precondition = Precondition::parse(text).expect(text);
            assert_eq!(precondition.check("3").is_ok(), fits, "{text}");
        }
        for text in ["3", "", "\"3", "\"a\"b\"", &format!("\"{}\"", "3".repeat(300))] {
            assert_eq!(Precondition::parse(text).expect_err(text).code, "IF_MATCH_INVALID");
        }
    }
}
