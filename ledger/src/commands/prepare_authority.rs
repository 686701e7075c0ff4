//! Announces a signing key, once every voter has shown that its signer holds it.

use super::directory_fact::append_to_group;
use super::{Context, field_invalid};
use crate::facts::Environment;
use crate::hash::{Hash32, Tagged};
use crate::outcome::{Outcome, RefusalCode};
use crate::payload::Object;
use crate::record::RecordKind;
use crate::seal;
use crate::state::Id;
use crate::state::group::{Authority, AuthorityStatus};
use ed25519_dalek::{Signature, VerifyingKey};

/// What a voter signs with the new key to show that it holds it.
#[must_use]
pub fn authority_proof_hash(cluster: &str, group: u64, voter: u64, authority_id: &str) -> Hash32 {
    Tagged::new("fiscus/authority-proof/v1")
        .str(cluster)
        .u64(group)
        .u64(voter)
        .str(authority_id)
        .finish()
}

/// Prepares one authority. Which voters there are is for the proposer to know; each proof given is
/// checked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrepareAuthority {
    /// The name before the dot of its id.
    pub name: Id,
    /// The Ed25519 public key.
    pub public_key: Hash32,
    /// Whether it will sign real seals or trials.
    pub environment: Environment,
    /// Voters, ascending, and their proofs.
    pub proofs: Vec<(u64, [u8; 64])>,
}

impl PrepareAuthority {
    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Outcome {
        let is_name = |text: &str| {
            (1..=32).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !is_name(&self.name) {
            return field_invalid("name", "must match [A-Za-z0-9-]{1,32}");
        }
        let group = &cx.state.group;
        let id = Id::from(seal::authority_id(&self.name, &self.public_key));
        let known = |known: &Authority| known.id == id || known.public_key == self.public_key;
        if group.authorities.iter().any(known) {
            let detail = format!("authority {id} or its key was prepared before; make a new key");
            return Outcome::refused(RefusalCode::AuthorityInvalid, detail);
        }
        let Ok(key) = VerifyingKey::from_bytes(&self.public_key) else {
            return field_invalid("public_key", "must be a valid Ed25519 public key");
        };
        let ascending = self.proofs.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let holds = |(voter, proof): &(u64, [u8; 64])| {
            let hash = authority_proof_hash(&group.cluster, group.number, *voter, &id);
            key.verify_strict(&hash, &Signature::from_bytes(proof)).is_ok()
        };
        if self.proofs.is_empty() || !ascending || !self.proofs.iter().all(holds) {
            let detail = format!("a voter has not shown that it holds the key of {id}");
            return Outcome::refused(RefusalCode::AuthorityProofInvalid, detail);
        }

        // The very first announcement has no older key to sign it, so the new key signs its own.
        let signer = group.chain_authority().map_or_else(|| id.clone(), |known| known.id.clone());
        let payload = Object::new()
            .text("event", "prepared")
            .text("fiscal_authority_id", &id)
            .text("algorithm", "Ed25519")
            .bytes("public_key", &self.public_key)
            .text("environment", self.environment.as_str())
            .finish();
        cx.state.group.authorities.push(Authority {
            id,
            public_key: self.public_key,
            environment: self.environment,
            status: AuthorityStatus::Prepared,
            valid_from: None,
            valid_until: None,
        });
        append_to_group(cx, RecordKind::Authority, &signer, &payload)
    }
}
