//! The key-value index: rows of byte strings that are read by key and in key order.
//!
//! A group's state directory holds one index: outlet states, idempotency keys, positions of records,
//! directory documents. What the rows mean is the caller's business.
//!
//! ```text
//!   caller ──► Index (trait) ──► RedbIndex ──► redb ──► PageFile (a checksum per page) ──► Disk
//!                           └──► SledIndex (feature `sled`; rebuilt after every unclean stop)
//! ```
//!
//! Invariants:
//! - A batch is there as a whole or not at all, after a crash, too.
//! - After a crash the index is exactly what it was after some batch, never before the last durable one.
//! - Damage is an error, never a panic and never a wrong row.
//!
//! Non-goals: locks between processes (the node holds one on its data directory), rebuilding a damaged
//! index (its owner has the snapshot and the log), several tables (callers prefix their keys).

mod batch;
mod bulk;
mod error;
mod layered;
mod pages;
mod redb_backend;
mod row;
#[cfg(feature = "sled")]
mod sled_backend;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::ops::ControlFlow;

pub use batch::Batch;
pub use bulk::{BulkLoad, bulk_load};
pub use error::IndexError;
pub use layered::LayeredIndex;
pub use redb_backend::{RedbIndex, RedbOptions};
#[cfg(feature = "sled")]
pub use sled_backend::{SledIndex, SledOptions};

/// One answer of [`View::range`] holds at most this many bytes of keys and values, and at least one row.
pub const RANGE_BYTES_MAX: usize = 8 << 20;

/// A row: its key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Sees one row after the other, key and value, until it breaks.
pub type RowVisitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// When a batch has to survive what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Visible at once; a crash may lose it, together with everything after the last durable write.
    Eventual,
    /// It, and everything before it, survives a loss of power once the call has returned.
    Durable,
}

/// How large an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexStats {
    /// Bytes that it takes on the disk.
    pub disk_bytes: u64,
    /// How many rows it has, where the backend knows without counting.
    pub rows: Option<u64>,
}

/// A key-value store of byte strings.
pub trait Index: Debug + Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;

    /// Writes a batch, all of it or nothing.
    fn write(&self, batch: &Batch, how: Durability) -> Result<(), IndexError>;

    /// Makes everything written so far durable.
    fn flush(&self) -> Result<(), IndexError>;

    /// A consistent view, which later writes do not change.
    ///
    /// While it lives, redb cannot use freed disk space again and sled keeps the old rows in memory, so it
    /// has to be dropped soon.
    fn view(&self) -> Result<Box<dyn View>, IndexError>;

    /// How large it is.
    fn stats(&self) -> Result<IndexStats, IndexError>;
}

/// The index as it was at one moment.
pub trait View: Debug + Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;

    /// Shows the rows with `from <= key < to` in key order, until `row` breaks. Says whether it did.
    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        row: &mut RowVisitor<'_>,
    ) -> Result<ControlFlow<()>, IndexError>;

    /// The rows with `from <= key < to` in key order, at most `limit` of them and at most
    /// [`RANGE_BYTES_MAX`] bytes.
    ///
    /// To page, call again from [`key_after`] the last key; an empty answer is the end, a short one is
    /// not.
    fn range(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, IndexError> {
        let mut rows: Vec<Row> = Vec::new();
        let mut bytes = 0;
        if limit == 0 {
            return Ok(rows);
        }
        // Whether the caller stopped it or the range ended makes no difference here.
        let _end = self.scan(from, to, &mut |key, value| {
            bytes += key.len() + value.len();
            if bytes > RANGE_BYTES_MAX && !rows.is_empty() {
                return ControlFlow::Break(());
            }
            rows.push((key.to_vec(), value.to_vec()));
            if rows.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(rows)
    }

    /// The last rows with `from <= key < to`, last key first, within the same bounds. To page, call again
    /// with the last key as `to`.
    ///
    /// A backend that can read backwards does so; here the whole range is read.
    fn range_back(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, IndexError> {
        let mut last: VecDeque<Row> = VecDeque::new();
        let mut bytes = 0;
        if limit == 0 {
            return Ok(Vec::new());
        }
        let _end = self.scan(from, to, &mut |key, value| {
            bytes += key.len() + value.len();
            last.push_back((key.to_vec(), value.to_vec()));
            while last.len() > limit || (bytes > RANGE_BYTES_MAX && last.len() > 1) {
                bytes -= last.pop_front().map_or(0, |(key, value)| key.len() + value.len());
            }
            ControlFlow::Continue(())
        })?;
        Ok(last.into_iter().rev().collect())
    }
}

/// The first key in order after this one.
#[must_use]
pub fn key_after(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}
