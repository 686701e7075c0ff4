//! Checking proofs, as RFC 9162, sections 2.1.3.2 and 2.1.4.2, does it, plus the sizes that the RFC
//! leaves to the caller: 0 and equal.

use super::{empty_root, leaf_hash, node_hash};
use crate::hash::Hash32;

/// Why an inclusion proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InclusionError {
    /// There is no such leaf in a tree of this size.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    LeafOutsideTree {
        /// The leaf that should be proved.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The proof ends before the root.
    #[error("the inclusion proof is too short")]
    TooShort,
    /// The proof goes on past the root.
    #[error("the inclusion proof is too long")]
    TooLong,
    /// The leaf and the proof give another root.
    #[error("the inclusion proof leads to another root")]
    RootMismatch,
}

/// Why a consistency proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsistencyError {
    /// A tree cannot be an extension of a larger one.
    #[error("a tree of {new} leaves cannot extend one of {old}")]
    Shrunk {
        /// The size that should be extended.
        old: u64,
        /// The size that should extend it.
        new: u64,
    },
    /// The proof ends before the root.
    #[error("the consistency proof is too short")]
    TooShort,
    /// The proof goes on past the root, or is not empty where nothing needs proving.
    #[error("the consistency proof is too long")]
    TooLong,
    /// The proof gives another root for the old size.
    #[error("the consistency proof leads to another old root")]
    OldRootMismatch,
    /// The proof gives another root for the new size.
    #[error("the consistency proof leads to another new root")]
    NewRootMismatch,
}

/// Checks that the leaf with `leaf_data` is leaf `index` of the tree with `size` leaves and `root`.
pub fn verify_inclusion(
    leaf_data: &Hash32,
    index: u64,
    size: u64,
    proof: &[Hash32],
    root: &Hash32,
) -> Result<(), InclusionError> {
    if index >= size {
        return Err(InclusionError::LeafOutsideTree { index, size });
    }
    let mut hash = leaf_hash(leaf_data);
    let mut climb = Climb { node: index, last: size - 1 };
    for sibling in proof {
        match climb.step().ok_or(InclusionError::TooLong)? {
            Sibling::Left => hash = node_hash(sibling, &hash),
            Sibling::Right => hash = node_hash(&hash, sibling),
        }
    }
    if !climb.at_root() {
        return Err(InclusionError::TooShort);
    }
    if hash == *root { Ok(()) } else { Err(InclusionError::RootMismatch) }
}

/// Checks that the tree with `new_size` leaves and `new_root` begins with the tree with `old_size`
/// leaves and `old_root`.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash32,
    new_size: u64,
    new_root: &Hash32,
    proof: &[Hash32],
) -> Result<(), ConsistencyError> {
    if old_size > new_size {
        return Err(ConsistencyError::Shrunk { old: old_size, new: new_size });
    }
    if old_size == 0 || old_size == new_size {
        return verify_trivial(old_size, old_root, new_size, new_root, proof);
    }
    let mut climb = Climb { node: old_size - 1, last: new_size - 1 };
    while climb.node & 1 == 1 {
        climb.up();
    }
    // When the old tree is one perfect subtree, its root is the starting point and is not repeated.
    let (start, siblings) = if old_size.is_power_of_two() {
        (old_root, proof)
    } else {
        proof.split_first().ok_or(ConsistencyError::TooShort)?
    };
    let (mut old_hash, mut new_hash) = (*start, *start);
    for sibling in siblings {
        match climb.step().ok_or(ConsistencyError::TooLong)? {
            Sibling::Left => {
                old_hash = node_hash(sibling, &old_hash);
                new_hash = node_hash(sibling, &new_hash);
            }
            Sibling::Right => new_hash = node_hash(&new_hash, sibling),
        }
    }
    if !climb.at_root() {
        return Err(ConsistencyError::TooShort);
    }
    compare_roots(&old_hash, old_root, &new_hash, new_root)
}

/// Nothing links the two trees but their roots: the old one is empty, or they are the same tree.
fn verify_trivial(
    old_size: u64,
    old_root: &Hash32,
    new_size: u64,
    new_root: &Hash32,
    proof: &[Hash32],
) -> Result<(), ConsistencyError> {
    if !proof.is_empty() {
        return Err(ConsistencyError::TooLong);
    }
    let empty = empty_root();
    let old_expected = if old_size == 0 { &empty } else { old_root };
    let new_expected = if new_size == old_size { old_expected } else { new_root };
    compare_roots(old_expected, old_root, new_expected, new_root)
}

fn compare_roots(
    old_hash: &Hash32,
    old_root: &Hash32,
    new_hash: &Hash32,
    new_root: &Hash32,
) -> Result<(), ConsistencyError> {
    if old_hash != old_root {
        return Err(ConsistencyError::OldRootMismatch);
    }
    if new_hash != new_root {
        return Err(ConsistencyError::NewRootMismatch);
    }
    Ok(())
}

/// On which side of the path a proof's hash stands.
enum Sibling {
    Left,
    Right,
}

/// The way from a node to the root: its index on the present level, and that of the level's last.
struct Climb {
    node: u64,
    last: u64,
}

impl Climb {
    fn at_root(&self) -> bool {
        self.last == 0
    }

    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    /// Takes the next hash of the proof; `None` when the root is reached already.
    fn step(&mut self) -> Option<Sibling> {
        if self.at_root() {
            return None;
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            // A last node without a sibling is its own parent until it is a right child.
            while self.node & 1 == 0 {
                self.up();
            }
            Sibling::Left
        } else {
            Sibling::Right
        };
        self.up();
        Some(side)
    }
}
