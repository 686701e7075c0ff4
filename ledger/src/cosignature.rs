//! Cosignatures of witnesses, C2SP `tlog-cosignature` version 1: a signed note's further lines, each the word of
//! somebody else that the log only grew.
//!
//! ```text
//! what is signed     cosignature/v1␊time {time}␊{the checkpoint's text}
//! the line           — {witness} base64(4-byte key id ‖ u64 big-endian time ‖ 64-byte Ed25519 signature)
//! key id             the first 4 bytes of SHA-256(name ‖ newline ‖ 4 ‖ public key)
//! ```
//!
//! Non-goals: how many witnesses are enough, which is the reader's policy, and making cosignatures.

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::base64::{decode_standard, encode_standard};
use crate::hash::{Hash32, from_hex, hex};
use crate::note::{KeyError, KeyId, Note, NoteSignature, is_key_name};

const COSIGNATURE: u8 = 4;

/// A witness: its name and the public key that it cosigns with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignerKey {
    name: String,
    id: KeyId,
    key: VerifyingKey,
}

impl CosignerKey {
    /// A witness of this name.
    pub fn new(name: &str, public_key: &Hash32) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::Name(name.to_owned()));
        }
        let key = VerifyingKey::from_bytes(public_key)
            .ok()
            .filter(|key| !key.is_weak())
            .ok_or_else(|| KeyError::PublicKey(name.to_owned()))?;
        let digest = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', COSIGNATURE])
            .chain_update(public_key)
            .finalize();
        let id = [digest[0], digest[1], digest[2], digest[3]];
        Ok(Self { name: name.to_owned(), id, key })
    }

    /// Whether it is the same key, whatever the names are.
    #[must_use]
    pub fn is_key_of(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// Reads a verifier key in its text form, `name+id+key`.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, rest) = text.split_once('+').ok_or(KeyError::Format)?;
        let (id, key) = rest.split_once('+').ok_or(KeyError::Format)?;
        let id: KeyId = from_hex(id).ok_or(KeyError::Format)?;
        let key = decode_standard(key).ok_or(KeyError::Format)?;
        let (algorithm, key) = key.split_first().ok_or(KeyError::Format)?;
        if *algorithm != COSIGNATURE {
            return Err(KeyError::Algorithm(*algorithm));
        }
        let parsed = Self::new(name, key.try_into().map_err(|_| KeyError::Format)?)?;
        if parsed.id != id {
            return Err(KeyError::Id(parsed.name));
        }
        Ok(parsed)
    }

    /// The text form, `name+id+key`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut typed_key = vec![COSIGNATURE];
        typed_key.extend_from_slice(self.key.as_bytes());
        format!("{}+{}+{}", self.name, hex(&self.id), encode_standard(&typed_key))
    }

    /// The name that it cosigns under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a line says that it is this witness's.
    #[must_use]
    pub fn is_named_by(&self, line: &NoteSignature) -> bool {
        line.name() == self.name && line.id() == self.id
    }

    /// The time of a cosignature, in Unix seconds, when the line is this witness's over `text`.
    #[must_use]
    pub fn opens(&self, text: &str, line: &NoteSignature) -> Option<u64> {
        let (time, signature) = line.signature().split_first_chunk::<8>()?;
        let time = u64::from_be_bytes(*time);
        let signature = Signature::from_slice(signature).ok()?;
        let message = cosigned_text(text, time);
        let holds = self.key.verify_strict(message.as_bytes(), &signature).is_ok();
        (self.is_named_by(line) && holds).then_some(time)
    }
}

/// What a witness signs at a time.
#[must_use]
pub fn cosigned_text(checkpoint: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{checkpoint}")
}

/// How many of `witnesses` have cosigned a note, each counted once.
#[must_use]
pub fn cosigners(note: &Note, witnesses: &[CosignerKey]) -> usize {
    let cosigned = |witness: &&CosignerKey| {
        note.signatures().iter().any(|line| witness.opens(note.text(), line).is_some())
    };
    witnesses.iter().filter(cosigned).count()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;
    use crate::note::VerifierKey;

    const TEXT: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    fn witness(name: &str, seed: u8) -> CosignerKey {
        let key = SigningKey::from_bytes(&[seed; 32]).verifying_key();
        CosignerKey::new(name, key.as_bytes()).unwrap()
    }

    fn line(witness: &CosignerKey, seed: u8, time: u64, text: &str) -> String {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let signature = key.sign(cosigned_text(text, time).as_bytes()).to_bytes();
        let bytes = [&witness.id[..], &time.to_be_bytes(), &signature].concat();
        format!("— {} {}\n", witness.name(), encode_standard(&bytes))
    }

    fn signed() -> Note {
        let key = SigningKey::from_bytes(&[1; 32]);
        let name = "example.com/behind-the-sofa";
        let verifier = VerifierKey::new(name, key.verifying_key().as_bytes()).unwrap();
        Note::sign(TEXT, &verifier, |text| key.sign(text).to_bytes()).unwrap()
    }

    #[test]
    fn a_key_has_one_text() {
        let key = witness("witness.example/w1", 7);
        let text = key.to_text();
        assert_eq!(CosignerKey::parse(&text), Ok(key));
        let log_key = VerifierKey::new("witness.example/w1", &[0x58; 32]);
        if let Ok(log_key) = log_key {
            assert_eq!(CosignerKey::parse(&log_key.to_text()), Err(KeyError::Algorithm(1)));
        }
        assert!(CosignerKey::parse(&text.replace("w1", "w2")).is_err(), "another name, another id");
        assert_eq!(CosignerKey::parse("a+b"), Err(KeyError::Format));
    }

    #[test]
    fn a_cosignature_is_of_its_witness_its_text_and_its_time() {
        let (one, two) = (witness("w/1", 7), witness("w/2", 8));
        let mut note = signed();
        assert_eq!(cosigners(&note, &[one.clone(), two.clone()]), 0);
        let good = line(&one, 7, 1_679_315_147, TEXT);
        let whole = note.to_text() + &good + &good;
        note = Note::parse(whole.as_bytes()).unwrap();
        assert_eq!(one.opens(note.text(), &note.signatures()[1]), Some(1_679_315_147));
        assert_eq!(cosigners(&note, &[one.clone(), two.clone()]), 1, "once, however often");
        for wrong in [
            line(&one, 8, 1_679_315_147, TEXT),
            line(&one, 7, 1_679_315_147, &TEXT.replace("20852163", "20852164")),
            line(&two, 7, 1_679_315_147, TEXT),
            good.replace("w/1", "w/2"),
        ] {
            let whole = signed().to_text() + &wrong;
            let note = Note::parse(whole.as_bytes()).unwrap();
            assert_eq!(cosigners(&note, &[one.clone(), two.clone()]), 0, "{wrong}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_cosignature_fails() {
        let one = witness("w/1", 7);
        let line = line(&one, 7, 1_679_315_147, TEXT);
        let start = "— w/1 ".len();
        for place in start * 8..(line.len() - 1) * 8 {
            let mut bytes = line.clone().into_bytes();
            bytes[place / 8] ^= 1 << (place % 8);
            let whole = [signed().to_text().as_bytes(), &bytes].concat();
            let Ok(note) = Note::parse(&whole) else { continue };
            assert_eq!(cosigners(&note, std::slice::from_ref(&one)), 0, "bit {place}");
        }
    }
}
