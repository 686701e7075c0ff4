//! The `Idempotency-Key` of a request: what makes a repetition safe.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use fiscus_ledger::hash::Hash32;

use crate::http::problem::Problem;

/// The header.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
const BYTES_MAX: usize = 255;

/// A client's key, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Checks a key, as of a batch's item.
    pub fn new(text: &str) -> Result<Self, Problem> {
        let printable = text.bytes().all(|byte| (0x21..=0x7e).contains(&byte) || byte == b' ');
        if (1..=BYTES_MAX).contains(&text.len()) && printable {
            return Ok(Self(text.to_owned()));
        }
        Err(Problem::at(
            StatusCode::BAD_REQUEST,
            "IDEMPOTENCY_KEY_INVALID",
            "Idempotency-Key",
            "an Idempotency-Key has 1 to 255 printable ASCII characters; a UUID is a good one",
        ))
    }

    /// The key that a request carries, if it does.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Self::new(value.to_str().unwrap_or("")).map(Some),
            (Some(_), Some(_)) => Self::new("").map(Some),
        }
    }

    /// The key of an item of a request that has this one: the same whenever it is asked for.
    #[must_use]
    pub fn of_item(&self, index: usize) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"fiscus/idempotency-item/v1").update(&(index as u64).to_le_bytes());
        hasher.update(self.0.as_bytes());
        Self(format!("item-{}", hasher.finalize().to_hex()))
    }

    /// The key as the client wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the ledger compares.
    #[must_use]
    pub fn hash(&self) -> Hash32 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"fiscus/idempotency/v1").update(self.0.as_bytes());
        hasher.finalize().into()
    }

    /// What a submission carries: the first 16 bytes of the hash.
    #[must_use]
    pub fn submission_key(&self) -> [u8; 16] {
        let hash = self.hash();
        std::array::from_fn(|at| hash[at])
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::of(&parts.headers)?.ok_or_else(|| {
            Problem::at(
                StatusCode::BAD_REQUEST,
                "IDEMPOTENCY_KEY_REQUIRED",
                "Idempotency-Key",
                "send an Idempotency-Key, a new one for each thing that is to happen once, and the same one when you \
                 repeat a request",
            )
        })
    }
}

/// Where something else makes a repetition safe: a key is checked when there is one.
impl<S: Send + Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Problem> {
        Self::of(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_printable_and_short() {
        for good in ["a", "7f2c-1", &"x".repeat(255), "two words"] {
            assert_eq!(IdempotencyKey::new(good).expect(good).as_str(), good);
        }
        for bad in ["", "\u{e9}", "a\nb", &"x".repeat(256)] {
            let problem = IdempotencyKey::new(bad).expect_err(bad);
            assert_eq!(problem.code, "IDEMPOTENCY_KEY_INVALID");
        }
    }

    #[test]
    fn the_ledger_sees_the_start_of_the_hash() {
        let key = IdempotencyKey::new("sale-1").expect("a key");
        assert_eq!(key.hash()[..16], key.submission_key());
        assert_ne!(key.hash(), IdempotencyKey::new("sale-2").expect("a key").hash());
    }
}
