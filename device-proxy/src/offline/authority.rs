//! The tax authority's key as the directory told it last, for a signed time that comes while the cluster is away. The
//! ledger's is the one that counts: whatever it tells takes the place of this.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ed25519_dalek::VerifyingKey;
use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::commands::read_tax_authority_key;

use super::disk::{NO_FOLLOW, is_private};

const NAME: &str = "tax-authority-key";
const NEXT: &str = "tax-authority-key.new";
/// A key in base64 and its quotes take 46 bytes.
const BYTES_MAX: u64 = 64;

/// The key, in memory and in a till's directory.
#[derive(Debug)]
pub(crate) struct AuthorityKey {
    dir: PathBuf,
    known: Mutex<Option<VerifyingKey>>,
}

impl AuthorityKey {
    /// Reads what was kept. What is not there, or cannot be read, is heard again.
    pub(crate) fn open(dir: PathBuf) -> Self {
        let known = match read(&dir) {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(%error, file = NAME, "the tax authority's key is not known until it is heard");
                None
            }
        };
        Self { dir, known: Mutex::new(known) }
    }

    pub(crate) fn get(&self) -> Option<VerifyingKey> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the directory tells. Waits for the disk when it is another one.
    pub(crate) fn hear(&self, key: VerifyingKey) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == Some(key) {
            return;
        }
        *known = Some(key);
        if let Err(error) = write(&self.dir, &key) {
            tracing::warn!(%error, file = NAME, "the tax authority's key is forgotten with this process");
        }
    }
}

fn read(dir: &Path) -> io::Result<Option<VerifyingKey>> {
    let mut options = OpenOptions::new();
    let file = match options.read(true).custom_flags(NO_FOLLOW).open(dir.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    is_private(&file, NAME)?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    let no_key = || io::Error::new(io::ErrorKind::InvalidData, "it is no key");
    read_tax_authority_key(&bytes).ok_or_else(no_key).map(Some)
}

fn write(dir: &Path, key: &VerifyingKey) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(NO_FOLLOW);
    let mut file = options.open(dir.join(NEXT))?;
    is_private(&file, NEXT)?;
    write!(file, "\"{}\"", encode_standard(key.as_bytes()))?;
    file.sync_all()?;
    std::fs::rename(dir.join(NEXT), dir.join(NAME))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    #[test]
    fn the_key_outlives_the_process_and_what_is_none_is_heard_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path().to_owned();
        let key = |byte| SigningKey::from_bytes(&[byte; 32]).verifying_key();
        let kept = AuthorityKey::open(at.clone());
        assert_eq!(kept.get(), None);
        kept.hear(key(1));
        assert_eq!(AuthorityKey::open(at.clone()).get(), Some(key(1)));
        kept.hear(key(2));
        assert_eq!(AuthorityKey::open(at.clone()).get(), Some(key(2)), "the later one counts");
        for wrong in [&b"\"AAAA\""[..], b"", &[b'x'; 100]] {
            std::fs::write(at.join(NAME), wrong).expect("written");
            assert_eq!(AuthorityKey::open(at.clone()).get(), None);
        }
        kept.hear(key(1));
        assert_eq!(AuthorityKey::open(at).get(), Some(key(1)));
    }
}
