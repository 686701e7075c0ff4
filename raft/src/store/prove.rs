//! Proofs of the group's tree, made of what the journal keeps of it.
//!
//! Of every eight heights one is kept, and each node of a kept height stands above 256 of the one below.
//! A proof needs one such family at each kept height: read at once, and folded. Invariant: what is read is
//! as many families as the tree has kept heights, whatever its size; families of leaves that are asked for
//! together are read once.

use std::cell::RefCell;
use std::collections::BTreeMap;

use fiscus_ledger::hash::Hash32;
use fiscus_ledger::tree::{ProveError, consistency_proof, inclusion_proof, leaf_hash, node_hash};

use crate::store::journal::TREE_HEIGHTS;
use crate::store::read::Reading;
use crate::store::replica::StoreError;

/// Heights between two that are kept.
const STEP: u32 = 8;
/// Families that are kept at hand while many proofs are made.
const FAMILIES_MAX: usize = 256;

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The tree cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such leaf, or no such size.
    #[error(transparent)]
    Prove(#[from] ProveError),
    /// The tree has not come to this size.
    #[error("a tree of {size} leaves was asked for; there are {leaves}")]
    Size {
        /// The size asked for.
        size: u64,
        /// The leaves that there are.
        leaves: u64,
    },
}

/// The nodes above up to 256 neighbours of a kept height, height by height.
type Family = Vec<Vec<Hash32>>;

/// Reads nodes of any height.
struct Nodes<'r> {
    reading: &'r Reading,
    /// By the height of their lowest nodes and their number.
    families: RefCell<BTreeMap<(u32, u64), Family>>,
    failure: RefCell<Option<StoreError>>,
}

impl Nodes<'_> {
    fn node(&self, level: u32, index: u64) -> Option<Hash32> {
        let base = (level / STEP * STEP).min(TREE_HEIGHTS[TREE_HEIGHTS.len() - 1]);
        let above = level - base;
        if above > STEP {
            // Above the highest kept height there are few: each is made of the two below it.
            let left = self.node(level - 1, index * 2)?;
            return Some(node_hash(&left, &self.node(level - 1, index * 2 + 1)?));
        }
        let family = index >> (STEP - above);
        self.load(base, family)?;
        let families = self.families.borrow();
        let row = families.get(&(base, family))?.get(above as usize)?;
        let first = family << (STEP - above);
        row.get(usize::try_from(index - first).ok()?).copied()
    }

    /// Sees to it that a family is at hand.
    fn load(&self, base: u32, family: u64) -> Option<()> {
        let mut families = self.families.borrow_mut();
        if families.contains_key(&(base, family)) {
            return Some(());
        }
        match self.reading.family(base, family) {
            Ok(lowest) => {
                if families.len() >= FAMILIES_MAX {
                    // Those of leaves come first: the ones above are asked for again and again.
                    families.pop_first();
                }
                families.insert((base, family), folded(lowest));
                Some(())
            }
            Err(error) => {
                self.failure.borrow_mut().get_or_insert(error);
                None
            }
        }
    }
}

/// The complete nodes above neighbours.
fn folded(lowest: Vec<Hash32>) -> Family {
    let mut rows = vec![lowest];
    for _ in 0..STEP {
        let below = rows.last().expect("there is the lowest");
        rows.push(below.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect());
    }
    rows
}

impl Reading {
    fn family(&self, base: u32, family: u64) -> Result<Vec<Hash32>, StoreError> {
        let first = family << STEP;
        let there = self.as_of().leaves >> base;
        let count = there.saturating_sub(first).min(1 << STEP);
        let journal = &self.open_state().journal;
        let nodes = if base == 0 {
            let leaves = journal.leaf_hashes(first, count);
            leaves.map(|leaves| leaves.iter().map(leaf_hash).collect())
        } else {
            journal.tree_nodes(base, first, count)
        };
        self.noting(nodes.map_err(StoreError::from))
    }

    fn nodes(&self, size: u64) -> Result<Nodes<'_>, ProofError> {
        let leaves = self.as_of().leaves;
        if size > leaves {
            return Err(ProofError::Size { size, leaves });
        }
        let (families, failure) = (RefCell::default(), RefCell::default());
        Ok(Nodes { reading: self, families, failure })
    }

    /// Proves that leaves are in the tree of `size` leaves: for each the hashes, nearest the leaf first.
    pub fn prove_inclusion(
        &self,
        leaves: &[u64],
        size: u64,
    ) -> Result<Vec<Vec<Hash32>>, ProofError> {
        let nodes = self.nodes(size)?;
        let prove = |leaf: &u64| inclusion_proof(size, *leaf, &|level, at| nodes.node(level, at));
        let proofs: Result<_, ProveError> = leaves.iter().map(prove).collect();
        finished(&nodes, proofs)
    }

    /// Proves that the tree of `size` leaves begins with the one of `from_size`.
    pub fn prove_consistency(&self, from_size: u64, size: u64) -> Result<Vec<Hash32>, ProofError> {
        let nodes = self.nodes(size)?;
        let proof = consistency_proof(from_size, size, &|level, at| nodes.node(level, at));
        finished(&nodes, proof)
    }
}

/// So many nodes, or leaves, make a whole tile.
pub const TILE_WIDTH: u64 = 1 << STEP;

impl Reading {
    /// The `width` nodes of the height `8 * level` that begin a tile, when all of them are complete in the
    /// tree of `size` leaves.
    pub fn tile(
        &self,
        level: u32,
        index: u64,
        width: u64,
        size: u64,
    ) -> Result<Option<Vec<Hash32>>, ProofError> {
        let height = level.saturating_mul(STEP);
        let complete = size.checked_shr(height).unwrap_or(0);
        let Some(first) = tile_begin(index, width, complete) else { return Ok(None) };
        let nodes = self.nodes(size)?;
        let tile: Option<Vec<Hash32>> =
            (first..first + width).map(|at| nodes.node(height, at)).collect();
        match nodes.failure.take() {
            Some(failure) => Err(failure.into()),
            None => Ok(tile),
        }
    }

    /// The data of the `width` leaves that begin a tile, when the tree of `size` leaves has all of them.
    pub fn tile_entries(
        &self,
        index: u64,
        width: u64,
        size: u64,
    ) -> Result<Option<Vec<Hash32>>, ProofError> {
        let leaves = self.as_of().leaves;
        if size > leaves {
            return Err(ProofError::Size { size, leaves });
        }
        let Some(first) = tile_begin(index, width, size) else { return Ok(None) };
        let read = self.open_state().journal.leaf_hashes(first, width).map_err(StoreError::from);
        Ok(Some(self.noting(read)?))
    }
}

/// Where a tile begins, when it is within what is complete.
fn tile_begin(index: u64, width: u64, complete: u64) -> Option<u64> {
    let first = index.checked_mul(TILE_WIDTH)?;
    let whole = (1..=TILE_WIDTH).contains(&width) && first.checked_add(width)? <= complete;
    whole.then_some(first)
}

/// What failed below is the reason, not that a node is missing because of it.
fn finished<T>(nodes: &Nodes<'_>, proof: Result<T, ProveError>) -> Result<T, ProofError> {
    match nodes.failure.take() {
        Some(failure) => Err(failure.into()),
        None => Ok(proof?),
    }
}
