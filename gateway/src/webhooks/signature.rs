//! Secrets of endpoints, and the signatures of messages as the Standard Webhooks specification has them: HMAC-SHA256
//! as `v1` and Ed25519 as `v1a`, over `{id}.{timestamp}.{body}`.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use fiscus_ledger::base64::{decode_standard, encode_standard};
use ring::hmac;

const HMAC_BYTES: usize = 32;
const SEED_BYTES: usize = 32;
/// What is kept, sealed, of a secret.
pub const SECRET_BYTES: usize = HMAC_BYTES + SEED_BYTES;

/// One secret of an endpoint: it makes both kinds of signatures. It is never printed.
#[derive(Clone)]
pub struct Secret {
    bytes: [u8; SECRET_BYTES],
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// A secret of random bytes.
    #[must_use]
    pub fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self { bytes }
    }

    /// What is kept of it, sealed.
    #[must_use]
    pub fn bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.bytes
    }

    /// For receivers that check `v1`.
    #[must_use]
    pub fn text(&self) -> String {
        format!("whsec_{}", encode_standard(&self.bytes[..HMAC_BYTES]))
    }

    /// For receivers that check `v1a`; it is no secret.
    #[must_use]
    pub fn public_text(&self) -> String {
        format!("whpk_{}", encode_standard(self.signing_key().verifying_key().as_bytes()))
    }

    fn signing_key(&self) -> SigningKey {
        let seed = self.bytes.last_chunk::<SEED_BYTES>().expect("a secret is longer");
        SigningKey::from_bytes(seed)
    }

    /// Both signatures of a message.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let signed = signed_bytes(id, timestamp, body);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.bytes[..HMAC_BYTES]);
        let code = encode_standard(hmac::sign(&key, &signed).as_ref());
        let signature = encode_standard(&self.signing_key().sign(&signed).to_bytes());
        format!("v1,{code} v1a,{signature}")
    }
}

fn signed_bytes(id: &str, timestamp: u64, body: &[u8]) -> Vec<u8> {
    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend_from_slice(body);
    signed
}

/// What a receiver checks with.
#[derive(Debug)]
pub enum Verifier {
    /// `whsec_…`.
    Hmac(hmac::Key),
    /// `whpk_…`.
    Ed25519(VerifyingKey),
}

/// Why a message is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotBelieved {
    /// No signature fits.
    #[error("no signature fits: another secret, or what came is not what was signed")]
    Signature,
    /// Too old, or from the future.
    #[error("the timestamp is more than {TOLERANCE_S} seconds away from now")]
    Timestamp,
}

/// A message may be so many seconds old, and as many ahead.
pub const TOLERANCE_S: u64 = 300;

impl Verifier {
    /// Reads `whsec_…` or `whpk_…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(key) = text.strip_prefix("whpk_") {
            let bytes: [u8; 32] = decode_standard(key)?.try_into().ok()?;
            return VerifyingKey::from_bytes(&bytes).ok().map(Self::Ed25519);
        }
        let bytes = decode_standard(text.strip_prefix("whsec_").unwrap_or(text))?;
        (24..=64)
            .contains(&bytes.len())
            .then(|| Self::Hmac(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// Whether a message is the sender's, and of now.
    pub fn check(
        &self,
        id: &str,
        timestamp: u64,
        signatures: &str,
        body: &[u8],
        now_s: u64,
    ) -> Result<(), NotBelieved> {
        if now_s.abs_diff(timestamp) > TOLERANCE_S {
            return Err(NotBelieved::Timestamp);
        }
        let signed = signed_bytes(id, timestamp, body);
        let fits =
            signatures.split(' ').filter_map(|one| one.split_once(',')).any(|(version, text)| {
                let Some(bytes) = decode_standard(text) else { return false };
                match self {
                    Self::Hmac(key) => {
                        version == "v1" && hmac::verify(key, &signed, &bytes).is_ok()
                    }
                    Self::Ed25519(key) => {
                        let signature = ed25519_dalek::Signature::from_slice(&bytes);
                        version == "v1a"
                            && signature.is_ok_and(|signature| {
                                key.verify_strict(&signed, &signature).is_ok()
                            })
                    }
                }
            });
        if fits { Ok(()) } else { Err(NotBelieved::Signature) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn the_published_example_is_made() {
        let hmac = decode_standard("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &hmac);
        let signed =
            signed_bytes("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        let code = encode_standard(hmac::sign(&key, &signed).as_ref());
        assert_eq!(code, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn both_kinds_are_checked_and_whatever_is_changed_is_refused() {
        let secret = Secret::new([7; SECRET_BYTES]);
        let (id, body, now) = ("msg_1", b"{\"a\":1}".as_slice(), 1_800_000_000);
        let header = secret.sign(id, now, body);
        let other = Secret::new([8; SECRET_BYTES]);
        let overlap = format!("{} {header}", other.sign(id, now, body));
        for text in [secret.text(), secret.public_text()] {
            let verifier = Verifier::parse(&text).expect("a key");
            for header in [&header, &overlap] {
                assert_eq!(verifier.check(id, now, header, body, now + TOLERANCE_S), Ok(()));
            }
            let wrong = Err(NotBelieved::Signature);
            assert_eq!(verifier.check("msg_2", now, &header, body, now), wrong);
            assert_eq!(verifier.check(id, now + 1, &header, body, now), wrong);
            assert_eq!(verifier.check(id, now, &header, b"{\"a\":2}", now), wrong);
            assert_eq!(verifier.check(id, now, &other.sign(id, now, body), body, now), wrong);
            assert_eq!(verifier.check(id, now, "v1 v2,x v1,", body, now), wrong);
            let old = Err(NotBelieved::Timestamp);
            assert_eq!(verifier.check(id, now, &header, body, now + TOLERANCE_S + 1), old);
            assert_eq!(verifier.check(id, now, &header, body, now - TOLERANCE_S - 1), old);
        }
        assert!(Verifier::parse("whsec_short").is_none() && Verifier::parse("whpk_AA==").is_none());
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
