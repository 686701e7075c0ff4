//! Filling a new index with rows that come in order: a snapshot that is installed.
//!
//! The rows go into a file of their own, whose last act is a durable commit and a rename: a crash leaves
//! the old state of the path, and the next load throws the unfinished file away.
//!
//! Invariant: the database takes its name only when it is whole and durable. Non-goal: merging with rows
//! that are there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::redb_backend::{put_in_place, unfinished};
use super::{Batch, Durability, IndexError, RedbIndex, RedbOptions, Row};
use crate::disk::Disk;

/// Rows are handed to the backend when they have come to this many bytes.
const CHUNK_BYTES: usize = 16 << 20;

/// A bulk load that is under way. Dropping it leaves the path as it was.
#[derive(Debug)]
pub struct BulkLoad {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    options: RedbOptions,
    index: RedbIndex,
    chunk: Batch,
    last: Option<Vec<u8>>,
    rows: u64,
}

impl BulkLoad {
    /// Starts with an empty database beside `path`.
    pub fn start(
        disk: Arc<dyn Disk>,
        path: impl Into<PathBuf>,
        options: RedbOptions,
    ) -> Result<Self, IndexError> {
        let path: PathBuf = path.into();
        let index = RedbIndex::create(Arc::clone(&disk), &unfinished(&path), options)?;
        Ok(Self { disk, path, options, index, chunk: Batch::new(), last: None, rows: 0 })
    }

    /// Adds a row; its key must follow the one before.
    pub fn push(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), IndexError> {
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(IndexError::Unsorted { path: self.path.clone(), row: self.rows });
        }
        self.last = Some(key.clone());
        self.rows += 1;
        self.chunk.put(key, value);
        if self.chunk.len_bytes() >= CHUNK_BYTES {
            self.index.append(&self.chunk, Durability::Eventual)?;
            self.chunk.clear();
        }
        Ok(())
    }

    /// Makes it durable, puts it in the place of whatever is at the path, which must not be open, and
    /// opens it.
    pub fn finish(self) -> Result<RedbIndex, IndexError> {
        let Self { disk, path, options, index, chunk, .. } = self;
        index.append(&chunk, Durability::Durable)?;
        drop(index);
        put_in_place(disk.as_ref(), &unfinished(&path), &path)?;
        RedbIndex::open(disk, path, options)
    }
}

/// Fills a new index at `path` with sorted rows.
///
/// The rows may fail to come (`E`): then the path stays as it was and the failure is returned.
pub fn bulk_load<E: From<IndexError>>(
    disk: Arc<dyn Disk>,
    path: &Path,
    options: RedbOptions,
    rows: impl IntoIterator<Item = Result<Row, E>>,
) -> Result<RedbIndex, E> {
    let mut load = BulkLoad::start(disk, path, options)?;
    for row in rows {
        let (key, value) = row?;
        load.push(key, value)?;
    }
    Ok(load.finish()?)
}
