//! The index over redb: one table, multi-version reads, one writer.
//!
//! Eventual writes are redb's non-durable commits. Durable ones save the allocator's state and commit in
//! two phases ("quick repair"), so that opening after a crash reads no more than the header and that
//! state: the durable commits of a second cost less than a repair that walks the whole tree.
//!
//! redb has places that panic on pages it cannot make sense of. The checksums below it should never let
//! such a page through; should one come through all the same, the panic is caught at this door and told
//! as damage, and the index answers nothing else from then on.
//!
//! Invariant: what redb latched (a failed write or sync) stays an error until the index is opened again.
//! Non-goal: shrinking the file; redb reuses the room and trims
//! it on closing.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard};

use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTableMetadata,
    TableDefinition, TableError,
};

use super::batch::{Batch, Change};
use super::pages::{self, DamageNote, OpenPagesError, PageFile};
use super::{
    Durability, Index, IndexError, IndexStats, RANGE_BYTES_MAX, Row, RowVisitor, View, row,
};
use crate::disk::{Disk, OpenHow};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

/// How redb is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedbOptions {
    /// Memory for pages that were read or not yet written.
    pub cache_bytes: usize,
    /// Whether durable writes save what a quick start after a crash needs; without it, that start walks
    /// the whole tree.
    pub quick_repair: bool,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self { cache_bytes: 128 << 20, quick_repair: true }
    }
}

/// An index over redb.
///
/// Dropping it makes everything durable and closes the file; a failure of that cannot be told, so who
/// has to know calls [`Index::flush`] first. Views that outlive it answer with errors.
pub struct RedbIndex {
    /// It is there until the index is dropped; `check` needs it for itself.
    database: Option<RwLock<Database>>,
    disk: Arc<dyn Disk>,
    place: Place,
    quick_repair: bool,
}

/// Where the database is and what is known of its health.
#[derive(Debug, Clone)]
struct Place {
    path: Arc<Path>,
    note: DamageNote,
}

impl fmt::Debug for RedbIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbIndex").field("place", &self.place).finish_non_exhaustive()
    }
}

impl RedbIndex {
    /// Opens the database, or makes one where there is none.
    ///
    /// A new one is made under another name and renamed, so a crash leaves all of it or nothing.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: impl Into<PathBuf>,
        options: RedbOptions,
    ) -> Result<Self, IndexError> {
        let path: PathBuf = path.into();
        let place = Place::new(&path);
        if !disk.exists(&path).map_err(|error| place.io("open", error))? {
            let fresh = unfinished(&path);
            drop(Self::create(Arc::clone(&disk), &fresh, options)?);
            put_in_place(disk.as_ref(), &fresh, &path)?;
        }
        let file = disk.open(&path, OpenHow::Write).map_err(|error| place.io("open", error))?;
        let pages = PageFile::open(file, Arc::clone(&place.note))
            .map_err(|error| place.pages("open", error))?;
        Self::over(disk, place, pages, options)
    }

    /// Makes an empty database; whatever is in its place goes.
    pub(super) fn create(
        disk: Arc<dyn Disk>,
        path: &Path,
        options: RedbOptions,
    ) -> Result<Self, IndexError> {
        let place = Place::new(path);
        let made = (|| {
            if disk.exists(path)? {
                disk.remove_file(path)?;
            }
            disk.open(path, OpenHow::Create)
        })();
        let file = made.map_err(|error| place.io("create", error))?;
        let pages = PageFile::create(file, Arc::clone(&place.note))
            .map_err(|error| place.pages("create", error))?;
        let index = Self::over(disk, place, pages, options)?;
        index.flush()?;
        Ok(index)
    }

    fn over(
        disk: Arc<dyn Disk>,
        place: Place,
        pages: PageFile,
        options: RedbOptions,
    ) -> Result<Self, IndexError> {
        let database = place.run("open", || {
            Ok(Database::builder()
                .set_cache_size(options.cache_bytes)
                .create_with_backend(pages)?)
        })?;
        Ok(Self {
            database: Some(RwLock::new(database)),
            disk,
            place,
            quick_repair: options.quick_repair,
        })
    }

    fn lock(&self) -> &RwLock<Database> {
        self.database.as_ref().expect("only drop takes it")
    }

    fn database(&self) -> RwLockReadGuard<'_, Database> {
        self.lock().read().expect("panics are caught below this lock")
    }

    /// Reads everything and verifies it against redb's own tree of checksums, too.
    ///
    /// It may take a minute per few GiB and must not run beside views. What it finds is damage, even if
    /// redb repaired it: the repair may have gone back to an older state.
    pub fn check(&self) -> Result<(), IndexError> {
        let clean = {
            let mut database = self.lock().write().expect("panics are caught below this lock");
            self.place.run("check", || Ok(database.check_integrity()?))?
        };
        if !clean {
            return Err(self.place.damaged("its pages do not fit together".to_owned()));
        }
        let _end = self.view()?.scan(&[], None, &mut |_, _| ControlFlow::Continue(()))?;
        Ok(())
    }

    fn commit(
        &self,
        how: Durability,
        fill: impl FnOnce(&mut redb::Table<'_, &'static [u8], &'static [u8]>) -> Result<(), Failure>,
    ) -> Result<(), IndexError> {
        let database = self.database();
        self.place.run("write", || {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(match how {
                Durability::Eventual => redb::Durability::None,
                Durability::Durable => redb::Durability::Immediate,
            })?;
            // Page checksums go to the disk with a sync, so the header must not name a page before one.
            transaction.set_two_phase_commit(true);
            transaction.set_quick_repair(self.quick_repair && how == Durability::Durable);
            fill(&mut transaction.open_table(ROWS)?)?;
            Ok(transaction.commit()?)
        })
    }

    /// Appends rows that follow every row there is, in order.
    pub(super) fn append(&self, batch: &Batch, how: Durability) -> Result<(), IndexError> {
        self.commit(how, |table| {
            let mut buffer = Vec::new();
            let mut cursor = table.upper_bound_mut(std::ops::Bound::<&[u8]>::Unbounded)?;
            for Change { key, value } in batch.changes() {
                let value = value.as_ref().expect("a bulk load only puts");
                let stored = row::seal(key, value, &mut buffer);
                cursor.insert_before(&**key, stored)?;
            }
            Ok(cursor.close()?)
        })
    }
}

impl Drop for RedbIndex {
    fn drop(&mut self) {
        let database = self.database.take();
        // Closing commits; over a damaged file it may panic, and nobody is left to tell.
        let _closed = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

impl Index for RedbIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let database = self.database();
        let transaction = self.place.run("read", || Ok(database.begin_read()?))?;
        RedbView::new(&self.place, &transaction)?.get(key)
    }

    fn write(&self, batch: &Batch, how: Durability) -> Result<(), IndexError> {
        if batch.is_empty() && how == Durability::Eventual {
            return Ok(());
        }
        self.commit(how, |table| {
            let mut buffer = Vec::new();
            for Change { key, value } in batch.changes() {
                match value {
                    Some(value) => {
                        table.insert(&**key, row::seal(key, value, &mut buffer))?;
                    }
                    None => {
                        table.remove(&**key)?;
                    }
                }
            }
            Ok(())
        })
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.commit(Durability::Durable, |_| Ok(()))
    }

    fn view(&self) -> Result<Box<dyn View>, IndexError> {
        let database = self.database();
        let transaction = self.place.run("read", || Ok(database.begin_read()?))?;
        Ok(Box::new(RedbView::new(&self.place, &transaction)?))
    }

    fn stats(&self) -> Result<IndexStats, IndexError> {
        let database = self.database();
        let rows = self.place.run("read", || {
            Ok(match database.begin_read()?.open_table(ROWS) {
                Ok(table) => table.len()?,
                Err(TableError::TableDoesNotExist(_)) => 0,
                Err(error) => return Err(error.into()),
            })
        })?;
        let size = self.disk.open(&self.place.path, OpenHow::Read).and_then(|file| file.size());
        let disk_bytes = size.map_err(|error| self.place.io("measure", error))?;
        Ok(IndexStats { disk_bytes, rows: Some(rows) })
    }
}

/// A read transaction of redb.
struct RedbView {
    place: Place,
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl fmt::Debug for RedbView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbView").field("place", &self.place).finish_non_exhaustive()
    }
}

impl RedbView {
    fn new(place: &Place, transaction: &ReadTransaction) -> Result<Self, IndexError> {
        let table = place.run("read", || Ok(transaction.open_table(ROWS)?))?;
        Ok(Self { place: place.clone(), table })
    }
}

impl View for RedbView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let found = self.place.run("read", || {
            let stored = self.table.get(key)?;
            Ok(stored.map(|stored| row::unseal(key, stored.value()).map(<[u8]>::to_vec)))
        })?;
        match found {
            None => Ok(None),
            Some(Some(value)) => Ok(Some(value)),
            Some(None) => Err(self.place.row(key)),
        }
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        row: &mut RowVisitor<'_>,
    ) -> Result<ControlFlow<()>, IndexError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(ControlFlow::Continue(()));
        }
        let mut rows = self.place.run("read", || {
            Ok(match to {
                Some(to) => self.table.range(from..to)?,
                None => self.table.range(from..)?,
            })
        })?;
        // Only redb's step stands behind the net for panics, not the caller's code.
        while let Some((key, stored)) = self.place.run("read", || Ok(rows.next().transpose()?))? {
            let (key, stored) = (key.value(), stored.value());
            let value = row::unseal(key, stored).ok_or_else(|| self.place.row(key))?;
            if row(key, value).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn range_back(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, IndexError> {
        let mut found: Vec<Row> = Vec::new();
        if to.is_some_and(|to| to <= from) {
            return Ok(found);
        }
        let mut rows = self.place.run("read", || {
            Ok(match to {
                Some(to) => self.table.range(from..to)?,
                None => self.table.range(from..)?,
            })
        })?;
        let mut bytes = 0;
        while found.len() < limit {
            let next = self.place.run("read", || Ok(rows.next_back().transpose()?))?;
            let Some((key, stored)) = next else { break };
            let (key, stored) = (key.value(), stored.value());
            let value = row::unseal(key, stored).ok_or_else(|| self.place.row(key))?;
            bytes += key.len() + value.len();
            if bytes > RANGE_BYTES_MAX && !found.is_empty() {
                break;
            }
            found.push((key.to_vec(), value.to_vec()));
        }
        Ok(found)
    }
}

/// Any error of redb, on its way to an [`IndexError`].
pub(super) struct Failure(redb::Error);

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl Place {
    fn new(path: &Path) -> Self {
        Self { path: Arc::from(path), note: Arc::new(OnceLock::new()) }
    }

    /// Runs redb's code: its errors and its panics become ours.
    fn run<T>(
        &self,
        attempted: &'static str,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, IndexError> {
        if let Some(detail) = self.note.get() {
            return Err(self.damaged(detail.clone()));
        }
        // Nothing of redb's is used after a panic: the note refuses every later call.
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(Failure(error))) => Err(self.failed(attempted, error)),
            Err(panic) => {
                let said = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("no message");
                Err(self.damaged(format!("redb panicked: {said}")))
            }
        }
    }

    fn failed(&self, attempted: &'static str, error: redb::Error) -> IndexError {
        if let Some(detail) = self.note.get() {
            return self.damaged(detail.clone());
        }
        match error {
            redb::Error::Corrupted(detail) => self.damaged(detail),
            // An index always has its table, with these types, from its first commit on.
            redb::Error::TableDoesNotExist(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::UpgradeRequired(_) => self.damaged(error.to_string()),
            redb::Error::TransactionInProgress => {
                IndexError::Busy { path: self.path.to_path_buf(), holder: "a view" }
            }
            redb::Error::Io(error) => self.io(attempted, error),
            other => self.io(attempted, io::Error::other(other)),
        }
    }

    /// Tells of damage now, and for every later call.
    fn damaged(&self, detail: String) -> IndexError {
        let detail = self.note.get_or_init(|| detail).clone();
        IndexError::Damaged { path: self.path.to_path_buf(), detail, key: None }
    }

    /// Tells of a damaged row; the others may be sound.
    fn row(&self, key: &[u8]) -> IndexError {
        IndexError::Damaged {
            path: self.path.to_path_buf(),
            detail: format!("the row {} has another checksum", key.escape_ascii()),
            key: Some(key.to_vec()),
        }
    }

    fn io(&self, attempted: &'static str, source: io::Error) -> IndexError {
        let path = self.path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                IndexError::Full { path, attempted }
            }
            io::ErrorKind::UnexpectedEof => self.damaged("it is shorter than it was".to_owned()),
            _ => IndexError::Io { path, attempted, source },
        }
    }

    fn pages(&self, attempted: &'static str, error: OpenPagesError) -> IndexError {
        match error {
            OpenPagesError::Io(error) => self.io(attempted, error),
            OpenPagesError::Damaged(detail) => self.damaged(detail),
            OpenPagesError::TooNew(found) => {
                IndexError::TooNew { path: self.path.to_path_buf(), found, known: pages::FORMAT }
            }
        }
    }
}

/// Where a database is built before it takes its place.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}

/// Gives a finished, closed database its name, durably.
pub(super) fn put_in_place(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), IndexError> {
    let directory = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    disk.rename(from, to)
        .and_then(|()| disk.sync_dir(directory))
        .map_err(|error| Place::new(to).io("put in place", error))
}
