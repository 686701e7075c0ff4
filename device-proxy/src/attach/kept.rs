//! Invoices that go to a real device, kept until the ledger has them: a device that speaks nothing but the protocol does
//! not tell in its journal what it has sealed, and the ledger takes nothing in that it cannot check.
//!
//! In memory, and in a directory when there is one: then an invoice is on the disk before the device is asked to seal it, and
//! memory has some of them to be quick. Without one memory is all there is, and what the device does not tell is not dropped
//! from it: no more is sealed instead. A file is named after the hash of its bytes, so whoever has an invoice that was sealed without the proxy can put it there.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fiscus_ledger::hash::{Hash32, hex, payload_hash};

/// In memory, at most so many invoices and so many of their bytes.
const HELD_MAX: usize = 1_024;
const HELD_BYTES_MAX: usize = 64 << 20;
/// An invoice has 1 MiB at most.
const INVOICE_BYTES_MAX: u64 = 1 << 20;

/// Invoices by the hashes of their bytes.
#[derive(Debug)]
pub(crate) struct KeptInvoices {
    dir: Option<PathBuf>,
    held: Mutex<VecDeque<(Hash32, Vec<u8>)>>,
}

impl KeptInvoices {
    /// In memory only.
    pub(crate) fn in_memory() -> Self {
        Self { dir: None, held: Mutex::default() }
    }

    /// In a directory, which is made when it is not there, and closed to everybody else: invoices name buyers.
    pub(crate) fn in_dir(dir: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        std::fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
        Ok(Self { dir: Some(dir), held: Mutex::default() })
    }

    /// Whether what is kept survives a restart.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.dir.is_some()
    }

    /// Keeps an invoice: when there is a directory, it survives a power cut when this returns. `told` says that the device
    /// tells its invoices itself, so that older ones may be dropped from memory.
    pub(crate) async fn keep(&self, invoice: &[u8], told: bool) -> io::Result<()> {
        let hash = payload_hash(invoice);
        {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.retain(|(known, _)| *known != hash);
            let bytes: usize = held.iter().map(|(_, invoice)| invoice.len()).sum();
            let mut bytes = bytes + invoice.len();
            while held.len() + 1 > HELD_MAX || bytes > HELD_BYTES_MAX {
                if !told && !self.is_on_disk() {
                    let detail = "memory is full of invoices that the ledger does not have yet; name a directory for \
                                  them (attach.invoices_dir)";
                    return Err(io::Error::new(io::ErrorKind::StorageFull, detail));
                }
                let Some((_, oldest)) = held.pop_front() else { break };
                bytes -= oldest.len();
            }
            held.push_back((hash, invoice.to_vec()));
        }
        let Some(dir) = self.dir.clone() else { return Ok(()) };
        let invoice = invoice.to_vec();
        on_disk(move || write(&dir, &hash, &invoice)).await
    }

    /// The invoice with a hash.
    pub(crate) async fn find(&self, hash: &Hash32) -> Option<Vec<u8>> {
        {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, invoice)) = held.iter().find(|(known, _)| known == hash) {
                return Some(invoice.clone());
            }
        }
        let (path, hash) = (name(self.dir.as_ref()?, hash), *hash);
        let read = on_disk(move || {
            let mut bytes = Vec::new();
            File::open(path)?.take(INVOICE_BYTES_MAX).read_to_end(&mut bytes)?;
            // As an editor leaves it, a file has a line end more.
            let end = bytes.trim_ascii_end().len();
            bytes.truncate(end);
            Ok(bytes)
        });
        read.await.ok().filter(|bytes| payload_hash(bytes) == hash)
    }

    /// The ledger has it, or it was surely not sealed.
    pub(crate) async fn forget(&self, hash: &Hash32) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| known != hash);
        let Some(dir) = &self.dir else { return };
        let path = name(dir, hash);
        if let Err(error) = on_disk(move || std::fs::remove_file(path)).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "an invoice that is not needed any more stays in its directory");
        }
    }
}

fn name(dir: &Path, hash: &Hash32) -> PathBuf {
    dir.join(format!("{}.json", hex(hash)))
}

/// A waiting disk keeps no other task from its work.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn write(dir: &Path, hash: &Hash32, invoice: &[u8]) -> io::Result<()> {
    let (path, next) = (name(dir, hash), dir.join(format!("{}.new", hex(hash))));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(invoice)?;
    file.sync_all()?;
    std::fs::rename(next, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_invoice_is_kept_over_a_restart_until_it_is_not_needed() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("not/there");
        let kept = KeptInvoices::in_dir(dir.clone()).expect("it is made");
        let mode = std::fs::metadata(&dir).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        kept.keep(b"{\"a\":1}", false).await.expect("kept");
        let again = KeptInvoices::in_dir(dir.clone()).expect("it is there");
        let hash = payload_hash(b"{\"a\":1}");
        assert_eq!(again.find(&hash).await.as_deref(), Some(&b"{\"a\":1}"[..]));
        again.forget(&hash).await;
        assert_eq!(again.find(&hash).await, None);
        again.forget(&hash).await;
        // What a person puts there, with its line end; other bytes under its name are none.
        std::fs::write(name(&dir, &hash), "{\"a\":1}\n").expect("written");
        assert!(again.find(&hash).await.is_some());
        std::fs::write(name(&dir, &hash), "{\"a\":2}").expect("written");
        assert_eq!(again.find(&hash).await, None);
    }

    #[tokio::test]
    async fn memory_has_a_bound_and_drops_only_what_the_device_tells() {
        let kept = KeptInvoices::in_memory();
        for at in 0..HELD_MAX {
            kept.keep(at.to_string().as_bytes(), false).await.expect("kept");
        }
        let full = kept.keep(b"more", false).await.expect_err("there is no room");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        kept.keep(b"0", false).await.expect("it is there already");
        kept.keep(b"more", true).await.expect("the device tells them all");
        assert_eq!(kept.find(&payload_hash(b"1")).await, None, "the oldest one");
        assert!(kept.find(&payload_hash(b"2")).await.is_some());
        kept.forget(&payload_hash(b"2")).await;
        kept.keep(b"again", false).await.expect("there is room again");
    }
}
