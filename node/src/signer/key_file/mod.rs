//! The encrypted file with a node's private keys.
//!
//! Invariants: a file is written whole under another name and then put in place, with mode 0600; one
//! that others can read is refused; a private key is in memory only inside of a type that wipes it, and
//! every stored seed makes the public key that the file lists beside it.
//!
//! Non-goals: two processes that add keys to one file at once (one of the two additions is lost), and
//! forgetting a key: old keys stay, because what they signed may have to be signed again.

mod format;
mod write;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey};
use fiscus_ledger::facts::Environment;
use fiscus_ledger::hash::Hash32;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::{
    HeldKey, KeyPurpose, PASSPHRASE_BYTES_MIN, Passphrase, SignError, Signable, Signer, message,
};
pub use format::{KEYS_MAX, KdfCost, NAME_BYTES_MAX};

/// Most bytes of a key file.
pub const KEY_FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a key file cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is a file already: its keys could never be had again.
    #[error("{} exists; a key file is never overwritten, name another", .0.display())]
    Exists(PathBuf),
    /// The file cannot be read or written.
    #[error("{what} the key file {}: {source}", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Others on the machine can read the file.
    #[error(
        "the key file {} can be read by others (mode {mode:o}); run `chmod 600` on it, and rotate \
         its keys if anybody may have copied it",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not one that this program writes.
    #[error("{} is no key file that this program can read: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The protection of the passphrase is weaker than what is accepted.
    #[error(
        "the key file {} derives its key with {found} iterations, and fewer than {least} are not \
         accepted",
        path.display()
    )]
    WeakKdf {
        /// The file.
        path: PathBuf,
        /// What the file says.
        found: u32,
        /// What is accepted.
        least: u32,
    },
    /// A wrong passphrase and a changed byte cannot be told apart.
    #[error("the key file {} does not open: the passphrase is wrong, or the file was changed", .0.display())]
    WrongPassphrase(PathBuf),
    /// The passphrase of a new file can be guessed.
    #[error("a passphrase has at least {PASSPHRASE_BYTES_MIN} bytes")]
    ShortPassphrase,
    /// A key that cannot be stored.
    #[error("the key {name} cannot be stored: {reason}")]
    Key {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness")]
    Randomness,
}

/// A private key on its way into a file, with what may be known of it.
pub struct KeyToStore {
    pub(super) held: HeldKey,
    key: SigningKey,
}

impl fmt::Debug for KeyToStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeyToStore").field("held", &self.held).finish_non_exhaustive()
    }
}

impl KeyToStore {
    /// A new authority key.
    pub fn generate_authority(
        name: &str,
        environment: Environment,
        group: Option<u64>,
    ) -> Result<Self, KeyFileError> {
        let seed = random_seed()?;
        Ok(Self::from_seed(name, KeyPurpose::Authority, Some(environment), group, &seed))
    }

    /// A new log key.
    pub fn generate_log(name: &str, group: Option<u64>) -> Result<Self, KeyFileError> {
        let seed = random_seed()?;
        Ok(Self::from_seed(name, KeyPurpose::Log, None, group, &seed))
    }

    /// The key that a seed makes.
    #[must_use]
    pub fn from_seed(
        name: &str,
        purpose: KeyPurpose,
        environment: Option<Environment>,
        group: Option<u64>,
        seed: &Hash32,
    ) -> Self {
        let key = SigningKey::from_bytes(seed);
        let public_key = key.verifying_key().to_bytes();
        let name = name.to_owned();
        Self { held: HeldKey { name, purpose, environment, group, public_key }, key }
    }

    /// What may be known of the key.
    #[must_use]
    pub fn held(&self) -> &HeldKey {
        &self.held
    }

    fn seed(&self) -> Zeroizing<Hash32> {
        Zeroizing::new(self.key.to_bytes())
    }
}

fn random_seed() -> Result<Zeroizing<Hash32>, KeyFileError> {
    let mut seed = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *seed).map_err(|_| KeyFileError::Randomness)?;
    Ok(seed)
}

/// An opened key file: the default signer.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    cost: KdfCost,
    keys: Vec<KeyToStore>,
}

impl KeyFile {
    /// Makes a new file. A file that is there is left alone.
    pub fn create(
        path: &Path,
        passphrase: &Passphrase,
        keys: Vec<KeyToStore>,
    ) -> Result<Self, KeyFileError> {
        Self::create_at_cost(path, passphrase, keys, KdfCost::Production)
    }

    /// As [`Self::create`], at another cost of guessing the passphrase.
    pub fn create_at_cost(
        path: &Path,
        passphrase: &Passphrase,
        keys: Vec<KeyToStore>,
        cost: KdfCost,
    ) -> Result<Self, KeyFileError> {
        if passphrase.bytes().len() < PASSPHRASE_BYTES_MIN {
            return Err(KeyFileError::ShortPassphrase);
        }
        let bytes = format::seal(&keys, passphrase, cost)?;
        write::new_file(path, &bytes)?;
        Ok(Self { path: path.to_owned(), cost, keys })
    }

    /// Opens a file.
    pub fn open(path: &Path, passphrase: &Passphrase) -> Result<Self, KeyFileError> {
        Self::open_at_cost(path, passphrase, KdfCost::Production)
    }

    /// As [`Self::open`], for a file made at another cost.
    pub fn open_at_cost(
        path: &Path,
        passphrase: &Passphrase,
        cost: KdfCost,
    ) -> Result<Self, KeyFileError> {
        let bytes = read(path)?;
        let keys = format::open(&bytes, passphrase, cost).map_err(|refusal| refusal.of(path))?;
        Ok(Self { path: path.to_owned(), cost, keys })
    }

    /// Adds keys to the file, which must still open with this passphrase, and keeps those in it.
    pub fn add(
        &mut self,
        passphrase: &Passphrase,
        keys: Vec<KeyToStore>,
    ) -> Result<(), KeyFileError> {
        let mut all = Self::open_at_cost(&self.path, passphrase, self.cost)?.keys;
        all.extend(keys);
        let bytes = format::seal(&all, passphrase, self.cost)?;
        write::replace(&self.path, &bytes)?;
        self.keys = all;
        Ok(())
    }

    /// Makes another file with the same authorities and one new log key for each group that has one, for
    /// a cluster that is made of a backup: its logs are others than those of the cluster before.
    pub fn renew_log(&self, path: &Path, passphrase: &Passphrase) -> Result<Self, KeyFileError> {
        let mut keys: Vec<KeyToStore> = Vec::new();
        for known in &self.keys {
            let held = &known.held;
            let renewed = |key: &KeyToStore| {
                key.held.purpose == KeyPurpose::Log && key.held.group == held.group
            };
            match held.purpose {
                KeyPurpose::Authority => {
                    keys.push(KeyToStore { held: held.clone(), key: known.key.clone() });
                }
                // A group's earlier log keys have no part in the new cluster.
                KeyPurpose::Log if keys.iter().any(renewed) => {}
                KeyPurpose::Log => keys.push(KeyToStore::generate_log(&held.name, held.group)?),
            }
        }
        Self::create_at_cost(path, passphrase, keys, self.cost)
    }

    /// What a file says that it holds. Nothing secret is needed, so nothing proves it either: only
    /// opening the file does.
    pub fn list(path: &Path) -> Result<Vec<HeldKey>, KeyFileError> {
        let bytes = read(path)?;
        format::list(&bytes).map_err(|refusal| refusal.of(path))
    }

    fn key(&self, public_key: &Hash32) -> Result<&KeyToStore, SignError> {
        self.keys
            .iter()
            .find(|key| key.held.public_key == *public_key)
            .ok_or(SignError::UnknownKey { public_key: *public_key })
    }
}

impl Signer for KeyFile {
    fn keys(&self) -> Vec<HeldKey> {
        self.keys.iter().map(|key| key.held.clone()).collect()
    }

    fn sign(&self, public_key: &Hash32, what: &Signable<'_>) -> Result<[u8; 64], SignError> {
        let key = self.key(public_key)?;
        let message = message(&key.held, what)?;
        Ok(key.key.sign(message.bytes()).to_bytes())
    }

    /// Looks the key up once and makes room once; the rest is the curve.
    fn sign_many(
        &self,
        public_key: &Hash32,
        entry_hashes: &[Hash32],
    ) -> Result<Vec<[u8; 64]>, SignError> {
        let key = self.key(public_key)?;
        let mut signatures = Vec::with_capacity(entry_hashes.len());
        for hash in entry_hashes {
            let message = message(&key.held, &Signable::EntryHash(*hash))?;
            signatures.push(key.key.sign(message.bytes()).to_bytes());
        }
        Ok(signatures)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeyFileError> {
    let failed = |source| KeyFileError::Io { what: "reading", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    // One byte more than allowed, so that a longer file shows.
    let mut bytes = Vec::new();
    file.take(KEY_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|size| size > KEY_FILE_BYTES_MAX) {
        let reason = "it is larger than 1 MiB";
        return Err(KeyFileError::Format { path: path.to_owned(), reason });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
