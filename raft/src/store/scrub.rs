//! What a scrub needs of a replica: every byte examined one by one, and put right from a sound copy.
//!
//! Where a leaf's own entry is damaged, its record can still be found: records follow each other
//! without a gap, and each says its own length and leaf. Non-goals: deciding what is right, which
//! takes the whole tree, and where sound copies come from.

use std::path::PathBuf;

use fiscus_ledger::hash::Hash32;
use fiscus_ledger::record::Record;

use crate::index::key_after;
use crate::store::journal::{LeafEntry, Part};
use crate::store::read::Reading;
use crate::store::replica::{Replica, StoreError};
use crate::store::series::SeriesError;

/// The heights of the tree whose nodes are kept.
pub const KEPT_HEIGHTS: [u32; 3] = crate::store::journal::TREE_HEIGHTS;

/// What a leaf is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A sound record, in its stored form.
    Record(Vec<u8>),
    /// A root of the heads tree: it has no record.
    Other,
    /// What is there is not what was written.
    Damaged,
}

/// A leaf as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The leaf's data as its entry says; `None` when the entry is damaged.
    pub hash: Option<Hash32>,
    /// The record.
    pub content: Content,
    /// Where the record begins among the records, when that is known.
    pub offset: Option<u64>,
    /// Where the next one begins, when that is known.
    pub next: Option<u64>,
}

/// A file of the replica, and a byte in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The byte.
    pub byte: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.path.display(), self.byte)
    }
}

/// Damage is an answer here; only a disk that fails is an error.
fn unless_damaged<T>(read: Result<Option<T>, SeriesError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(found) => Ok(found),
        Err(SeriesError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Reading {
    /// Examines a leaf. `at` is where the record before it ends, when that is known.
    pub fn examine(&self, leaf: u64, at: Option<u64>) -> Result<Examined, StoreError> {
        let journal = &self.open_state().journal;
        let entry = unless_damaged(journal.leaf(leaf))?;
        let in_place = |entry: &LeafEntry| at.is_none_or(|at| at == entry.offset());
        if let Some(entry) = entry.filter(in_place) {
            let content = if entry.is_record() {
                let record = unless_damaged(journal.record(leaf))?;
                record.map_or(Content::Damaged, Content::Record)
            } else {
                Content::Other
            };
            let (offset, next) = (Some(entry.offset()), Some(entry.end()));
            return Ok(Examined { hash: Some(entry.hash), content, offset, next });
        }
        if let Some(at) = at
            && let Some(record) = unless_damaged(journal.frame_at(at, leaf))?
            && Record::decode(&record).is_ok_and(|record| record.leaf_index == leaf)
        {
            let next = at + journal.frame_bytes(&record);
            let content = Content::Record(record);
            return Ok(Examined { hash: None, content, offset: Some(at), next: Some(next) });
        }
        let follower = if leaf + 1 < self.as_of().leaves {
            unless_damaged(journal.leaf(leaf + 1))?.map(|entry| entry.offset())
        } else {
            None
        };
        Ok(Examined { hash: None, content: Content::Damaged, offset: at, next: follower })
    }

    /// A leaf's signature as it is on disk, unless that is damaged.
    pub fn signature(&self, leaf: u64) -> Result<Option<[u8; 64]>, StoreError> {
        unless_damaged(self.open_state().journal.signature(leaf))
    }

    /// A node of the tree as it is on disk, unless that is damaged.
    pub fn tree_node(&self, height: u32, index: u64) -> Result<Option<Hash32>, StoreError> {
        unless_damaged(self.open_state().journal.tree_node(height, index))
    }

    /// Where a leaf's entry is.
    #[must_use]
    pub fn place_of_leaf(&self, leaf: u64) -> Place {
        self.place(Part::Leaf(leaf))
    }

    /// Where the record at an offset is.
    #[must_use]
    pub fn place_of_record(&self, offset: u64) -> Place {
        self.place(Part::Record(offset))
    }

    /// Where a leaf's signature is.
    #[must_use]
    pub fn place_of_signature(&self, leaf: u64) -> Place {
        self.place(Part::Signature(leaf))
    }

    /// Where a node of the tree is.
    #[must_use]
    pub fn place_of_node(&self, height: u32, index: u64) -> Place {
        self.place(Part::Node(height, index))
    }

    /// Where the index is; which byte of it is the index's own business.
    #[must_use]
    pub fn index_path(&self) -> PathBuf {
        self.open_state().dir.join(crate::store::replica::INDEX_FILE)
    }

    fn place(&self, part: Part) -> Place {
        let (path, byte) = self.open_state().journal.place(part);
        Place { path, byte }
    }

    /// Reads at most `limit` rows of the index from `from` on, which checks them; says where to go on.
    pub fn check_rows(&self, from: &[u8], limit: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.view().range(from, None, limit)?;
        Ok(rows.last().map(|(key, _)| key_after(key)))
    }
}

impl Replica {
    /// Puts a leaf's entry and its record right. The caller has made sure that the tree commits to
    /// `hash`, and that the record has it.
    pub fn mend_leaf(
        &self,
        leaf: u64,
        hash: Hash32,
        offset: u64,
        record: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        self.open_state().journal.mend_record(leaf, hash, offset, record)?;
        Ok(())
    }

    /// Puts a signature right.
    pub fn mend_signature(&self, leaf: u64, signature: &[u8; 64]) -> Result<(), StoreError> {
        Ok(self.open_state().journal.mend_signature(leaf, signature)?)
    }

    /// Puts a kept node of the tree right.
    pub fn mend_node(&self, height: u32, index: u64, node: &Hash32) -> Result<(), StoreError> {
        Ok(self.open_state().journal.mend_node(height, index, node)?)
    }
}
