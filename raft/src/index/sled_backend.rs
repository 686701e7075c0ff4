//! The index over sled.
//!
//! sled cannot say after a crash which of the last writes it kept, so a marker file says that the database was
//! closed: it is removed, durably, before the database is opened and written after it was closed. Without it
//! opening answers [`IndexError::Unclean`] and the owner rebuilds.
//!
//! sled has no snapshots. A view is the present state and an undo list: a writer first notes, for every
//! live view, the old values of the keys it is about to change. So a view costs memory in proportion to
//! what is written while it lives.
//!
//! Invariant: a view never shows a write that came after it. Non-goals: the simulated disk (sled does its own
//! IO; only the marker goes through [`Disk`]), bounded memory, ten million rows.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::{Bound, ControlFlow};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::batch::Batch;
use super::{Durability, Index, IndexError, IndexStats, Row, RowVisitor, View, key_after, row};
use crate::disk::{Disk, OpenHow};

/// A scan holds writers up for at most this many rows at a time.
const SCAN_ROWS: usize = 256;

/// How sled is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SledOptions {
    /// Memory for its cache; sled takes this for advice.
    pub cache_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { cache_bytes: 128 << 20 }
    }
}

/// An index over sled.
pub struct SledIndex {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
}

struct Shared {
    /// It is gone once the index is closed.
    database: RwLock<Option<sled::Db>>,
    views: Mutex<Views>,
    path: PathBuf,
}

#[derive(Default)]
struct Views {
    next: u64,
    /// By view, what its rows were before later writes.
    undo: BTreeMap<u64, BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
}

impl fmt::Debug for SledIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledIndex").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl SledIndex {
    /// Opens the database, a directory, or makes one where there is none.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: impl Into<PathBuf>,
        options: SledOptions,
    ) -> Result<Self, IndexError> {
        let path: PathBuf = path.into();
        take_marker(disk.as_ref(), &path)
            .map_err(|error| failed_io(&path, "open", error))?
            .then_some(())
            .ok_or_else(|| IndexError::Unclean { path: path.clone() })?;
        let config = sled::Config::new()
            .path(&path)
            .cache_capacity(options.cache_bytes)
            .flush_every_ms(None);
        let database = guarded(&path, "open", || config.open())?;
        let shared = Shared {
            database: RwLock::new(Some(database)),
            views: Mutex::new(Views::default()),
            path,
        };
        Ok(Self { shared: Arc::new(shared), disk })
    }

    /// Makes everything durable, closes the database and marks it as closed. Views end.
    pub fn close(self) -> Result<(), IndexError> {
        self.shut()
    }

    fn shut(&self) -> Result<(), IndexError> {
        let path = &self.shared.path;
        let Some(database) = self.shared.exclusive().take() else { return Ok(()) };
        guarded(path, "close", || database.flush())?;
        guarded(path, "close", move || {
            drop(database);
            Ok(())
        })?;
        wait_for_lock(path).map_err(|error| failed_io(path, "close", error))?;
        let marker = marker(path);
        let marked = self.disk.open(&marker, OpenHow::Create).and_then(|file| {
            file.sync_data()?;
            self.disk.sync_dir(parent(path))
        });
        marked.map_err(|error| failed_io(path, "mark as closed", error))
    }
}

impl Drop for SledIndex {
    fn drop(&mut self) {
        // Without its marker the database counts as unclean and is rebuilt, which is the remedy anyway.
        let _closed = self.shut();
    }
}

impl Shared {
    fn shared(&self) -> RwLockReadGuard<'_, Option<sled::Db>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Option<sled::Db>> {
        self.database.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn open<'a>(&self, database: &'a Option<sled::Db>) -> Result<&'a sled::Db, IndexError> {
        database
            .as_ref()
            .ok_or_else(|| failed_io(&self.path, "read", io::Error::other("it was closed")))
    }

    fn stored(&self, database: &sled::Db, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let Some(stored) = guarded(&self.path, "read", || database.get(key))? else {
            return Ok(None);
        };
        self.unsealed(key, &stored).map(Some)
    }

    fn unsealed(&self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, IndexError> {
        row::unseal(key, stored).map(<[u8]>::to_vec).ok_or_else(|| IndexError::Damaged {
            path: self.path.clone(),
            detail: format!("the row {} has another checksum", key.escape_ascii()),
            key: Some(key.to_vec()),
        })
    }

    fn views(&self) -> std::sync::MutexGuard<'_, Views> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a batch is about to change, for every live view that does not know it yet.
    fn remember(&self, database: &sled::Db, batch: &Batch) -> Result<(), IndexError> {
        let mut views = self.views();
        for change in batch.changes() {
            if views.undo.values().any(|undo| !undo.contains_key(&*change.key)) {
                let old = self.stored(database, &change.key)?;
                for undo in views.undo.values_mut() {
                    undo.entry(change.key.to_vec()).or_insert_with(|| old.clone());
                }
            }
        }
        Ok(())
    }
}

impl Index for SledIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let database = self.shared.shared();
        self.shared.stored(self.shared.open(&database)?, key)
    }

    fn write(&self, batch: &Batch, how: Durability) -> Result<(), IndexError> {
        let path = &self.shared.path;
        let database = self.shared.exclusive();
        let database = self.shared.open(&database)?;
        self.shared.remember(database, batch)?;
        let mut changes = sled::Batch::default();
        let mut buffer = Vec::new();
        for change in batch.changes() {
            match &change.value {
                Some(value) => {
                    let stored = row::seal(&change.key, value, &mut buffer);
                    changes.insert(&*change.key, stored);
                }
                None => changes.remove(&*change.key),
            }
        }
        guarded(path, "write", || database.apply_batch(changes))?;
        if how == Durability::Durable {
            guarded(path, "flush", || database.flush())?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), IndexError> {
        let database = self.shared.shared();
        let database = self.shared.open(&database)?;
        guarded(&self.shared.path, "flush", || database.flush())?;
        Ok(())
    }

    fn view(&self) -> Result<Box<dyn View>, IndexError> {
        // No write is under way while this lock is held, so the view begins between two batches.
        let _between_writes = self.shared.shared();
        let mut views = self.shared.views();
        let number = views.next;
        views.next += 1;
        views.undo.insert(number, BTreeMap::new());
        Ok(Box::new(SledView { shared: Arc::clone(&self.shared), number }))
    }

    fn stats(&self) -> Result<IndexStats, IndexError> {
        let database = self.shared.shared();
        let database = self.shared.open(&database)?;
        let disk_bytes = guarded(&self.shared.path, "measure", || database.size_on_disk())?;
        Ok(IndexStats { disk_bytes, rows: None })
    }
}

/// The present state and what was noted of the past.
struct SledView {
    shared: Arc<Shared>,
    number: u64,
}

impl fmt::Debug for SledView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledView").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Drop for SledView {
    fn drop(&mut self) {
        self.shared.views().undo.remove(&self.number);
    }
}

impl SledView {
    /// Some of the rows from `from` on; fewer than [`SCAN_ROWS`] only at the end.
    fn some_rows(&self, from: &[u8], to: Option<&[u8]>) -> Result<Vec<Row>, IndexError> {
        let database = self.shared.shared();
        let database = self.shared.open(&database)?;
        let views = self.shared.views();
        let bounds = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
        let mut past = views.undo[&self.number].range::<[u8], _>(bounds).peekable();
        let mut present =
            guarded(&self.shared.path, "read", || Ok(database.range::<&[u8], _>(bounds)))?;
        let mut next = || guarded(&self.shared.path, "read", || present.next().transpose());
        let mut row = next()?;
        let mut rows = Vec::new();
        while rows.len() < SCAN_ROWS {
            let past_first = match (past.peek(), &row) {
                (Some((past, _)), Some((key, _))) => past.as_slice() <= key.as_ref(),
                (past, _) => past.is_some(),
            };
            if past_first && let Some((key, old)) = past.next() {
                rows.extend(old.as_ref().map(|old| (key.clone(), old.clone())));
                if row.as_ref().is_some_and(|(present, _)| present == key) {
                    row = next()?;
                }
            } else if let Some((key, stored)) = row.take() {
                rows.push((key.to_vec(), self.shared.unsealed(&key, &stored)?));
                row = next()?;
            } else {
                break;
            }
        }
        Ok(rows)
    }
}

impl View for SledView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let database = self.shared.shared();
        if let Some(old) = self.shared.views().undo[&self.number].get(key) {
            return Ok(old.clone());
        }
        self.shared.stored(self.shared.open(&database)?, key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        row: &mut RowVisitor<'_>,
    ) -> Result<ControlFlow<()>, IndexError> {
        let mut from = from.to_vec();
        while to.is_none_or(|to| from.as_slice() < to) {
            let rows = self.some_rows(&from, to)?;
            for (key, value) in &rows {
                if row(key, value).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            match rows.last() {
                Some((last, _)) if rows.len() == SCAN_ROWS => from = key_after(last),
                _ => break,
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Whether the database may be opened: there is none, or there was a marker, which is gone now.
fn take_marker(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    let marker = marker(path);
    let marked = disk.exists(&marker)?;
    if marked {
        disk.remove_file(&marker)?;
        disk.sync_dir(parent(path))?;
    }
    Ok(marked || !disk.exists(path)?)
}

/// sled lets go of its file on a thread of its own, some time after the last handle is gone.
fn wait_for_lock(path: &Path) -> io::Result<()> {
    let file = path.join("db");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file)?;
    // sled takes the same kind of lock (flock); ours ends with the file.
    file.lock()
}

fn marker(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".closed");
    name.into()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Runs sled's code: its errors and its panics become ours.
fn guarded<T>(
    path: &Path,
    attempted: &'static str,
    work: impl FnOnce() -> sled::Result<T>,
) -> Result<T, IndexError> {
    let damaged =
        |detail: String| IndexError::Damaged { path: path.to_path_buf(), detail, key: None };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(sled::Error::Io(error))) => Err(failed_io(path, attempted, error)),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_panic) => Err(damaged("sled panicked".to_owned())),
    }
}

fn failed_io(path: &Path, attempted: &'static str, source: io::Error) -> IndexError {
    let path = path.to_path_buf();
    if source.kind() == io::ErrorKind::StorageFull {
        return IndexError::Full { path, attempted };
    }
    IndexError::Io { path, attempted, source }
}
