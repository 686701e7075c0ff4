//! Secrets at rest: sealed with keys that gateways have in files, so that neither nodes nor backups can read them.

use std::fmt;
use std::path::{Path, PathBuf};

use fiscus_ledger::base64::{decode_url, encode_url};
use fiscus_ledger::hash::{from_hex, hex};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

const KEY_BYTES: usize = 32;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It cannot be read.
    #[error("the key file {path} cannot be read: {source}")]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is none.
    #[error("the key file {0} is none: it must hold 64 hexadecimal digits")]
    Form(PathBuf),
}

/// Why a sealed secret cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// No key file that this gateway has made it.
    #[error("it was sealed with the key {0}, which this gateway does not have")]
    Key(String),
    /// It was changed, or moved from another endpoint.
    #[error("it is damaged")]
    Damaged,
}

struct Key {
    /// Tells it from others; it says nothing of the key.
    id: String,
    key: LessSafeKey,
}

/// The keys; the first seals, all of them open.
pub struct Vault {
    keys: Vec<Key>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.keys.iter().map(|key| &*key.id).collect();
        f.debug_struct("Vault").field("keys", &ids).finish()
    }
}

impl Vault {
    /// Reads the key file, and those of former keys.
    pub fn load<'p>(files: impl IntoIterator<Item = &'p Path>) -> Result<Self, VaultError> {
        let keys = files.into_iter().map(|path| {
            let text = std::fs::read_to_string(path)
                .map_err(|source| VaultError::Unreadable { path: path.to_owned(), source })?;
            let bytes = from_hex::<KEY_BYTES>(text.trim())
                .ok_or_else(|| VaultError::Form(path.to_owned()))?;
            Ok(key(&bytes))
        });
        Ok(Self { keys: keys.collect::<Result<_, _>>()? })
    }

    /// Seals a secret for one thing; it opens for no other.
    ///
    /// # Panics
    /// When there is no key.
    #[must_use]
    pub fn seal(&self, of: &str, secret: &[u8], nonce: [u8; NONCE_LEN]) -> String {
        let first = self.keys.first().expect("a vault has a key");
        let mut sealed = secret.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        first
            .key
            .seal_in_place_append_tag(unique, Aad::from(of.as_bytes()), &mut sealed)
            .expect("it is short");
        format!("{}.{}", first.id, encode_url(&[&nonce[..], &sealed].concat()))
    }

    /// Opens what was sealed for this thing.
    pub fn open<const N: usize>(&self, of: &str, sealed: &str) -> Result<[u8; N], Unopened> {
        let (id, text) = sealed.split_once('.').ok_or(Unopened::Damaged)?;
        let key = self
            .keys
            .iter()
            .find(|key| key.id == id)
            .ok_or_else(|| Unopened::Key(id.to_owned()))?;
        let bytes = decode_url(text).ok_or(Unopened::Damaged)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(Unopened::Damaged)?;
        let (nonce, mut sealed) = (Nonce::assume_unique_for_key(*nonce), sealed.to_vec());
        let opened = key.key.open_in_place(nonce, Aad::from(of.as_bytes()), &mut sealed);
        opened.ok().and_then(|opened| <[u8; N]>::try_from(&*opened).ok()).ok_or(Unopened::Damaged)
    }
}

fn key(bytes: &[u8; KEY_BYTES]) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"fiscus/webhook-vault/v1").update(bytes);
    let id = hex(&hasher.finalize().as_bytes()[..4]);
    let key = UnboundKey::new(&CHACHA20_POLY1305, bytes).expect("a key has 32 bytes");
    Key { id, key: LessSafeKey::new(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Vault {
        pub(crate) fn of_seeds(seeds: &[u8]) -> Self {
            Self { keys: seeds.iter().map(|seed| key(&[*seed; KEY_BYTES])).collect() }
        }
    }

    #[test]
    fn a_secret_opens_for_what_it_was_sealed_for_and_with_former_keys() {
        let sealed = Vault::of_seeds(&[1]).seal("org/a", &[9; 64], [3; NONCE_LEN]);
        assert_eq!(Vault::of_seeds(&[2, 1]).open::<64>("org/a", &sealed), Ok([9; 64]));
        assert_eq!(Vault::of_seeds(&[1]).open::<64>("org/b", &sealed), Err(Unopened::Damaged));
        assert_eq!(Vault::of_seeds(&[1]).open::<32>("org/a", &sealed), Err(Unopened::Damaged));
        assert!(matches!(
            Vault::of_seeds(&[2]).open::<64>("org/a", &sealed),
            Err(Unopened::Key(_))
        ));
        assert_eq!(Vault::of_seeds(&[1]).open::<64>("org/a", "x"), Err(Unopened::Damaged));
        let shown = format!("{:?}", Vault::of_seeds(&[1]));
        assert!(!shown.contains("0101"), "{shown}");
    }
}
