//! The files that a day leaves: what a cluster would hand out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fiscus_ledger::facts::Environment;
use fiscus_ledger::keys::{AuthorityKey, KeySet, KeyStatus};
use fiscus_ledger::reports::AuditChunk;

use crate::day::{Day, Receipt};

/// Where everything is.
pub(crate) struct Files {
    dir: PathBuf,
}

impl Files {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn receipt(&self, receipt: &Receipt) -> PathBuf {
        self.path("receipts").join(format!("{}.txt", receipt.number))
    }

    pub(crate) fn write(&self, day: &Day) -> Result<()> {
        let receipts = self.path("receipts");
        fs::create_dir(&receipts).with_context(|| receipts.display().to_string())?;
        for receipt in &day.receipts {
            write(&self.receipt(receipt), &format!("{}\n", receipt.url))?;
        }
        write(&self.path("fiscal-keys.json"), &keys(day)?)?;
        write(&self.path("journal.jsonl"), &journal(day)?)?;
        write(&self.path("z.json"), &format!("{}\n", day.closure))?;
        write(&self.path("checkpoint.txt"), &day.checkpoint.0)?;
        write(&self.path("log-key.txt"), &format!("{}\n", day.log_key))?;
        // Canonical bytes end where the invoice ends: a line end would not be canonical.
        write(&self.path("invoice.json"), &day.invoice)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}

fn keys(day: &Day) -> Result<String> {
    let (id, key, valid_from) = day.authority()?;
    let listed = AuthorityKey {
        id: id.to_owned(),
        public_key: key.verifying_key(),
        valid_from,
        valid_until: None,
        status: KeyStatus::Active,
        environment: Environment::Live,
    };
    Ok(KeySet::new([listed])?.to_json())
}

/// One record a line, each as an audit chunk of its own with its inclusion proof; the last line
/// carries the checkpoint that all proofs lead to.
fn journal(day: &Day) -> Result<String> {
    let records = day.group.records()?;
    let (note, size) = &day.checkpoint;
    let mut lines = String::new();
    for (index, (record, signature)) in records.iter().enumerate() {
        let mut chunk = AuditChunk::new(u64::try_from(index)?);
        chunk.push(record, signature, &day.group.prove(*size, record.leaf_index)?)?;
        let last = index + 1 == records.len();
        lines.push_str(&chunk.finish(last.then_some(note)));
        lines.push('\n');
    }
    Ok(lines)
}
