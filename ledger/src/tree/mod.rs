//! The group tree: the append-only Merkle tree of RFC 6962 over a group's records, in commit order.
//!
//! ```text
//! leaf        = SHA-256(0x00 ‖ leaf data)          leaf data = the 32-byte entry hash of a record,
//!                                                  or a heads leaf (see `heads`)
//! node        = SHA-256(0x01 ‖ left ‖ right)
//! empty tree  = SHA-256("")
//! split       = the largest power of two below the size
//! ```
//!
//! Three parts that know nothing of each other's storage:
//!
//! - [`CompactRange`] appends and knows the root, from nothing but the hashes of the right edge;
//! - [`inclusion_proof`] and [`consistency_proof`] read *complete* nodes, which never change once they
//!   exist: node `(level, index)` covers leaves `index · 2^level .. (index + 1) · 2^level`;
//! - [`verify_inclusion`] and [`verify_consistency`] take a proof of exactly the right length.
//!
//! Non-goals: storing nodes, tiles, and deciding when to sign a root.

mod compact;
mod prove;
mod verify;

#[cfg(test)]
mod tests;

use sha2::{Digest, Sha256};

pub use compact::{CompactRange, LEAVES_MAX};
pub use prove::{ProveError, consistency_proof, inclusion_proof};
pub use verify::{ConsistencyError, InclusionError, verify_consistency, verify_inclusion};

use crate::hash::Hash32;

/// The root of a tree without leaves.
#[must_use]
pub fn empty_root() -> Hash32 {
    Sha256::digest([]).into()
}

/// The hash of a leaf that holds `leaf_data`.
#[must_use]
pub fn leaf_hash(leaf_data: &Hash32) -> Hash32 {
    prefixed_leaf(leaf_data)
}

/// The hash of the node above `left` and `right`.
#[must_use]
pub fn node_hash(left: &Hash32, right: &Hash32) -> Hash32 {
    let mut input = [0; 65];
    input[0] = 1;
    input[1..33].copy_from_slice(left);
    input[33..].copy_from_slice(right);
    Sha256::digest(input).into()
}

/// RFC 6962 allows leaves of any length; this ledger only makes leaves of 32 bytes.
fn prefixed_leaf(leaf_data: &[u8]) -> Hash32 {
    Sha256::new().chain_update([0]).chain_update(leaf_data).finalize().into()
}
