//! Delegated credentials: the authority's signed leave for one terminal to seal offline.
//!
//! ```text
//! authority key ──signs──► credential { terminal key, numbers first..=last, not_before..=not_after }
//!                                          └──signs──► offline seal, whose authority is the credential's id
//! ```
//!
//! Invariants: a [`Credential`] always holds terms that passed [`CredentialTerms::check`]; one
//! credential has one byte string. Whether its signature is good is a separate question, which only
//! [`Credential::verify`] answers.
//!
//! Non-goals: granting, revoking and counting used numbers is the business of the group's journal.

use ed25519_dalek::{Signature, VerifyingKey};

use crate::base64;
use crate::codec::{DecodeError, Reader, Writer};
use crate::hash::{Hash32, Tagged};
use crate::seal::{is_series_prefix, split_number};

/// Most bytes of the id of a credential or an authority.
pub const AUTHORITY_ID_BYTES_MAX: usize = 128;

/// Most bytes of an outlet's id.
pub const OUTLET_ID_BYTES_MAX: usize = 64;

/// Most characters of a credential in its compact text form.
pub const COMPACT_CHARACTERS_MAX: usize = 1024;

/// The longest prefix leaves room for a dash and twenty digits in a number.
const PREFIX_BYTES_MAX: usize = 43;

const VERSION: u8 = 1;

/// What a credential says, before or without its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialTerms {
    /// The credential's own id, which offline seals name as their authority.
    pub id: String,
    /// The outlet whose numbers are lent.
    pub outlet_id: String,
    /// What stands before the sequence in every lent number, such as `CD-KIN01`.
    pub prefix: String,
    /// The first lent sequence number.
    pub first: u64,
    /// The last lent sequence number.
    pub last: u64,
    /// The first millisecond in which the terminal may seal, Unix time.
    pub not_before_ms: u64,
    /// The last millisecond in which the terminal may seal, Unix time.
    pub not_after_ms: u64,
    /// The terminal's Ed25519 public key.
    pub terminal_key: [u8; 32],
    /// The entry hash of the journal record that lent the numbers: the sub-chain starts there.
    pub block_entry_hash: Hash32,
    /// The authority that signs the credential.
    pub authority_id: String,
}

/// Why a text, a byte string or a set of terms is no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The text is longer than any credential.
    #[error("the credential is longer than {COMPACT_CHARACTERS_MAX} characters")]
    TooLong,
    /// Not base64url without padding.
    #[error("the credential is not base64url without padding")]
    NotBase64Url,
    /// A version that this program does not know.
    #[error("the credential has format version {0}, this program reads version 1")]
    UnknownVersion(u8),
    /// The bytes do not hold the fields.
    #[error("the credential cannot be decoded: {0}")]
    Decode(#[from] DecodeError),
    /// A field holds what it may not hold.
    #[error("the credential's {field} {rule}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
}

/// Why a credential does not cover a seal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoverError {
    /// The seal names another authority.
    #[error("the seal names {named}, but the credential with it is {id}")]
    OtherCredential {
        /// The id in the seal.
        named: String,
        /// The credential's id.
        id: String,
    },
    /// The number is of another series.
    #[error("the number {number} does not start with {prefix}-, which the credential lends")]
    OtherSeries {
        /// The number on the seal.
        number: String,
        /// The credential's prefix.
        prefix: String,
    },
    /// The number is outside the block.
    #[error("the sequence {sequence} is outside the lent numbers {first} to {last}")]
    OutOfRange {
        /// The sequence on the seal.
        sequence: u64,
        /// The first lent number.
        first: u64,
        /// The last lent number.
        last: u64,
    },
    /// The time is outside the window.
    #[error("the seal's time lies outside the credential's window")]
    OutOfWindow,
}

impl CredentialTerms {
    /// Checks each field, and that range and window are not empty.
    pub fn check(&self) -> Result<(), CredentialError> {
        let rules = [
            (
                is_authority_id(&self.id),
                "id",
                "must be 1 to 128 printable characters without spaces",
            ),
            (is_outlet_id(&self.outlet_id), "outlet_id", "must be 1 to 64 bytes without controls"),
            (
                self.prefix.len() <= PREFIX_BYTES_MAX && is_series_prefix(&self.prefix),
                "prefix",
                "must be capital letters and digits joined by dashes, at most 43 bytes",
            ),
            (self.first >= 1, "first", "must be at least 1"),
            (self.first <= self.last, "last", "must not be below first"),
            (self.not_before_ms <= self.not_after_ms, "not_after", "must not be before not_before"),
            (
                is_authority_id(&self.authority_id),
                "authority_id",
                "must be 1 to 128 printable characters without spaces",
            ),
        ];
        match rules.into_iter().find(|(holds, _, _)| !holds) {
            Some((_, field, rule)) => Err(CredentialError::Field { field, rule }),
            None => Ok(()),
        }
    }

    /// The 32 bytes that the authority signs.
    #[must_use]
    pub fn signed_hash(&self) -> Hash32 {
        Tagged::new("fiscus/credential/v1")
            .str(&self.id)
            .str(&self.outlet_id)
            .str(&self.prefix)
            .u64(self.first)
            .u64(self.last)
            .u64(self.not_before_ms)
            .u64(self.not_after_ms)
            .h32(&self.terminal_key)
            .h32(&self.block_entry_hash)
            .str(&self.authority_id)
            .finish()
    }
}

/// Well-formed terms and a signature that is yet to be verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    terms: CredentialTerms,
    signature: [u8; 64],
}

impl Credential {
    /// Joins terms and the signature of their [`CredentialTerms::signed_hash`].
    pub fn new(terms: CredentialTerms, signature: [u8; 64]) -> Result<Self, CredentialError> {
        terms.check()?;
        Ok(Self { terms, signature })
    }

    /// What it says.
    #[must_use]
    pub fn terms(&self) -> &CredentialTerms {
        &self.terms
    }

    /// The authority's signature.
    #[must_use]
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// The stored form: a version byte, the terms in the order of the signed hash, the signature.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let terms = &self.terms;
        let mut writer = Writer::with_capacity(320);
        writer
            .u8(VERSION)
            .str(&terms.id)
            .str(&terms.outlet_id)
            .str(&terms.prefix)
            .u64(terms.first)
            .u64(terms.last)
            .u64(terms.not_before_ms)
            .u64(terms.not_after_ms)
            .raw(&terms.terminal_key)
            .raw(&terms.block_entry_hash)
            .str(&terms.authority_id)
            .raw(&self.signature);
        writer.finish()
    }

    /// Reads what [`Self::to_bytes`] writes, and nothing else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CredentialError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8("version")?;
        if version != VERSION {
            return Err(CredentialError::UnknownVersion(version));
        }
        let terms = CredentialTerms {
            id: reader.str("id")?.to_owned(),
            outlet_id: reader.str("outlet_id")?.to_owned(),
            prefix: reader.str("prefix")?.to_owned(),
            first: reader.u64("first")?,
            last: reader.u64("last")?,
            not_before_ms: reader.u64("not_before")?,
            not_after_ms: reader.u64("not_after")?,
            terminal_key: reader.array("terminal_key")?,
            block_entry_hash: reader.h32("block_entry_hash")?,
            authority_id: reader.str("authority_id")?.to_owned(),
        };
        let signature = reader.array("signature")?;
        reader.finish()?;
        Self::new(terms, signature)
    }

    /// The text that stands in a QR code.
    #[must_use]
    pub fn to_compact(&self) -> String {
        base64::encode_url(&self.to_bytes())
    }

    /// Reads what [`Self::to_compact`] writes, and nothing else.
    pub fn from_compact(text: &str) -> Result<Self, CredentialError> {
        if text.len() > COMPACT_CHARACTERS_MAX {
            return Err(CredentialError::TooLong);
        }
        Self::from_bytes(&base64::decode_url(text).ok_or(CredentialError::NotBase64Url)?)
    }

    /// Whether `authority` signed these terms.
    #[must_use]
    pub fn verify(&self, authority: &VerifyingKey) -> bool {
        let signature = Signature::from_bytes(&self.signature);
        authority.verify_strict(&self.terms.signed_hash(), &signature).is_ok()
    }

    /// Whether a seal under `authority_id` with this number and time is within the terms.
    pub fn covers(
        &self,
        authority_id: &str,
        number: &str,
        timestamp_ms: u64,
    ) -> Result<(), CoverError> {
        let terms = &self.terms;
        if authority_id != terms.id {
            let (named, id) = (authority_id.to_owned(), terms.id.clone());
            return Err(CoverError::OtherCredential { named, id });
        }
        let sequence = match split_number(number) {
            Some((prefix, sequence)) if prefix == terms.prefix => sequence,
            _ => {
                let (number, prefix) = (number.to_owned(), terms.prefix.clone());
                return Err(CoverError::OtherSeries { number, prefix });
            }
        };
        if !(terms.first..=terms.last).contains(&sequence) {
            let (first, last) = (terms.first, terms.last);
            return Err(CoverError::OutOfRange { sequence, first, last });
        }
        if !(terms.not_before_ms..=terms.not_after_ms).contains(&timestamp_ms) {
            return Err(CoverError::OutOfWindow);
        }
        Ok(())
    }
}

/// Whether `text` may be the id of an authority or a credential.
#[must_use]
pub fn is_authority_id(text: &str) -> bool {
    (1..=AUTHORITY_ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_outlet_id(text: &str) -> bool {
    (1..=OUTLET_ID_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};
    use proptest::prelude::*;

    use super::*;

    fn terms() -> CredentialTerms {
        CredentialTerms {
            id: "cred-7".to_owned(),
            outlet_id: "outlet-1".to_owned(),
            prefix: "CD-KIN01".to_owned(),
            first: 10,
            last: 20,
            not_before_ms: 1_000,
            not_after_ms: 2_000,
            terminal_key: [3; 32],
            block_entry_hash: [4; 32],
            authority_id: "demo.0011223344556677".to_owned(),
        }
    }

    fn signed() -> (Credential, SigningKey) {
        let key = SigningKey::from_bytes(&[5; 32]);
        let signature = key.sign(&terms().signed_hash()).to_bytes();
        (Credential::new(terms(), signature).unwrap(), key)
    }

    type Change = fn(&mut CredentialTerms);

    #[test]
    fn every_term_is_signed() {
        let (credential, key) = signed();
        assert!(credential.verify(&key.verifying_key()));
        let changes: [(&str, Change); 10] = [
            ("id", |t| t.id.push('x')),
            ("outlet_id", |t| t.outlet_id.push('x')),
            ("prefix", |t| t.prefix.push('X')),
            ("first", |t| t.first -= 1),
            ("last", |t| t.last += 1),
            ("not_before", |t| t.not_before_ms -= 1),
            ("not_after", |t| t.not_after_ms += 1),
            ("terminal_key", |t| t.terminal_key[0] ^= 1),
            ("block_entry_hash", |t| t.block_entry_hash[0] ^= 1),
            ("authority_id", |t| t.authority_id.push('x')),
        ];
        for (field, change) in changes {
            let mut changed = terms();
            change(&mut changed);
            let forged = Credential::new(changed, *credential.signature()).unwrap();
            assert!(!forged.verify(&key.verifying_key()), "{field}");
        }
    }

    #[test]
    fn terms_that_say_nothing_sensible_are_refused() {
        let changes: [(&str, Change); 13] = [
            ("id", |t| t.id.clear()),
            ("id", |t| t.id = "x".repeat(129)),
            ("id", |t| t.id = "a b".to_owned()),
            ("outlet_id", |t| t.outlet_id.clear()),
            ("outlet_id", |t| t.outlet_id = "x".repeat(65)),
            ("outlet_id", |t| t.outlet_id = "a\n".to_owned()),
            ("prefix", |t| t.prefix.push('-')),
            ("prefix", |t| t.prefix = "X".repeat(44)),
            ("first", |t| t.first = 0),
            ("last", |t| t.last = 9),
            ("not_after", |t| t.not_after_ms = 999),
            ("authority_id", |t| t.authority_id.clear()),
            ("authority_id", |t| t.authority_id = "é".to_owned()),
        ];
        for (expected, change) in changes {
            let mut changed = terms();
            change(&mut changed);
            let unchecked = Credential { terms: changed.clone(), signature: [0; 64] };
            for refusal in [
                Credential::new(changed, [0; 64]).unwrap_err(),
                Credential::from_bytes(&unchecked.to_bytes()).unwrap_err(),
            ] {
                assert!(
                    matches!(refusal, CredentialError::Field { field, .. } if field == expected),
                    "{expected}: {refusal}"
                );
            }
        }
    }

    #[test]
    fn seals_within_the_terms_are_covered_and_no_others() {
        let (credential, _) = signed();
        for (authority, number, time) in
            [("cred-7", "CD-KIN01-10", 1_000), ("cred-7", "CD-KIN01-20", 2_000)]
        {
            assert_eq!(credential.covers(authority, number, time), Ok(()));
        }
        let range = |sequence| CoverError::OutOfRange { sequence, first: 10, last: 20 };
        for (authority, number, time, expected) in [
            ("cred-7", "CD-KIN01-9", 1_500, range(9)),
            ("cred-7", "CD-KIN01-21", 1_500, range(21)),
            ("cred-7", "CD-KIN01-10", 999, CoverError::OutOfWindow),
            ("cred-7", "CD-KIN01-10", 2_001, CoverError::OutOfWindow),
        ] {
            assert_eq!(credential.covers(authority, number, time), Err(expected));
        }
        for number in ["CD-KIN02-10", "KIN01-10", "CD-KIN01-X-10", "CD-KIN01-010", ""] {
            let refusal = credential.covers("cred-7", number, 1_500);
            assert!(matches!(refusal, Err(CoverError::OtherSeries { .. })), "{number}");
        }
        let refusal = credential.covers("cred-8", "CD-KIN01-10", 1_500);
        assert!(matches!(refusal, Err(CoverError::OtherCredential { .. })));
    }

    #[test]
    fn broken_compact_texts_are_refused() {
        let (credential, _) = signed();
        let bytes = credential.to_bytes();
        assert_eq!(Credential::from_compact(&credential.to_compact()), Ok(credential));
        assert_eq!(Credential::from_compact("AQ=="), Err(CredentialError::NotBase64Url));
        assert_eq!(Credential::from_compact(&"A".repeat(1025)), Err(CredentialError::TooLong));
        for length in 0..bytes.len() {
            let refusal = Credential::from_bytes(&bytes[..length]);
            assert!(matches!(refusal, Err(CredentialError::Decode(_))), "{length}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        let trailing = Err(CredentialError::Decode(DecodeError::Trailing(1)));
        assert_eq!(Credential::from_bytes(&longer), trailing);
        let mut newer = bytes;
        newer[0] = 2;
        assert_eq!(Credential::from_bytes(&newer), Err(CredentialError::UnknownVersion(2)));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(credential) = Credential::from_bytes(&bytes) {
                prop_assert_eq!(credential.to_bytes(), bytes);
            }
        }

        #[test]
        fn flipped_bits_never_verify(place in 0_usize..320, bit in 0_u8..8) {
            let (credential, key) = signed();
            let mut bytes = credential.to_bytes();
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
            if let Ok(forged) = Credential::from_bytes(&bytes) {
                prop_assert!(!forged.verify(&key.verifying_key()));
            }
        }
    }
}
