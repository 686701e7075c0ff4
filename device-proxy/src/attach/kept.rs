//! Invoices that go to a real device, kept until the ledger has them: a device that speaks nothing but the protocol does
//! not tell in its journal what it has sealed, and the ledger takes nothing in that it cannot check.
//!
//! In memory, and in a directory when there is one: then an invoice is on the disk before the device is asked to seal it. A
//! file is named after the hash of its bytes, so whoever has an invoice that was sealed without the proxy can put it there.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
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
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, held: Mutex::default() }
    }

    /// Keeps an invoice: when there is a directory, it survives a power cut when this returns.
    pub(crate) async fn keep(&self, invoice: &[u8]) -> io::Result<()> {
        let hash = payload_hash(invoice);
        {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.retain(|(known, _)| *known != hash);
            held.push_back((hash, invoice.to_vec()));
            let mut bytes: usize = held.iter().map(|(_, invoice)| invoice.len()).sum();
            while held.len() > HELD_MAX || bytes > HELD_BYTES_MAX {
                let Some((_, oldest)) = held.pop_front() else { break };
                bytes -= oldest.len();
            }
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
        let kept = KeptInvoices::new(Some(dir.path().to_owned()));
        kept.keep(b"{\"a\":1}").await.expect("kept");
        let again = KeptInvoices::new(Some(dir.path().to_owned()));
        let hash = payload_hash(b"{\"a\":1}");
        assert_eq!(again.find(&hash).await.as_deref(), Some(&b"{\"a\":1}"[..]));
        again.forget(&hash).await;
        assert_eq!(again.find(&hash).await, None);
        again.forget(&hash).await;
        // What a person puts there, with its line end; other bytes under its name are none.
        std::fs::write(name(dir.path(), &hash), "{\"a\":1}\n").expect("written");
        assert!(again.find(&hash).await.is_some());
        std::fs::write(name(dir.path(), &hash), "{\"a\":2}").expect("written");
        assert_eq!(again.find(&hash).await, None);
    }

    #[tokio::test]
    async fn memory_has_a_bound() {
        let kept = KeptInvoices::new(None);
        for at in 0..HELD_MAX + 5 {
            kept.keep(at.to_string().as_bytes()).await.expect("kept");
        }
        assert_eq!(kept.find(&payload_hash(b"4")).await, None);
        assert!(kept.find(&payload_hash(b"5")).await.is_some());
    }
}
