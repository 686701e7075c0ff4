//! The till's private key on the disk, encrypted.
//!
//! ```text
//! "FISCTILL"  version u16 = 1  iterations u32  salt [32]  nonce [12]  public key [32]
//! ChaCha20-Poly1305 ( seed [32] ) with its 16-byte tag; everything before it is the AAD
//! ```
//!
//! Numbers are little-endian; the cipher's key is PBKDF2-HMAC-SHA256 of the passphrase. Salt and nonce are new in every
//! writing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::pbkdf2;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::disk::is_private;

const MAGIC: &[u8; 8] = b"FISCTILL";
const VERSION: u16 = 1;
/// What a guess of the passphrase costs.
const ITERATIONS: u32 = 600_000;
/// A changed header must not keep the proxy busy for hours.
const ITERATIONS_MAX: u32 = 10_000_000;
const SALT_AT: usize = 14;
const NONCE_AT: usize = SALT_AT + 32;
const PUBLIC_AT: usize = NONCE_AT + 12;
const BODY_AT: usize = PUBLIC_AT + 32;
const FILE_BYTES: usize = BODY_AT + 32 + 16;
const PASSPHRASE_BYTES: std::ops::RangeInclusive<usize> = 16..=1_024;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A file cannot be read or written.
    #[error("{path} cannot be {what}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Others can read the passphrase.
    #[error("{0} can be read by others; make it 0600 or 0400, owned by whoever runs the proxy")]
    Open(PathBuf),
    /// It is no passphrase.
    #[error(
        "{0} must hold a passphrase of 16 to 1,024 bytes, such as `openssl rand -hex 32` makes"
    )]
    Passphrase(PathBuf),
    /// It is no key file.
    #[error("{0} is no key file of a till, or is damaged")]
    Format(PathBuf),
    /// It was written under another passphrase, or changed.
    #[error("{0} does not open with this passphrase")]
    WrongPassphrase(PathBuf),
    /// The system has no randomness.
    #[error("the system has no randomness for a new key")]
    Randomness,
}

fn at(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> KeyFileError {
    move |source| KeyFileError::File { path: path.to_owned(), what, source }
}

/// Reads a passphrase: a file that only its owner can read, without the line's end.
pub(crate) fn passphrase(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let mut file = File::open(path).map_err(at(path, "opened"))?;
    let known = file.metadata().map_err(at(path, "looked at"))?;
    if known.mode() & 0o077 != 0 {
        return Err(KeyFileError::Open(path.to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(1_026));
    Read::by_ref(&mut file).take(1_026).read_to_end(&mut bytes).map_err(at(path, "read"))?;
    while bytes.last().is_some_and(u8::is_ascii_whitespace) {
        bytes.pop();
    }
    if PASSPHRASE_BYTES.contains(&bytes.len()) {
        Ok(bytes)
    } else {
        Err(KeyFileError::Passphrase(path.to_owned()))
    }
}

/// Opens the key in a directory, or makes one: it is on the disk when this returns.
pub(crate) fn open_or_make(dir: &Path, passphrase: &[u8]) -> Result<SigningKey, KeyFileError> {
    let path = dir.join("key");
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return make(dir, &path, passphrase);
        }
        Err(error) => return Err(at(&path, "read")(error)),
    };
    is_private(&file, "the till's key").map_err(at(&path, "used"))?;
    // One byte more than a key has shows that it is none.
    let mut bytes = Vec::with_capacity(FILE_BYTES + 1);
    let most = u64::try_from(FILE_BYTES + 1).expect("a key file is small");
    Read::by_ref(&mut file).take(most).read_to_end(&mut bytes).map_err(at(&path, "read"))?;
    open(&bytes, passphrase, &path)
}

fn make(dir: &Path, path: &Path, passphrase: &[u8]) -> Result<SigningKey, KeyFileError> {
    let random = SystemRandom::new();
    let mut seed = Zeroizing::new([0; 32]);
    let (mut salt, mut nonce) = ([0; 32], [0; 12]);
    random
        .fill(&mut *seed)
        .and_then(|()| random.fill(&mut salt))
        .and_then(|()| random.fill(&mut nonce))
        .map_err(|_| KeyFileError::Randomness)?;
    let key = SigningKey::from_bytes(&seed);
    let bytes = seal(&key, passphrase, salt, nonce);
    let next = dir.join("key.new");
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&next);
    let written = opened.and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()
    });
    written.map_err(at(&next, "written"))?;
    let named = std::fs::rename(&next, path).and_then(|()| File::open(dir)?.sync_all());
    named.map_err(at(path, "written"))?;
    Ok(key)
}

fn seal(key: &SigningKey, passphrase: &[u8], salt: [u8; 32], nonce: [u8; 12]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FILE_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&ITERATIONS.to_le_bytes());
    bytes.extend_from_slice(&salt);
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(key.verifying_key().as_bytes());
    // Room for the tag from the start: a buffer that grows would leave a copy of the seed behind.
    let mut body = Zeroizing::new(Vec::with_capacity(48));
    body.extend_from_slice(key.as_bytes());
    let nonce = Nonce::assume_unique_for_key(nonce);
    cipher(passphrase, &salt, ITERATIONS)
        .seal_in_place_append_tag(nonce, Aad::from(&bytes), &mut *body)
        .expect("32 bytes are far below the cipher's limit");
    bytes.extend_from_slice(&body);
    bytes
}

/// A key file that was taken apart and not opened yet.
struct Parts<'a> {
    iterations: u32,
    salt: &'a [u8; 32],
    nonce: [u8; 12],
    /// Everything before the cipher's text.
    aad: &'a [u8],
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let version = bytes.get(8..10)?;
        if bytes.len() != FILE_BYTES
            || !bytes.starts_with(MAGIC)
            || version != VERSION.to_le_bytes()
        {
            return None;
        }
        let iterations = u32::from_le_bytes(*bytes[10..].first_chunk()?);
        let (aad, body) = bytes.split_at(BODY_AT);
        let cost_is_bearable = (ITERATIONS..=ITERATIONS_MAX).contains(&iterations);
        cost_is_bearable.then_some(Self {
            iterations,
            salt: bytes[SALT_AT..].first_chunk()?,
            nonce: *bytes[NONCE_AT..].first_chunk()?,
            aad,
            body,
        })
    }
}

/// Whether these bytes have the form of a key file; what it costs to open one is bounded by that.
#[must_use]
pub fn is_key_file(bytes: &[u8]) -> bool {
    Parts::of(bytes).is_some()
}

fn open(bytes: &[u8], passphrase: &[u8], path: &Path) -> Result<SigningKey, KeyFileError> {
    let format = || KeyFileError::Format(path.to_owned());
    let parts = Parts::of(bytes).ok_or_else(format)?;
    let mut body = Zeroizing::new(parts.body.to_vec());
    let opened = cipher(passphrase, parts.salt, parts.iterations).open_in_place(
        Nonce::assume_unique_for_key(parts.nonce),
        Aad::from(parts.aad),
        body.as_mut_slice(),
    );
    let opened = opened.map_err(|_| KeyFileError::WrongPassphrase(path.to_owned()))?;
    let key = SigningKey::from_bytes(opened.first_chunk().ok_or_else(format)?);
    if key.verifying_key().as_bytes()[..] == parts.aad[PUBLIC_AT..] {
        Ok(key)
    } else {
        Err(format())
    }
}

fn cipher(passphrase: &[u8], salt: &[u8; 32], iterations: u32) -> LessSafeKey {
    let iterations = NonZeroU32::new(iterations).expect("no header with 0 iterations is read");
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, passphrase, &mut *key);
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &*key).expect("the cipher takes 32 bytes"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_opens_with_its_passphrase_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = open_or_make(dir.path(), b"correct horse battery").expect("a key");
        let read = open_or_make(dir.path(), b"correct horse battery").expect("the key");
        assert_eq!(made.as_bytes(), read.as_bytes());
        let path = dir.path().join("key");
        assert_eq!(std::fs::metadata(&path).expect("a file").mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("a mode");
        let read = open_or_make(dir.path(), b"correct horse battery");
        assert!(matches!(read, Err(KeyFileError::File { what: "used", .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        let other = open_or_make(dir.path(), b"another passphrase");
        assert!(matches!(other, Err(KeyFileError::WrongPassphrase(_))));
        let whole = std::fs::read(&path).expect("bytes");
        assert!(!whole.windows(32).any(|window| window == made.as_bytes()));
        // One changed byte of each part.
        for at in [0, 8, SALT_AT, NONCE_AT, PUBLIC_AT, BODY_AT, FILE_BYTES - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert!(open(&bytes, b"correct horse battery", &path).is_err(), "{at}");
        }
        assert!(open(&whole[..FILE_BYTES - 1], b"correct horse battery", &path).is_err());
        assert!(is_key_file(&whole) && !is_key_file(&[whole.as_slice(), b"\n"].concat()));
    }

    #[test]
    fn a_passphrase_that_others_read_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("passphrase");
        std::fs::write(&path, "correct horse battery\n").expect("it is written");
        let mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        };
        mode(0o640);
        assert!(matches!(passphrase(&path), Err(KeyFileError::Open(_))));
        mode(0o400);
        assert_eq!(&**passphrase(&path).expect("it reads"), b"correct horse battery");
        mode(0o600);
        std::fs::write(&path, "short\n").expect("it is written");
        assert!(matches!(passphrase(&path), Err(KeyFileError::Passphrase(_))));
    }
}
