//! Certificates and keys in files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use zeroize::Zeroizing;

use crate::pki::Issued;

const BYTES_MAX: u64 = 1 << 20;

/// A certificate and its key in a folder, as `NAME.pem` and `NAME.key`.
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        Self { cert: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) }
    }

    /// The file of the two that is there already.
    pub(crate) fn existing(&self) -> Option<&Path> {
        [&self.cert, &self.key].into_iter().find(|path| path.exists()).map(PathBuf::as_path)
    }

    pub(crate) fn read(&self) -> Result<Issued> {
        let key = open(&self.key)?;
        let mode = key.metadata().with_context(|| shown(&self.key))?.permissions().mode() & 0o777;
        ensure!(
            mode & 0o077 == 0,
            "{} can be read by others (mode {mode:o}); run `chmod 600` on it, and make a new CA if \
             anybody may have copied it",
            self.key.display()
        );
        let key_pem = Zeroizing::new(read_bounded(key).with_context(|| shown(&self.key))?);
        Ok(Issued { cert_pem: read_text(&self.cert)?, key_pem })
    }

    /// Writes both files in place of any that are there.
    pub(crate) fn write(&self, issued: &Issued) -> Result<()> {
        if let Some(folder) = self.cert.parent() {
            fs::create_dir_all(folder).with_context(|| shown(folder))?;
        }
        replace(&self.key, issued.key_pem.as_bytes(), 0o600)?;
        replace(&self.cert, issued.cert_pem.as_bytes(), 0o644)
    }
}

pub(super) fn read_text(path: &Path) -> Result<String> {
    read_bounded(open(path)?).with_context(|| shown(path))
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| shown(path))
}

fn read_bounded(file: File) -> io::Result<String> {
    // A key is far smaller than this, so its text is never moved while it grows.
    let mut text = String::with_capacity(16 * 1024);
    file.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| shown(path));
        }
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .with_context(|| shown(path))
}
