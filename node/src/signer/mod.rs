//! Signing: the only place of the product that holds private keys.
//!
//! ```text
//! Signable ──► message (is it this key's to sign?) ──► KeyFile or Pkcs11Signer ──► 64 bytes
//! ```
//!
//! Invariants: only what [`Signable`] can say is signed, each thing under its own tag; an authority key
//! never signs a checkpoint, a log key never anything else; signatures are Ed25519, so the same key
//! gives the same bytes for the same message, which [`self_test`] checks of every key at start.
//!
//! Non-goals: when something may be signed (nothing before it is committed) and which key is in force:
//! the group decides.

mod key_file;
mod passphrase;
#[cfg(feature = "pkcs11")]
mod pkcs11;

use std::fmt::{self, Debug};

use ed25519_dalek::{Signature, VerifyingKey};
use fiscus_ledger::checkpoint::{Checkpoint, CheckpointError};
use fiscus_ledger::commands::authority_proof_hash;
use fiscus_ledger::facts::Environment;
use fiscus_ledger::hash::{Hash32, Tagged, hex};
use fiscus_ledger::seal::authority_id;

pub use key_file::{
    KEY_FILE_BYTES_MAX, KEYS_MAX, KdfCost, KeyFile, KeyFileError, KeyToStore, NAME_BYTES_MAX,
};
pub use passphrase::{
    PASSPHRASE_BYTES_MAX, PASSPHRASE_BYTES_MIN, Passphrase, PassphraseError, PassphraseSource,
};
#[cfg(feature = "pkcs11")]
pub use pkcs11::{Pkcs11Config, Pkcs11Error, Pkcs11Key, Pkcs11Signer};

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyPurpose {
    /// It signs records, credentials and reports.
    Authority,
    /// It signs checkpoints of a group's log.
    Log,
}

impl KeyPurpose {
    /// The word in lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Log => "log",
        }
    }
}

impl fmt::Display for KeyPurpose {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What may be known of a key that a signer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldKey {
    /// The name before the dot of an authority's id; for a log key only a name.
    pub name: String,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Whether an authority signs real seals or trials. A log holds both, so its key has none.
    pub environment: Option<Environment>,
    /// The group that it belongs to; none when any group may use it.
    pub group: Option<u64>,
    /// The Ed25519 public key.
    pub public_key: Hash32,
}

impl HeldKey {
    /// The id of the authority: its name and the start of its key's hash.
    #[must_use]
    pub fn authority_id(&self) -> String {
        authority_id(&self.name, &self.public_key)
    }
}

/// Everything that this product signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signable<'a> {
    /// A committed record.
    EntryHash(Hash32),
    /// An offline credential.
    CredentialHash(Hash32),
    /// A report.
    ReportHash(Hash32),
    /// That a voter holds the key of an authority that is being prepared.
    AuthorityProof {
        /// The cluster.
        cluster: &'a str,
        /// The group.
        group: u64,
        /// The voter.
        voter: u64,
        /// The authority, which must be this key's.
        authority_id: &'a str,
    },
    /// The text of a checkpoint.
    CheckpointNote(&'a [u8]),
    /// The fixed hash of the self-test, which nothing else accepts.
    SelfTest,
}

impl Signable<'_> {
    fn what(&self) -> &'static str {
        match self {
            Self::EntryHash(_) => "a record",
            Self::CredentialHash(_) => "a credential",
            Self::ReportHash(_) => "a report",
            Self::AuthorityProof { .. } => "an authority's proof",
            Self::CheckpointNote(_) => "a checkpoint",
            Self::SelfTest => "a self-test",
        }
    }
}

/// Why something was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// No such key is held.
    #[error(
        "the signer does not hold the key {}; load the key file or the token that holds it",
        hex(public_key)
    )]
    UnknownKey {
        /// The key asked for.
        public_key: Hash32,
    },
    /// The key is for something else.
    #[error("the {purpose} key {name} does not sign {what}")]
    Purpose {
        /// The key's name.
        name: String,
        /// What it is for.
        purpose: KeyPurpose,
        /// What it was asked to sign.
        what: &'static str,
    },
    /// The key belongs to another group.
    #[error("the key {name} belongs to another group than {group}")]
    Group {
        /// The key's name.
        name: String,
        /// The group asked for.
        group: u64,
    },
    /// The proof is about another key.
    #[error("the key {name} cannot prove that the key of {authority_id} is held")]
    OtherAuthority {
        /// The key's name.
        name: String,
        /// The authority asked for.
        authority_id: String,
    },
    /// A log key signs nothing but checkpoints.
    #[error("the log key {name} signs checkpoints only, and this is none: {source}")]
    NoCheckpoint {
        /// The key's name.
        name: String,
        /// What is wrong with the text.
        source: CheckpointError,
    },
    /// The token failed, even after a new connection to it.
    #[cfg(feature = "pkcs11")]
    #[error("signing {what} with the key {name}: {source}")]
    Token {
        /// The key's name.
        name: String,
        /// What it was asked to sign.
        what: &'static str,
        /// What failed.
        source: Box<Pkcs11Error>,
    },
}

/// Whoever holds keys and signs with them. Signing takes the time of a computation, or of a token:
/// call it off the threads that serve.
pub trait Signer: Debug + Send + Sync + 'static {
    /// All keys held.
    fn keys(&self) -> Vec<HeldKey>;

    /// Signs one of the things that this product signs.
    fn sign(&self, public_key: &Hash32, what: &Signable<'_>) -> Result<[u8; 64], SignError>;

    /// Signs the hashes of records, in their order.
    fn sign_many(
        &self,
        public_key: &Hash32,
        entry_hashes: &[Hash32],
    ) -> Result<Vec<[u8; 64]>, SignError> {
        entry_hashes.iter().map(|hash| self.sign(public_key, &Signable::EntryHash(*hash))).collect()
    }
}

/// The bytes that go under the signature.
#[derive(Debug, Clone, Copy)]
enum Message<'a> {
    Hash(Hash32),
    Text(&'a [u8]),
}

impl Message<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Hash(hash) => hash,
            Self::Text(text) => text,
        }
    }
}

/// The bytes to sign, when they are this key's to sign.
fn message<'a>(key: &HeldKey, what: &Signable<'a>) -> Result<Message<'a>, SignError> {
    let hash = match (key.purpose, *what) {
        (_, Signable::SelfTest) => self_test_hash(),
        (KeyPurpose::Log, Signable::CheckpointNote(text)) => return checkpoint(key, text),
        (
            KeyPurpose::Authority,
            Signable::EntryHash(hash) | Signable::CredentialHash(hash) | Signable::ReportHash(hash),
        ) => hash,
        (
            KeyPurpose::Authority,
            Signable::AuthorityProof { cluster, group, voter, authority_id },
        ) => {
            own_group(key, group)?;
            if key.authority_id() != authority_id {
                let (name, authority_id) = (key.name.clone(), authority_id.to_owned());
                return Err(SignError::OtherAuthority { name, authority_id });
            }
            authority_proof_hash(cluster, group, voter, authority_id)
        }
        (purpose, what) => {
            let (name, what) = (key.name.clone(), what.what());
            return Err(SignError::Purpose { name, purpose, what });
        }
    };
    Ok(Message::Hash(hash))
}

/// A checkpoint is the one thing that is signed as text, so it must really be one: otherwise a log key
/// would sign whatever bytes it is given.
fn checkpoint<'a>(key: &HeldKey, text: &'a [u8]) -> Result<Message<'a>, SignError> {
    let refuse = |source| SignError::NoCheckpoint { name: key.name.clone(), source };
    let read = std::str::from_utf8(text).map_err(|_| refuse(CheckpointError::Lines))?;
    Checkpoint::parse(read).map_err(refuse)?;
    Ok(Message::Text(text))
}

fn own_group(key: &HeldKey, group: u64) -> Result<(), SignError> {
    match key.group {
        Some(own) if own != group => Err(SignError::Group { name: key.name.clone(), group }),
        _ => Ok(()),
    }
}

fn self_test_hash() -> Hash32 {
    Tagged::new("fiscus/signer-test/v1").finish()
}

/// Why a key may not be used, although its signer says that it holds it.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// It did not sign.
    #[error("self-test of the key {}: {source}", hex(public_key))]
    Sign {
        /// The key.
        public_key: Hash32,
        /// Why it did not sign.
        source: SignError,
    },
    /// Two signatures of one message differ, so two leaders would seal one record differently.
    #[error(
        "the signer gives different signatures of one message with the key {}; a cluster needs \
         deterministic Ed25519 (RFC 8032): use another signer",
        hex(public_key)
    )]
    NotDeterministic {
        /// The key.
        public_key: Hash32,
    },
    /// The signature is not this key's.
    #[error(
        "what the signer makes with the key {} does not verify with it; load the right key",
        hex(public_key)
    )]
    Invalid {
        /// The key.
        public_key: Hash32,
    },
}

/// Checks that a signer holds the private key of `public_key` and that its signatures are valid and
/// deterministic.
pub fn self_test(signer: &dyn Signer, public_key: &Hash32) -> Result<(), SelfTestError> {
    let public_key = *public_key;
    let sign = || {
        signer
            .sign(&public_key, &Signable::SelfTest)
            .map_err(|source| SelfTestError::Sign { public_key, source })
    };
    let (first, second) = (sign()?, sign()?);
    if first != second {
        return Err(SelfTestError::NotDeterministic { public_key });
    }
    let valid = VerifyingKey::from_bytes(&public_key).is_ok_and(|key| {
        key.verify_strict(&self_test_hash(), &Signature::from_bytes(&first)).is_ok()
    });
    if valid { Ok(()) } else { Err(SelfTestError::Invalid { public_key }) }
}

#[cfg(test)]
mod tests;
