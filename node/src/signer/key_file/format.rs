//! The bytes of a key file.
//!
//! ```text
//! header   "FISCKEYS"  version u16 = 1  kdf u8 = 1  iterations u32  salt [32]  nonce [12]  count u32
//!          count × ( purpose u8  has group u8  group u64  name length u8  name  public key [32] )
//! body     ChaCha20-Poly1305 ( count × seed [32] ), its 16-byte tag last; the header is the AAD
//! ```
//!
//! Numbers are little-endian. Kdf 1 is PBKDF2-HMAC-SHA256 of the passphrase. Purpose 1 is a live
//! authority, 2 a sandbox authority, 3 a log. Salt and nonce are new in every writing, so no pair of
//! key and nonce is ever used twice. The header is readable without the passphrase, and protected by
//! the tag of the body.

use std::num::NonZeroU32;
use std::path::Path;

use fiscus_ledger::facts::Environment;
use fiscus_ledger::hash::Hash32;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::pbkdf2;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::{KeyFileError, KeyToStore};
use crate::signer::{HeldKey, KeyPurpose, Passphrase};

/// Most keys in a file.
pub const KEYS_MAX: usize = 4_096;

/// Most bytes of a key's name.
pub const NAME_BYTES_MAX: usize = 32;

const MAGIC: &[u8; 8] = b"FISCKEYS";
const VERSION: u16 = 1;
const KDF_PBKDF2_SHA256: u8 = 1;
/// Opening a file must end: a changed header must not keep a node busy for hours.
const ITERATIONS_MAX: u32 = 10_000_000;
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const SEED_BYTES: usize = 32;

/// How dear each guess of the passphrase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KdfCost {
    /// 600,000 iterations, and no file with fewer is opened.
    Production,
    /// 1,000 iterations, and any file is opened: for tests, whose keys are worth nothing.
    Test,
}

impl KdfCost {
    fn iterations(self) -> u32 {
        match self {
            Self::Production => 600_000,
            Self::Test => 1_000,
        }
    }

    fn least(self) -> u32 {
        match self {
            Self::Production => 600_000,
            Self::Test => 1,
        }
    }
}

/// Why bytes are not taken as a key file; the path is not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Format(&'static str),
    WeakKdf { found: u32, least: u32 },
    WrongPassphrase,
}

impl Refusal {
    pub(super) fn of(self, path: &Path) -> KeyFileError {
        let path = path.to_owned();
        match self {
            Self::Format(reason) => KeyFileError::Format { path, reason },
            Self::WeakKdf { found, least } => KeyFileError::WeakKdf { path, found, least },
            Self::WrongPassphrase => KeyFileError::WrongPassphrase(path),
        }
    }
}

/// Checks the keys and writes header and body.
pub(super) fn seal(
    keys: &[KeyToStore],
    passphrase: &Passphrase,
    cost: KdfCost,
) -> Result<Vec<u8>, KeyFileError> {
    check(keys)?;
    let mut salt = [0; SALT_BYTES];
    let mut nonce = [0; NONCE_BYTES];
    let random = SystemRandom::new();
    random
        .fill(&mut salt)
        .and_then(|()| random.fill(&mut nonce))
        .map_err(|_| KeyFileError::Randomness)?;
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.push(KDF_PBKDF2_SHA256);
    bytes.extend_from_slice(&cost.iterations().to_le_bytes());
    bytes.extend_from_slice(&salt);
    bytes.extend_from_slice(&nonce);
    let count = u32::try_from(keys.len()).expect("check() bounds the number of keys");
    bytes.extend_from_slice(&count.to_le_bytes());
    for key in keys {
        push_held(&mut bytes, &key.held);
    }
    // Room for all from the start: a buffer that grows would leave copies of seeds behind.
    let mut body = Zeroizing::new(Vec::with_capacity(keys.len() * SEED_BYTES + TAG_BYTES));
    for key in keys {
        body.extend_from_slice(&*key.seed());
    }
    aead(passphrase, &salt, cost.iterations())
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(&bytes),
            &mut *body,
        )
        .expect("a body of at most 4,096 seeds is far below the cipher's limit");
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn check(keys: &[KeyToStore]) -> Result<(), KeyFileError> {
    for (index, KeyToStore { held, .. }) in keys.iter().enumerate() {
        let reason = if index >= KEYS_MAX {
            "a file holds at most 4,096 keys"
        } else if !is_name(&held.name) {
            "a name matches [A-Za-z0-9-]{1,32}"
        } else if (held.purpose == KeyPurpose::Authority) != held.environment.is_some() {
            "an authority key has an environment, and a log key has none"
        } else if keys[..index].iter().any(|other| other.held.public_key == held.public_key) {
            "it is in the file already"
        } else {
            continue;
        };
        return Err(KeyFileError::Key { name: held.name.clone(), reason });
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn push_held(bytes: &mut Vec<u8>, held: &HeldKey) {
    bytes.push(match held.environment {
        Some(Environment::Live) => 1,
        Some(Environment::Sandbox) => 2,
        None => 3,
    });
    bytes.push(u8::from(held.group.is_some()));
    bytes.extend_from_slice(&held.group.unwrap_or(0).to_le_bytes());
    bytes.push(u8::try_from(held.name.len()).expect("check() bounds names"));
    bytes.extend_from_slice(held.name.as_bytes());
    bytes.extend_from_slice(&held.public_key);
}

/// Decrypts the seeds and puts them to their keys.
pub(super) fn open(
    bytes: &[u8],
    passphrase: &Passphrase,
    cost: KdfCost,
) -> Result<Vec<KeyToStore>, Refusal> {
    let header = Header::read(bytes)?;
    if header.iterations < cost.least() {
        return Err(Refusal::WeakKdf { found: header.iterations, least: cost.least() });
    }
    let (aad, body) = bytes.split_at(header.size);
    let mut body = Zeroizing::new(body.to_vec());
    let seeds = aead(passphrase, &header.salt, header.iterations)
        .open_in_place(
            Nonce::assume_unique_for_key(header.nonce),
            Aad::from(aad),
            body.as_mut_slice(),
        )
        .map_err(|_| Refusal::WrongPassphrase)?;
    let mut keys = Vec::with_capacity(header.keys.len());
    for (held, seed) in header.keys.into_iter().zip(seeds.chunks_exact(SEED_BYTES)) {
        let seed: Zeroizing<Hash32> =
            Zeroizing::new(seed.try_into().expect("chunks have 32 bytes"));
        let key =
            KeyToStore::from_seed(&held.name, held.purpose, held.environment, held.group, &seed);
        if key.held != held {
            return Err(Refusal::Format("a seed does not make the public key beside it"));
        }
        keys.push(key);
    }
    Ok(keys)
}

/// What the header says that is in the file.
pub(super) fn list(bytes: &[u8]) -> Result<Vec<HeldKey>, Refusal> {
    Header::read(bytes).map(|header| header.keys)
}

fn aead(passphrase: &Passphrase, salt: &[u8; SALT_BYTES], iterations: u32) -> LessSafeKey {
    let iterations = NonZeroU32::new(iterations).expect("no header with 0 iterations is read");
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, passphrase.bytes(), &mut *key);
    let key = UnboundKey::new(&CHACHA20_POLY1305, &*key).expect("the cipher takes 32 bytes");
    LessSafeKey::new(key)
}

struct Header {
    iterations: u32,
    salt: [u8; SALT_BYTES],
    nonce: [u8; NONCE_BYTES],
    keys: Vec<HeldKey>,
    size: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut reader = HeaderReader { rest: bytes };
        if reader.array()? != *MAGIC {
            return Err(Refusal::Format("it does not begin as a key file does"));
        }
        if u16::from_le_bytes(reader.array()?) != VERSION {
            return Err(Refusal::Format("it is of another version"));
        }
        if reader.array()? != [KDF_PBKDF2_SHA256] {
            return Err(Refusal::Format("its passphrase is derived in an unknown way"));
        }
        let iterations = u32::from_le_bytes(reader.array()?);
        if !(1..=ITERATIONS_MAX).contains(&iterations) {
            return Err(Refusal::Format("it names no possible number of iterations"));
        }
        let salt = reader.array()?;
        let nonce = reader.array()?;
        let count = usize::try_from(u32::from_le_bytes(reader.array()?)).unwrap_or(usize::MAX);
        if count > KEYS_MAX {
            return Err(Refusal::Format("it says that it holds more than 4,096 keys"));
        }
        let keys = (0..count).map(|_| reader.held()).collect::<Result<Vec<_>, _>>()?;
        if reader.rest.len() != count * SEED_BYTES + TAG_BYTES {
            return Err(Refusal::Format("its body is shorter or longer than its keys"));
        }
        Ok(Self { iterations, salt, nonce, keys, size: bytes.len() - reader.rest.len() })
    }
}

struct HeaderReader<'a> {
    rest: &'a [u8],
}

impl<'a> HeaderReader<'a> {
    fn take(&mut self, size: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) =
            self.rest.split_at_checked(size).ok_or(Refusal::Format("it is cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], Refusal> {
        self.take(SIZE).map(|taken| taken.try_into().expect("take gives what was asked for"))
    }

    fn held(&mut self) -> Result<HeldKey, Refusal> {
        let (purpose, environment) = match self.array()? {
            [1] => (KeyPurpose::Authority, Some(Environment::Live)),
            [2] => (KeyPurpose::Authority, Some(Environment::Sandbox)),
            [3] => (KeyPurpose::Log, None),
            _ => return Err(Refusal::Format("a key has an unknown purpose")),
        };
        let [has_group] = self.array()?;
        let number = u64::from_le_bytes(self.array()?);
        let group = match (has_group, number) {
            (0, 0) => None,
            (1, group) => Some(group),
            _ => return Err(Refusal::Format("a key has no possible group")),
        };
        let [size] = self.array()?;
        let name = std::str::from_utf8(self.take(usize::from(size))?)
            .ok()
            .filter(|name| is_name(name))
            .ok_or(Refusal::Format("a key has no possible name"))?
            .to_owned();
        Ok(HeldKey { name, purpose, environment, group, public_key: self.array()? })
    }
}
