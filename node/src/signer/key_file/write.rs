//! Putting a key file in place: whole or not at all, and never readable by others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fiscus_ledger::hash::hex;
use ring::rand::{SecureRandom, SystemRandom};

use super::KeyFileError;

/// Writes a file that must not be there yet.
pub(super) fn new_file(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let draft = Draft::write(path, bytes)?;
    // A link, unlike a rename, never replaces what is there.
    match fs::hard_link(&draft.path, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(KeyFileError::Exists(path.to_owned()))
        }
        linked => linked.and_then(|()| sync_folder(path)).map_err(failed(path)),
    }
}

/// Writes a file in the place of the one that is there.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let draft = Draft::write(path, bytes)?;
    fs::rename(&draft.path, path).and_then(|()| sync_folder(path)).map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> KeyFileError {
    move |source| KeyFileError::Io { what: "writing", path: path.to_owned(), source }
}

/// A written file under a passing name, which goes when this does.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn write(target: &Path, bytes: &[u8]) -> Result<Self, KeyFileError> {
        let mut suffix = [0; 8];
        SystemRandom::new().fill(&mut suffix).map_err(|_| KeyFileError::Randomness)?;
        let path = folder(target).join(format!(".keys-{}.new", hex(&suffix)));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed(&path))?;
        let draft = Self { path };
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed(&draft.path))?;
        Ok(draft)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a rename nothing is there any more; a draft that cannot be removed is only untidy, it
        // is as well protected as the file.
        let _ = fs::remove_file(&self.path);
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Makes the name last through a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}
