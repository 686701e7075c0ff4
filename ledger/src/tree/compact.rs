//! The right edge of the tree: enough to append and to know the root.

use super::{empty_root, leaf_hash, node_hash};
use crate::codec::{DecodeError, Reader, Writer};
use crate::hash::Hash32;

/// The most leaves that a stored tree may claim: other implementations count leaves in an `i64`.
pub const LEAVES_MAX: u64 = i64::MAX.unsigned_abs();

/// A tree reduced to the roots of the perfect subtrees that its size is made of.
///
/// There is one hash per set bit of the size, largest subtree first, so the number of hashes is never
/// stored and cannot contradict the size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    edge: Vec<Hash32>,
}

impl CompactRange {
    /// The tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf and returns its index.
    pub fn push(&mut self, leaf_data: &Hash32) -> u64 {
        self.push_with(leaf_data, |_, _, _| {})
    }

    /// Appends a leaf, returns its index, and hands every node that it completes to
    /// `keep(level, index, hash)`, the leaf itself (level 0) first. Each complete node of the tree is
    /// handed over exactly once in its life: storage that keeps them all can make every proof.
    pub fn push_with(&mut self, leaf_data: &Hash32, keep: impl FnMut(u32, u64, &Hash32)) -> u64 {
        self.push_hashed(leaf_hash(leaf_data), keep)
    }

    pub(super) fn push_hashed(
        &mut self,
        leaf: Hash32,
        mut keep: impl FnMut(u32, u64, &Hash32),
    ) -> u64 {
        let leaf_index = self.size;
        let mut hash = leaf;
        keep(0, leaf_index, &hash);
        for level in 1..=leaf_index.trailing_ones() {
            let left = self.edge.pop().expect("the edge has one hash per set bit of the size");
            hash = node_hash(&left, &hash);
            keep(level, leaf_index >> level, &hash);
        }
        self.edge.push(hash);
        self.size += 1;
        leaf_index
    }

    /// The root hash at the present size.
    #[must_use]
    pub fn root(&self) -> Hash32 {
        let right_to_left = self.edge.iter().rev().copied();
        right_to_left.reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root)
    }

    /// Writes the size and the edge.
    pub fn encode(&self, writer: &mut Writer) {
        writer.u64(self.size);
        for hash in &self.edge {
            writer.raw(hash);
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let size = reader.u64("tree size")?;
        if size > LEAVES_MAX {
            return Err(DecodeError::Invalid("tree size"));
        }
        let edge = (0..size.count_ones()).map(|_| reader.h32("tree edge"));
        Ok(Self { size, edge: edge.collect::<Result<_, _>>()? })
    }
}
