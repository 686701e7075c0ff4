//! Signed notes, the text format of C2SP `signed-note`: a text, a blank line, and one line per
//! signature.
//!
//! ```text
//! the text, which ends with a newline
//!
//! — key.name base64(4-byte key id ‖ signature)
//! ```
//!
//! A [`Note`] is only well-formed; nothing in it may be believed before [`Note::verify`]. Signatures
//! by unknown keys are ignored, as the format demands; *every* signature under a known name and key
//! id must be valid, repeated ones too, so that no byte attributed to a known key can be changed.
//!
//! Non-goals: holding private keys (signing is a closure), and signature types other than Ed25519
//! (type 1): lines of other types are kept, and what witnesses write is read by
//! [`cosignature`](crate::cosignature).

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::base64::{decode_standard, encode_standard};
use crate::hash::{Hash32, from_hex, hex};

/// The longest text of a note, in bytes.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The most signature lines of a note.
pub const SIGNATURES_MAX: usize = 100;
/// The longest signature line, in bytes: post-quantum signatures take nearly 7,000.
pub const SIGNATURE_LINE_BYTES_MAX: usize = 8 * 1024;

const ED25519: u8 = 1;
const KEY_ID_BYTES: usize = 4;

/// Tells the keys of one name apart. Short, so it identifies a key but does not authenticate it.
pub type KeyId = [u8; KEY_ID_BYTES];

/// Why a name, a public key or a verifier key's text cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Empty, or with a space, a plus sign or a control character.
    #[error("{0:?} cannot name a key")]
    Name(String),
    /// Not a point of the curve, or one of the few that accept forged signatures.
    #[error("the public key of {0:?} is not a usable Ed25519 key")]
    PublicKey(String),
    /// Not `name+id+key` with an 8-digit id and base64.
    #[error("a verifier key is written name+id+key")]
    Format,
    /// The key is for another algorithm.
    #[error("signature type {0} is not supported")]
    Algorithm(u8),
    /// The id in the text is not that of the name and key in it.
    #[error("the key id of {0:?} does not fit its name and key")]
    Id(String),
}

/// A name and a public key whose signatures are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    key: VerifyingKey,
}

impl VerifierKey {
    /// A key that signs under `name`.
    pub fn new(name: &str, public_key: &Hash32) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::Name(name.to_owned()));
        }
        let key = VerifyingKey::from_bytes(public_key)
            .ok()
            .filter(|key| !key.is_weak())
            .ok_or_else(|| KeyError::PublicKey(name.to_owned()))?;
        Ok(Self { name: name.to_owned(), id: ed25519_key_id(name, public_key), key })
    }

    /// Reads a verifier key in its text form, `name+id+key`.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, rest) = text.split_once('+').ok_or(KeyError::Format)?;
        let (id, key) = rest.split_once('+').ok_or(KeyError::Format)?;
        let id: KeyId = from_hex(id).ok_or(KeyError::Format)?;
        let key = decode_standard(key).ok_or(KeyError::Format)?;
        let (algorithm, key) = key.split_first().ok_or(KeyError::Format)?;
        if *algorithm != ED25519 {
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
        let mut typed_key = vec![ED25519];
        typed_key.extend_from_slice(self.key.as_bytes());
        format!("{}+{}+{}", self.name, hex(&self.id), encode_standard(&typed_key))
    }

    /// The name it signs under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of SHA-256(name ‖ newline ‖ 1 ‖ public key).
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The raw Ed25519 public key.
    #[must_use]
    pub fn public_key(&self) -> &Hash32 {
        self.key.as_bytes()
    }

    /// Whether `signature` is this key's over `text`, by the strict rules that leave no second
    /// spelling of a signature.
    fn accepts(&self, text: &str, signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(text.as_bytes(), &signature).is_ok())
    }
}

/// The keys that a reader believes.
#[derive(Debug, Clone, Default)]
pub struct KnownKeys {
    by_name: BTreeMap<(String, KeyId), VerifierKey>,
}

/// Two different keys have the same name and the same id: a signature line could mean either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two different keys are called {0:?} and have the same id")]
pub struct AmbiguousKeys(pub String);

impl KnownKeys {
    /// These keys and no others.
    pub fn new(keys: impl IntoIterator<Item = VerifierKey>) -> Result<Self, AmbiguousKeys> {
        let mut known = Self::default();
        for key in keys {
            let name = (key.name.clone(), key.id);
            let public_key = key.key;
            match known.by_name.insert(name, key) {
                Some(before) if before.key != public_key => {
                    return Err(AmbiguousKeys(before.name));
                }
                _ => {}
            }
        }
        Ok(known)
    }
}

/// Why bytes are not a signed note.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteParseError {
    /// The text is longer than [`TEXT_BYTES_MAX`], or the whole than any note can be.
    #[error("the text of the note is longer than {TEXT_BYTES_MAX} bytes")]
    TextTooLong,
    /// More lines than [`SIGNATURES_MAX`].
    #[error("the note has more than {SIGNATURES_MAX} signatures")]
    TooManySignatures,
    /// Not UTF-8.
    #[error("the note is not UTF-8")]
    Encoding,
    /// A control character other than newline.
    #[error("the note contains a control character")]
    ControlCharacter,
    /// The text does not end with a newline and a blank line.
    #[error("the note has no blank line after its text")]
    NoBlankLine,
    /// No signature lines, or no newline after the last.
    #[error("the note does not end with signature lines")]
    NoSignatures,
    /// A line after the text is not a signature line; the first is line 1.
    #[error("line {0} after the text is not a signature")]
    SignatureLine(usize),
}

/// Why a well-formed note is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteVerifyError {
    /// A line claims to be by a known key and is not.
    #[error("the signature by {0:?} is not valid")]
    BadSignature(String),
    /// No line is by a known key.
    #[error("the note is not signed by any known key")]
    NoKnownSignature,
}

/// Why a note could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteSignError {
    /// The text is longer than [`TEXT_BYTES_MAX`].
    #[error("the text of the note is longer than {TEXT_BYTES_MAX} bytes")]
    TextTooLong,
    /// The note has [`SIGNATURES_MAX`] signatures.
    #[error("the note has {SIGNATURES_MAX} signatures already")]
    TooManySignatures,
    /// A control character other than newline.
    #[error("the text contains a control character")]
    ControlCharacter,
    /// The text does not end with a newline.
    #[error("the text does not end with a newline")]
    NoNewline,
    /// The key's name is too long for a signature line.
    #[error("the name of the key does not fit a signature line")]
    NameTooLong,
    /// The signer signed with another key than it was announced with.
    #[error("the signer of {0:?} did not sign with its key")]
    WrongKey(String),
}

/// A signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    id: KeyId,
    signature: Vec<u8>,
}

impl NoteSignature {
    /// The name of the key that is said to have signed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What follows the id: for Ed25519 the 64 bytes of the signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
        let bytes = decode_standard(encoded)?;
        let (id, signature) = bytes.split_first_chunk::<KEY_ID_BYTES>()?;
        let whole = line.len() <= SIGNATURE_LINE_BYTES_MAX && !signature.is_empty();
        (whole && is_key_name(name)).then(|| Self {
            name: name.to_owned(),
            id: *id,
            signature: signature.to_vec(),
        })
    }

    fn to_line(&self) -> String {
        let encoded = encode_standard(&[&self.id[..], &self.signature].concat());
        format!("— {} {encoded}\n", self.name)
    }
}

/// A well-formed note that nobody has checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// The text of a note and the known keys that signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedNote<'a> {
    text: &'a str,
    signers: Vec<&'a VerifierKey>,
}

impl<'a> VerifiedNote<'a> {
    /// The text that was signed, with its final newline.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The known keys that signed, in the order of their first lines, each once and at least one.
    #[must_use]
    pub fn signers(&self) -> &[&'a VerifierKey] {
        &self.signers
    }
}

impl Note {
    /// Reads a note. There is exactly one spelling of every note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteParseError> {
        let bytes_max = TEXT_BYTES_MAX + 1 + SIGNATURES_MAX * (SIGNATURE_LINE_BYTES_MAX + 1);
        if bytes.len() > bytes_max {
            return Err(NoteParseError::TextTooLong);
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| NoteParseError::Encoding)?;
        if has_control_character(whole) {
            return Err(NoteParseError::ControlCharacter);
        }
        let blank = whole.rfind("\n\n").ok_or(NoteParseError::NoBlankLine)?;
        let (text, lines) = (&whole[..=blank], &whole[blank + 2..]);
        if text.len() > TEXT_BYTES_MAX {
            return Err(NoteParseError::TextTooLong);
        }
        let lines = lines.strip_suffix('\n').ok_or(NoteParseError::NoSignatures)?;
        let mut signatures = Vec::new();
        for (number, line) in (1..).zip(lines.split('\n')) {
            if number > SIGNATURES_MAX {
                return Err(NoteParseError::TooManySignatures);
            }
            let signature = NoteSignature::parse(line);
            signatures.push(signature.ok_or(NoteParseError::SignatureLine(number))?);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// Makes a note of `text` with one signature; `sign` gets the bytes to sign.
    pub fn sign(
        text: &str,
        key: &VerifierKey,
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Result<Self, NoteSignError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(NoteSignError::TextTooLong);
        }
        if has_control_character(text) {
            return Err(NoteSignError::ControlCharacter);
        }
        if !text.ends_with('\n') {
            return Err(NoteSignError::NoNewline);
        }
        let mut note = Self { text: text.to_owned(), signatures: Vec::new() };
        note.add_signature(key, sign)?;
        Ok(note)
    }

    /// Adds a signature. It is checked at once: a note that its readers would refuse never leaves.
    pub fn add_signature(
        &mut self,
        key: &VerifierKey,
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Result<(), NoteSignError> {
        if self.signatures.len() >= SIGNATURES_MAX {
            return Err(NoteSignError::TooManySignatures);
        }
        let signature = sign(self.text.as_bytes()).to_vec();
        if !key.accepts(&self.text, &signature) {
            return Err(NoteSignError::WrongKey(key.name.clone()));
        }
        let signature = NoteSignature { name: key.name.clone(), id: key.id, signature };
        if signature.to_line().len() > SIGNATURE_LINE_BYTES_MAX {
            return Err(NoteSignError::NameTooLong);
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// Checks the note against the keys that the reader believes.
    pub fn verify<'a>(&'a self, known: &'a KnownKeys) -> Result<VerifiedNote<'a>, NoteVerifyError> {
        let mut signers: Vec<&VerifierKey> = Vec::new();
        for line in &self.signatures {
            let Some(key) = known.by_name.get(&(line.name.clone(), line.id)) else {
                continue;
            };
            if !key.accepts(&self.text, &line.signature) {
                return Err(NoteVerifyError::BadSignature(line.name.clone()));
            }
            if !signers.contains(&key) {
                signers.push(key);
            }
        }
        if signers.is_empty() {
            return Err(NoteVerifyError::NoKnownSignature);
        }
        Ok(VerifiedNote { text: &self.text, signers })
    }

    /// The text, believed or not.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Adds a line that somebody else has made, once, while there is room.
    pub fn push_line(&mut self, line: NoteSignature) {
        if self.signatures.len() < SIGNATURES_MAX && !self.signatures.contains(&line) {
            self.signatures.push(line);
        }
    }

    /// Adds the lines that another note of the same text has.
    pub fn take_lines(&mut self, other: &Self) {
        if self.text == other.text {
            other.signatures.iter().for_each(|line| self.push_line(line.clone()));
        }
    }

    /// The signature lines, checked or not.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// The note as it is sent and stored.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut whole = format!("{}\n", self.text);
        for signature in &self.signatures {
            whole.push_str(&signature.to_line());
        }
        whole
    }
}

/// Whether `name` can stand in a signature line and in a verifier key.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(|c: char| c == '+' || c.is_whitespace())
        && !has_control_character(name)
}

fn ed25519_key_id(name: &str, public_key: &Hash32) -> KeyId {
    let digest: Hash32 = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', ED25519])
        .chain_update(public_key)
        .finalize()
        .into();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// The format forbids the characters below U+0020 but for newline, and allows all others.
fn has_control_character(text: &str) -> bool {
    text.bytes().any(|byte| byte < b' ' && byte != b'\n')
}

#[cfg(test)]
mod tests;
