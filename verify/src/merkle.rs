//! RFC 6962 trees with SHA-256: inclusion and consistency, from their definition by the sides of the path.
//!
//! The way of leaf `i` in a tree of `n` leaves parts from the way of the last leaf at level `inner`, the number of
//! bits of `i xor (n-1)`. Below it, bit by bit, the path is a left or a right child; above it, it is a right child
//! wherever `i` has a bit, and has no sibling where it has none. So both the length of a proof and the side of each
//! of its hashes follow from `i` and `n` alone.

use crate::failure::{Failure, Kind};
use crate::hash::{Hash, sha256};

/// Deeper trees than 2^63 leaves there are not.
const PATH_MAX: usize = 64;

pub(crate) fn leaf_hash(data: &Hash) -> Hash {
    sha256(&[&[0], data])
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

fn empty_root() -> Hash {
    sha256(&[])
}

/// How many hashes stand below the fork, and how many above it.
fn shape(index: u64, size: u64) -> (u32, u32) {
    let inner = u64::BITS - (index ^ (size - 1)).leading_zeros();
    (inner, index.checked_shr(inner).unwrap_or(0).count_ones())
}

fn wrong(kind: Kind, detail: impl Into<String>) -> Failure {
    Failure::new(kind, "proof", detail)
}

/// Refuses a proof that is not as long as the tree says.
fn check_length(kind: Kind, found: usize, expected: u32) -> Result<(), Failure> {
    match found.cmp(&usize::try_from(expected).unwrap_or(PATH_MAX)) {
        std::cmp::Ordering::Less => Err(wrong(kind, "the proof is too short")),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(wrong(kind, "the proof is too long")),
    }
}

/// Follows a proof to the root that it leads to. Of `size` only the shape enters.
fn climb(leaf: Hash, index: u64, inner: u32, proof: &[Hash]) -> Hash {
    let mut hash = leaf;
    for (level, sibling) in (0..).zip(proof) {
        let is_left = level < inner && (index >> level) & 1 == 0;
        hash = if is_left { node_hash(&hash, sibling) } else { node_hash(sibling, &hash) };
    }
    hash
}

/// Whether the leaf with `data` is leaf `index` of the tree of `size` leaves under `root`.
pub(crate) fn check_inclusion(
    data: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), Failure> {
    if index >= size {
        return Err(wrong(
            Kind::Inclusion,
            format!("leaf {index} is not in a tree of {size} leaves"),
        ));
    }
    let (inner, border) = shape(index, size);
    check_length(Kind::Inclusion, proof.len(), inner + border)?;
    if climb(leaf_hash(data), index, inner, proof) == *root {
        Ok(())
    } else {
        Err(wrong(Kind::Inclusion, "the leaf and the proof lead to another root"))
    }
}

/// Whether the tree of `new` leaves begins with the tree of `old` leaves.
pub(crate) fn check_consistency(
    (old, old_root): (u64, &Hash),
    (new, new_root): (u64, &Hash),
    proof: &[Hash],
) -> Result<(), Failure> {
    let kind = Kind::Consistency;
    if new < old {
        return Err(wrong(kind, format!("the log was cut: it had {old} leaves and has {new}")));
    }
    if old == 0 || old == new {
        check_length(kind, proof.len(), 0)?;
        let same = if old == new { old_root == new_root } else { *old_root == empty_root() };
        return if same { Ok(()) } else { Err(wrong(kind, "one size has two roots")) };
    }
    // The old tree's right edge ends in a perfect subtree of 2^level leaves, from which both roots are reached.
    let level = old.trailing_zeros();
    let (inner, border) = shape(old - 1, new);
    let (inner, index) = (inner - level.min(inner), (old - 1) >> level);
    let perfect = old.is_power_of_two();
    check_length(kind, proof.len(), inner + border + u32::from(!perfect))?;
    let (seed, path) = if perfect {
        (old_root, proof)
    } else {
        proof.split_first().ok_or_else(|| wrong(kind, "the proof is too short"))?
    };
    let mut earlier = *seed;
    for (place, sibling) in (0..).zip(path) {
        // Only what stands to the left was there already.
        if place >= inner || (index >> place) & 1 == 1 {
            earlier = node_hash(sibling, &earlier);
        }
    }
    if earlier != *old_root {
        return Err(wrong(kind, "the proof leads to another root for the earlier state"));
    }
    if climb(*seed, index, inner, path) != *new_root {
        return Err(wrong(kind, "the proof leads to another root for the later state"));
    }
    Ok(())
}

/// The last path that was followed. Records of one export stand near each other, so that most of their paths are
/// the same: what was hashed for the last one is not hashed again, but every hash of every proof is compared.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    index: u64,
    size: u64,
    root: Hash,
    siblings: Vec<Hash>,
    /// The node at each level of the last path, the leaf first.
    nodes: Vec<Hash>,
}

impl Paths {
    /// The same as [`check_inclusion`].
    pub(crate) fn check(
        &mut self,
        data: &Hash,
        index: u64,
        size: u64,
        proof: &[Hash],
        root: &Hash,
    ) -> Result<(), Failure> {
        if index >= size || self.nodes.is_empty() || self.size != size || self.root != *root {
            return self.check_anew(data, index, size, proof, root);
        }
        let (inner, border) = shape(index, size);
        check_length(Kind::Inclusion, proof.len(), inner + border)?;
        let apart = u64::BITS - (index ^ self.index).leading_zeros();
        let level = usize::try_from(apart).unwrap_or(PATH_MAX);
        // Both paths are one from this level on only where neither has left out a level below it.
        let (known_inner, _) = shape(self.index, size);
        if apart > inner
            || apart > known_inner
            || level >= self.nodes.len()
            || proof.get(level..) != self.siblings.get(level..)
        {
            return self.check_anew(data, index, size, proof, root);
        }
        let mut nodes = [[0; 32]; PATH_MAX];
        let mut hash = leaf_hash(data);
        for (at, sibling) in proof[..level].iter().enumerate() {
            nodes[at] = hash;
            hash = if (index >> at) & 1 == 0 {
                node_hash(&hash, sibling)
            } else {
                node_hash(sibling, &hash)
            };
        }
        if hash != self.nodes[level] {
            return Err(wrong(Kind::Inclusion, "the leaf and the proof lead to another root"));
        }
        self.nodes[..level].copy_from_slice(&nodes[..level]);
        self.siblings[..level].copy_from_slice(&proof[..level]);
        self.index = index;
        Ok(())
    }

    fn check_anew(
        &mut self,
        data: &Hash,
        index: u64,
        size: u64,
        proof: &[Hash],
        root: &Hash,
    ) -> Result<(), Failure> {
        check_inclusion(data, index, size, proof, root)?;
        let (inner, _) = shape(index, size);
        self.nodes.clear();
        let mut hash = leaf_hash(data);
        self.nodes.push(hash);
        for (place, sibling) in (0..).zip(proof) {
            hash = climb(hash, index >> place, inner.saturating_sub(place).min(1), &[*sibling]);
            self.nodes.push(hash);
        }
        self.siblings.clear();
        self.siblings.extend_from_slice(proof);
        (self.index, self.size, self.root) = (index, size, *root);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
