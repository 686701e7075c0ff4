//! Where a passphrase or a PIN comes from.
//!
//! Invariants: a secret is wiped from memory when it is dropped, and never printed; a file that others
//! can read is refused.

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Fewest bytes of a passphrase that protects a new key file.
pub const PASSPHRASE_BYTES_MIN: usize = 12;

/// Most bytes of a passphrase or a PIN.
pub const PASSPHRASE_BYTES_MAX: usize = 1024;

/// Where to read a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassphraseSource {
    /// A file; one line end after the secret is dropped.
    File(PathBuf),
    /// An environment variable, by name.
    Environment(String),
}

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// The file cannot be read.
    #[error("the passphrase file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// Where it should be.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Others on the machine can read the file.
    #[error(
        "the passphrase file {} can be read by others (mode {mode:o}); run `chmod 600` on it, and \
         change the passphrase if anybody may have read it",
        path.display()
    )]
    Exposed {
        /// Where it is.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The variable is not set.
    #[error("the environment variable {0} with the passphrase is not set, or is not UTF-8")]
    NotSet(String),
    /// There is a secret, but an empty or an endless one.
    #[error("the passphrase from {from} must have 1 to {PASSPHRASE_BYTES_MAX} bytes")]
    Size {
        /// The file or the variable.
        from: String,
    },
}

/// A secret in memory.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passphrase(secret)")
    }
}

impl Passphrase {
    /// A secret that is in memory already.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(Zeroizing::new(secret.to_vec()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PassphraseSource {
    /// Reads the secret.
    pub fn read(&self) -> Result<Passphrase, PassphraseError> {
        let (mut secret, from) = match self {
            Self::File(path) => (read_file(path)?, path.display().to_string()),
            Self::Environment(name) => {
                let text = env::var(name).map_err(|_| PassphraseError::NotSet(name.clone()))?;
                (Zeroizing::new(text.into_bytes()), name.clone())
            }
        };
        if secret.last() == Some(&b'\n') {
            secret.pop();
            if secret.last() == Some(&b'\r') {
                secret.pop();
            }
        }
        if !(1..=PASSPHRASE_BYTES_MAX).contains(&secret.len()) {
            return Err(PassphraseError::Size { from });
        }
        Ok(Passphrase(secret))
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, PassphraseError> {
    let unreadable = |source| PassphraseError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(PassphraseError::Exposed { path: path.to_owned(), mode });
    }
    // Room for everything from the start: a buffer that grows would leave copies behind. A line end
    // and one byte more are read, so that a longer secret shows.
    let mut secret = Zeroizing::new(Vec::with_capacity(PASSPHRASE_BYTES_MAX + 64));
    let limit = u64::try_from(PASSPHRASE_BYTES_MAX + 3).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut secret).map_err(unreadable)?;
    Ok(secret)
}
