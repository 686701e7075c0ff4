//! Making proofs from complete nodes, wherever they are kept.

use super::node_hash;
use crate::hash::Hash32;

/// Why a proof could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// There is no such leaf in a tree of this size.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    LeafOutsideTree {
        /// The leaf asked for.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// A tree cannot be an extension of a larger one.
    #[error("a tree of {new} leaves cannot extend one of {old}")]
    Shrunk {
        /// The size that should be extended.
        old: u64,
        /// The size that should extend it.
        new: u64,
    },
    /// The caller's storage does not have a node that every tree of this size has.
    #[error("the stored tree lacks node {index} of level {level}")]
    NodeAbsent {
        /// The node covers `2^level` leaves.
        level: u32,
        /// Its place among the nodes of its level.
        index: u64,
    },
}

/// Proves that leaf `index` is in the tree of `size` leaves: sibling hashes, nearest the leaf first.
///
/// `node(level, index)` gives a stored complete node; only nodes complete at `size` are asked for.
pub fn inclusion_proof(
    size: u64,
    index: u64,
    node: &impl Fn(u32, u64) -> Option<Hash32>,
) -> Result<Vec<Hash32>, ProveError> {
    if index >= size {
        return Err(ProveError::LeafOutsideTree { index, size });
    }
    let (mut start, mut end) = (0, size);
    let mut from_root = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            from_root.push(range_root(middle, end, node)?);
            end = middle;
        } else {
            from_root.push(range_root(start, middle, node)?);
            start = middle;
        }
    }
    from_root.reverse();
    Ok(from_root)
}

/// Proves that the tree of `new` leaves begins with the tree of `old` leaves. The proof is empty when
/// the sizes are equal or `old` is 0: an empty tree is the beginning of every tree.
///
/// `node(level, index)` gives a stored complete node; only nodes complete at `new` are asked for.
pub fn consistency_proof(
    old: u64,
    new: u64,
    node: &impl Fn(u32, u64) -> Option<Hash32>,
) -> Result<Vec<Hash32>, ProveError> {
    if old > new {
        return Err(ProveError::Shrunk { old, new });
    }
    if old == 0 {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0, new);
    let mut from_root = Vec::new();
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            from_root.push(range_root(middle, end, node)?);
            end = middle;
        } else {
            from_root.push(range_root(start, middle, node)?);
            start = middle;
        }
    }
    // The verifier knows the old root already; any other last subtree must be shown to it.
    if start != 0 {
        from_root.push(range_root(start, end, node)?);
    }
    from_root.reverse();
    Ok(from_root)
}

/// The largest power of two below `leaves`, of which there are at least two.
fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

/// The root over `start..end`, a range in which the RFC's splitting can end: `start` is a multiple of
/// a power of two that is no smaller than the range.
fn range_root(
    start: u64,
    end: u64,
    node: &impl Fn(u32, u64) -> Option<Hash32>,
) -> Result<Hash32, ProveError> {
    let complete = |end: u64| {
        let level = (end - start).trailing_zeros();
        let index = (end >> level) - 1;
        let hash = node(level, index).ok_or(ProveError::NodeAbsent { level, index })?;
        Ok((hash, end - (1 << level)))
    };
    let (mut root, mut rest) = complete(end)?;
    while rest > start {
        let (left, before) = complete(rest)?;
        root = node_hash(&left, &root);
        rest = before;
    }
    Ok(root)
}
