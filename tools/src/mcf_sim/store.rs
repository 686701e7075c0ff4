//! What the control module holds: a file with a line for each invoice that it took, synced before it is answered.
//! A line that a crash cut off was never answered, and is cut away.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// An invoice that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) id: String,
    pub(crate) outlet_id: String,
    pub(crate) fiscal_number: String,
    pub(crate) position: u64,
    pub(crate) record_hash: String,
}

/// Everything that was taken, and what comes of it.
#[derive(Debug)]
pub(crate) struct Store {
    file: File,
    hashes: HashMap<String, String>,
    /// By outlet, in the order of arrival.
    outlets: BTreeMap<String, Vec<Held>>,
}

impl Store {
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let path = dir.join("held.jsonl");
        let named = || path.display().to_string();
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(&path).with_context(named)?;
        let mut store = Self { file, hashes: HashMap::new(), outlets: BTreeMap::new() };
        let mut from = BufReader::new(File::open(&path).with_context(named)?);
        let (mut whole, mut line) = (0_u64, Vec::new());
        loop {
            line.clear();
            let read = from.read_until(b'\n', &mut line).with_context(named)?;
            if read == 0 || line.last() != Some(&b'\n') {
                break;
            }
            let held = serde_json::from_slice(&line);
            store.note(held.with_context(|| format!("{} at byte {whole}", path.display()))?)?;
            whole += read as u64;
        }
        store.file.set_len(whole).with_context(named)?;
        store.file.sync_all().with_context(named)?;
        File::open(dir).and_then(|dir| dir.sync_all()).with_context(named)?;
        Ok(store)
    }

    fn note(&mut self, held: Held) -> Result<()> {
        if self.hashes.insert(held.id.clone(), held.record_hash.clone()).is_some() {
            bail!("invoice {} stands there twice", held.id);
        }
        self.outlets.entry(held.outlet_id.clone()).or_default().push(held);
        Ok(())
    }

    /// The hash of an invoice that is held.
    pub(crate) fn hash_of(&self, id: &str) -> Option<&str> {
        self.hashes.get(id).map(String::as_str)
    }

    /// Takes invoices that are not held; when this returns they are on the disk.
    pub(crate) fn take(&mut self, new: Vec<Held>) -> Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for held in &new {
            serde_json::to_writer(&mut lines, held).context("an invoice")?;
            lines.push(b'\n');
        }
        self.file.seek(SeekFrom::End(0)).context("the file")?;
        self.file.write_all(&lines).context("writing what was taken")?;
        self.file.sync_data().context("syncing what was taken")?;
        new.into_iter().try_for_each(|held| self.note(held))
    }

    pub(crate) fn outlets(&self) -> &BTreeMap<String, Vec<Held>> {
        &self.outlets
    }

    pub(crate) fn count(&self) -> usize {
        self.hashes.len()
    }
}
