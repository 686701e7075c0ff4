//! The hashes of the formats: tagged BLAKE3, and SHA-256 for trees and keys.

use sha2::{Digest, Sha256};

/// 32 raw bytes.
pub(crate) type Hash = [u8; 32];

/// The link of the first record of a chain.
pub(crate) const NOTHING: Hash = [0; 32];

/// `BLAKE3(str(tag) ‖ …)`, fed piece by piece.
pub(crate) struct Tagged(blake3::Hasher);

impl Tagged {
    pub(crate) fn new(tag: &str) -> Self {
        let mut hasher = Self(blake3::Hasher::new());
        hasher.text(tag);
        hasher
    }

    /// Length and bytes of a text.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.0.update(&length.to_le_bytes());
        self.0.update(text.as_bytes());
        self
    }

    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    /// Bytes of a length that the format fixes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    pub(crate) fn finish(&self) -> Hash {
        self.0.finalize().into()
    }
}

/// Plain BLAKE3, for payloads.
pub(crate) fn payload_hash(payload: &[u8]) -> Hash {
    blake3::hash(payload).into()
}

/// What of a record is not printed on paper.
pub(crate) fn hidden_hash(
    outlet: &str,
    position: u64,
    payload: &Hash,
    blind: &Hash,
    previous: &Hash,
) -> Hash {
    Tagged::new("fiscus/hidden/v1")
        .text(outlet)
        .number(position)
        .bytes(payload)
        .bytes(blind)
        .bytes(previous)
        .finish()
}

/// What an entry hash is made of, beside the hidden hash.
pub(crate) struct Printed<'a> {
    pub(crate) authority: &'a str,
    pub(crate) number: &'a str,
    pub(crate) time_ms: u64,
    pub(crate) kind: &'a str,
    pub(crate) total: &'a str,
    pub(crate) currency: &'a str,
}

/// What is signed.
pub(crate) fn entry_hash(printed: &Printed<'_>, hidden: &Hash) -> Hash {
    Tagged::new("fiscus/entry/v1")
        .text(printed.authority)
        .text(printed.number)
        .number(printed.time_ms)
        .text(printed.kind)
        .text(printed.total)
        .text(printed.currency)
        .bytes(hidden)
        .finish()
}

/// SHA-256 over parts one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}
