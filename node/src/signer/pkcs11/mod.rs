//! Keys in a hardware token, through PKCS#11.
//!
//! ```text
//! sign ──► pool: a session, at most `sessions_max` ──► C_Sign
//!            ▲ the token was reset: log in again, find the keys again, sign again, once
//! ```
//!
//! Invariants: private keys never leave the token; a key that comes back after a reset is the same key;
//! a refused PIN is never tried again, because a token locks itself after a few.
//!
//! Non-goals: making keys in a token (its own tools do that), and algorithms other than Ed25519.

mod pool;

use std::fmt;
use std::path::PathBuf;

use cryptoki::error::Error as DeviceError;
use fiscus_ledger::facts::Environment;
use fiscus_ledger::hash::Hash32;

use super::{
    HeldKey, KeyPurpose, PassphraseError, PassphraseSource, SignError, Signable, Signer, message,
};
use pool::Pool;

/// Where the token is, and which of its keys are ours.
#[derive(Debug, Clone)]
pub struct Pkcs11Config {
    /// The vendor's library.
    pub module: PathBuf,
    /// The label of the token.
    pub token_label: String,
    /// The PIN of its user.
    pub pin: PassphraseSource,
    /// The keys to use.
    pub keys: Vec<Pkcs11Key>,
    /// Most sessions that sign at once; whoever comes later waits for one.
    pub sessions_max: usize,
}

/// A key in the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Key {
    /// The label of both halves in the token.
    pub label: String,
    /// The name before the dot of the authority's id.
    pub name: String,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Whether an authority signs real seals or trials.
    pub environment: Option<Environment>,
    /// The group that it belongs to; none when any group may use it.
    pub group: Option<u64>,
}

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Pkcs11Error {
    /// The vendor's library does not load or start.
    #[error("the PKCS#11 library {} cannot be used: {source}", module.display())]
    Module {
        /// The library.
        module: PathBuf,
        /// What it says.
        source: DeviceError,
    },
    /// There is no PIN, or not as text.
    #[error("the PIN of the token {token}: {source}")]
    Pin {
        /// The token.
        token: String,
        /// Why.
        source: PassphraseError,
    },
    /// PINs are text in PKCS#11.
    #[error("the PIN of the token {0} is not UTF-8")]
    PinText(String),
    /// The configuration allows no session.
    #[error("sessions_max is 0; at least one session is needed to sign")]
    NoSessions,
    /// No slot, or more than one, has a token with this label.
    #[error("{count} tokens are labelled {label:?}; exactly one must be plugged in")]
    Token {
        /// The label.
        label: String,
        /// How many there are.
        count: usize,
    },
    /// The token refused the PIN.
    #[error(
        "the token {token} refused the PIN ({reason}); it is not tried again, because the token would \
         lock itself: correct the PIN and restart"
    )]
    PinRefused {
        /// The token.
        token: String,
        /// What the token said.
        reason: String,
    },
    /// No key, or more than one, has this label.
    #[error(
        "the token {token} holds {count} Ed25519 {half} keys labelled {label:?}; one is needed"
    )]
    Key {
        /// The token.
        token: String,
        /// The label.
        label: String,
        /// Public or private.
        half: &'static str,
        /// How many there are.
        count: usize,
    },
    /// The public half is not 32 bytes.
    #[error("the public key labelled {label:?} is not an Ed25519 point")]
    PublicKey {
        /// The label.
        label: String,
    },
    /// Another key has the label now.
    #[error("the key labelled {label:?} is another one than at start; restart to use it")]
    KeyChanged {
        /// The label.
        label: String,
    },
    /// A call failed.
    #[error("{what}: {source}")]
    Call {
        /// What was attempted.
        what: &'static str,
        /// What the token says.
        source: DeviceError,
    },
    /// What came back is no Ed25519 signature.
    #[error("the token gave a signature of {0} bytes instead of 64")]
    Signature(usize),
}

/// Signs with the keys of a token.
pub struct Pkcs11Signer {
    keys: Vec<HeldKey>,
    pool: Pool,
}

impl fmt::Debug for Pkcs11Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pkcs11Signer").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Pkcs11Signer {
    /// Loads the library, logs in and finds the keys.
    pub fn connect(config: &Pkcs11Config) -> Result<Self, Pkcs11Error> {
        let (pool, public_keys) = Pool::connect(config)?;
        let held = |(key, public_key): (&Pkcs11Key, Hash32)| HeldKey {
            name: key.name.clone(),
            purpose: key.purpose,
            environment: key.environment,
            group: key.group,
            public_key,
        };
        let keys = config.keys.iter().zip(public_keys).map(held).collect();
        Ok(Self { keys, pool })
    }

    /// The place of a key, which is the same in the list and in the pool.
    fn place(&self, public_key: &Hash32) -> Result<usize, SignError> {
        self.keys
            .iter()
            .position(|key| key.public_key == *public_key)
            .ok_or(SignError::UnknownKey { public_key: *public_key })
    }

    fn token_error(&self, place: usize, what: &'static str, source: Pkcs11Error) -> SignError {
        let name = self.keys[place].name.clone();
        SignError::Token { name, what, source: Box::new(source) }
    }
}

impl Signer for Pkcs11Signer {
    fn keys(&self) -> Vec<HeldKey> {
        self.keys.clone()
    }

    fn sign(&self, public_key: &Hash32, what: &Signable<'_>) -> Result<[u8; 64], SignError> {
        let place = self.place(public_key)?;
        let message = message(&self.keys[place], what)?;
        self.pool
            .sign(place, message.bytes())
            .map_err(|source| self.token_error(place, what.what(), source))
    }
}

#[cfg(test)]
mod tests;
