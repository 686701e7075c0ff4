//! API keys: their spelling, and the hash that is kept of them.
//!
//! `fsk_{id}_{secret}`: the id is public and finds the document, the secret is 32 random bytes and is shown once.
//! Because it is random and long, a plain hash keeps it; nobody can try them all.

use fiscus_ledger::hash::hex;

/// What every key begins with, so that scanners find one that was published by mistake.
pub const PREFIX: &str = "fsk_";
/// Random bytes of an id.
pub const ID_BYTES: usize = 9;
/// Random bytes of a secret.
pub const SECRET_BYTES: usize = 32;
const TEXT_BYTES_MAX: usize = 256;

/// The two parts of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyText<'t> {
    /// The document's id.
    pub id: &'t str,
    secret: &'t str,
}

impl<'t> KeyText<'t> {
    /// Reads a key.
    #[must_use]
    pub fn parse(text: &'t str) -> Option<Self> {
        let plain =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
        let rest = text.strip_prefix(PREFIX).filter(|_| text.len() <= TEXT_BYTES_MAX)?;
        let (id, secret) = rest.split_once('_')?;
        (plain(id) && plain(secret)).then_some(Self { id, secret })
    }

    /// The hash of its secret, as it is kept.
    #[must_use]
    pub fn secret_hash(&self) -> blake3::Hash {
        secret_hash("fiscus/api-key/v1", self.id, self.secret)
    }

    /// What only the key's holder can make secrets from. It is kept nowhere.
    #[must_use]
    pub fn seed(&self) -> blake3::Hash {
        secret_hash("fiscus/api-key-seed/v1", self.id, self.secret)
    }
}

fn secret_hash(tag: &str, id: &str, secret: &str) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for part in [tag, id, secret] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.finalize()
}

/// A new id.
#[must_use]
pub fn new_id(random: &[u8; ID_BYTES]) -> String {
    hex(random)
}

/// A new key's text, to be shown once, and the hash to be kept.
#[must_use]
pub fn new_secret(id: &str, random: &[u8; SECRET_BYTES]) -> (String, String) {
    let secret = hex(random);
    let hash = secret_hash("fiscus/api-key/v1", id, &secret).to_hex().to_string();
    (format!("{PREFIX}{id}_{secret}"), hash)
}

/// Whether a kept hash is that of a secret; takes as long when it is not.
#[must_use]
pub fn matches(kept: &str, hash: &blake3::Hash) -> bool {
    blake3::Hash::from_hex(kept).is_ok_and(|kept| kept == *hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_id_and_known_by_its_hash() {
        let id = new_id(&[7; ID_BYTES]);
        let (text, kept) = new_secret(&id, &[9; SECRET_BYTES]);
        let key = KeyText::parse(&text).expect("a key");
        assert_eq!(key.id, id);
        assert!(matches(&kept, &key.secret_hash()));
        assert!(!kept.contains(key.secret), "the secret is not kept");
        let (other, _) = new_secret(&id, &[8; SECRET_BYTES]);
        let other = KeyText::parse(&other).expect("a key");
        assert!(!matches(&kept, &other.secret_hash()));
    }

    #[test]
    fn what_is_no_key_is_none() {
        for text in ["", "fsk_", "fsk_a", "fsk_a_", "fsk__b", "fsk_a_b_c", "sk_a_b", "fsk_a_é"] {
            assert_eq!(KeyText::parse(text), None, "{text}");
        }
        assert_eq!(KeyText::parse(&format!("fsk_a_{}", "b".repeat(300))), None);
    }
}
