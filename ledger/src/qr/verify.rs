//! Whether a well-formed receipt is genuine: signatures, key validity, and the reach of a credential.
//!
//! Each check has its own refusal. A signature that does not match is reported before anything about
//! the key's life, since a tampered receipt is tampered whatever the key's status.

use ed25519_dalek::{Signature, VerifyingKey};

use super::{QrFields, QrPayload};
use crate::credential::{CoverError, Credential};
use crate::facts::Environment;
use crate::hash::Hash32;
use crate::keys::{AuthorityKey, KeySet, KeyStatus, ListedKey, UnusableKey};
use crate::seal::AuthCode;

/// What a genuine receipt proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What was signed.
    pub entry_hash: Hash32,
    /// The code that must stand beside the QR.
    pub auth_code: AuthCode,
    /// The authority that vouches: the one that signed, or that signed the credential.
    pub authority_id: String,
    /// The credential's id, when a terminal sealed offline.
    pub credential_id: Option<String>,
    /// Whether the sale is real.
    pub environment: Environment,
}

/// Why a well-formed receipt is not proved genuine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Something printed is not what was signed.
    #[error("the signature does not match: something on this receipt is not what was sealed")]
    SignatureInvalid,
    /// The authority is not listed.
    #[error("the authority {0} is not in the list of keys")]
    AuthorityUnknown(String),
    /// The authority is listed, but its key cannot be used here.
    #[error("the key of authority {id} cannot be used: {reason}")]
    KeyUnusable {
        /// The authority.
        id: String,
        /// Why not.
        reason: UnusableKey,
    },
    /// The key was not in force.
    #[error("the key of authority {0} was not valid at the time of the receipt")]
    KeyNotValidAtTime(String),
    /// The key is announced, not in force.
    #[error("the key of authority {0} is prepared and not yet in force")]
    KeyPrepared(String),
    /// Anybody may have signed.
    #[error(
        "the signature matches, but the key of authority {0} is reported compromised: only a proof \
         of inclusion in the ledger can show that this receipt is genuine"
    )]
    KeyCompromised(String),
    /// The authority did not sign the credential.
    #[error("the authority's signature of the credential does not match")]
    CredentialSignature,
    /// The credential's terminal key is not a key.
    #[error("the terminal key in the credential is not an Ed25519 public key")]
    TerminalKey,
    /// The seal is outside the credential.
    #[error("the credential does not cover this receipt: {0}")]
    NotCovered(#[from] CoverError),
}

/// Checks a receipt against the published keys, without any network.
///
/// The key of an offline seal's authority must have been in force when the credential was granted:
/// a rotation during the terminal's hours offline leaves its paper genuine.
pub fn verify(payload: &QrPayload, keys: &KeySet) -> Result<Verified, VerifyError> {
    let fields = payload.fields();
    let authority_id = match &fields.credential {
        Some(credential) => &credential.terms().authority_id,
        None => &fields.authority_id,
    };
    let authority = find_authority(keys, authority_id)?;
    let entry_hash = payload.entry_hash();
    let signed_at = match &fields.credential {
        Some(credential) => {
            check_offline(credential, authority, fields, &entry_hash)?;
            credential.terms().not_before_ms
        }
        None => {
            check_signature(&authority.public_key, &entry_hash, &fields.signature)?;
            fields.timestamp.get()
        }
    };
    check_in_force(authority, signed_at)?;
    Ok(Verified {
        entry_hash,
        auth_code: payload.auth_code(),
        authority_id: authority_id.clone(),
        credential_id: fields.credential.as_ref().map(|credential| credential.terms().id.clone()),
        environment: authority.environment,
    })
}

fn find_authority<'a>(keys: &'a KeySet, id: &str) -> Result<&'a AuthorityKey, VerifyError> {
    match keys.get(id) {
        Some(ListedKey::Usable(key)) => Ok(key),
        Some(ListedKey::Unusable(reason)) => {
            Err(VerifyError::KeyUnusable { id: id.to_owned(), reason: reason.clone() })
        }
        None => Err(VerifyError::AuthorityUnknown(id.to_owned())),
    }
}

/// The authority signed the credential, its terminal signed the seal, and the seal is within it.
fn check_offline(
    credential: &Credential,
    authority: &AuthorityKey,
    fields: &QrFields,
    entry_hash: &Hash32,
) -> Result<(), VerifyError> {
    if !credential.verify(&authority.public_key) {
        return Err(VerifyError::CredentialSignature);
    }
    let terminal = VerifyingKey::from_bytes(&credential.terms().terminal_key)
        .map_err(|_| VerifyError::TerminalKey)?;
    check_signature(&terminal, entry_hash, &fields.signature)?;
    credential.covers(&fields.authority_id, &fields.fiscal_number, fields.timestamp.get())?;
    Ok(())
}

fn check_signature(
    key: &VerifyingKey,
    entry_hash: &Hash32,
    signature: &[u8; 64],
) -> Result<(), VerifyError> {
    key.verify_strict(entry_hash, &Signature::from_bytes(signature))
        .map_err(|_| VerifyError::SignatureInvalid)
}

fn check_in_force(authority: &AuthorityKey, signed_at_ms: u64) -> Result<(), VerifyError> {
    let id = authority.id.clone();
    if authority.status == KeyStatus::Prepared {
        return Err(VerifyError::KeyPrepared(id));
    }
    if !authority.covers(signed_at_ms) {
        return Err(VerifyError::KeyNotValidAtTime(id));
    }
    if authority.status == KeyStatus::Compromised {
        return Err(VerifyError::KeyCompromised(id));
    }
    Ok(())
}
