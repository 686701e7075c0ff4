//! The heads tree: one entry per outlet, under one root, so that an outlet's last numbers can be
//! proved, and also that an outlet does not exist.
//!
//! It is a binary trie over `key = SHA-256(outlet id)`, bits taken from the most significant one of
//! byte 0 onwards, in which every inner node has two children (paths without a branch are skipped).
//!
//! ```text
//! contents = H("fiscus/heads-contents/v1", str outlet_id, u64 last position,
//!              u64 number of series, (str series code, u64 last number) per series by code,
//!              h32 chain head, h32 perpetual digest)
//! entry = H("fiscus/heads-entry/v1", h32 key, h32 contents)
//! node  = H("fiscus/heads-node/v1", u64 depth, h32 prefix, h32 left, h32 right)
//! empty = H("fiscus/heads-empty/v1")                                 the root without outlets
//! leaf  = H("fiscus/heads-leaf/v1", str cluster, u64 group, u64 leaf index, h32 root)
//! ```
//!
//! `depth` is the number of leading bits that all keys below the node share, which is also the
//! position of the bit that tells left (0) from right (1). `prefix` is those bits; the others are
//! zero. Because the prefix is part of the hash, a node shows which keys cannot be below it.
//! Because an entry hashes its contents apart, a proof can show whose key stands somewhere without
//! showing that outlet's figures; the chain head in the contents keeps them from being guessed.
//! `leaf` is the leaf data under which a root enters the group tree.
//!
//! Invariants: the root depends on the entries alone, never on the order in which they came; a clone
//! shares every node; an update hashes each changed node once.
//!
//! Non-goals: deleting outlets (they never are), and persistence: entries are stored rows, and the
//! trie is rebuilt from them.

mod proof;
mod trie;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

pub use proof::{HeadsProof, HeadsProofError, HeadsVerdict};
pub use trie::{HeadsIter, HeadsTrie};

use crate::codec::{DecodeError, Reader, Writer};
use crate::hash::{Hash32, Tagged};

/// What the heads tree says about an outlet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadEntry {
    last_position: u64,
    series: Vec<(String, u64)>,
    chain_head: Hash32,
    perpetual_digest: Hash32,
}

impl HeadEntry {
    /// An entry; `series` gives the last number of each series by its code.
    #[must_use]
    pub fn new(
        last_position: u64,
        series: BTreeMap<String, u64>,
        chain_head: Hash32,
        perpetual_digest: Hash32,
    ) -> Self {
        let series = series.into_iter().collect();
        Self { last_position, series, chain_head, perpetual_digest }
    }

    /// The position of the outlet's last record.
    #[must_use]
    pub fn last_position(&self) -> u64 {
        self.last_position
    }

    /// The last number of each series, sorted by series code, each code once.
    #[must_use]
    pub fn series(&self) -> &[(String, u64)] {
        &self.series
    }

    /// The entry hash of the outlet's last record.
    #[must_use]
    pub fn chain_head(&self) -> &Hash32 {
        &self.chain_head
    }

    /// The digest of the outlet's perpetual totals.
    #[must_use]
    pub fn perpetual_digest(&self) -> &Hash32 {
        &self.perpetual_digest
    }

    /// Writes the entry.
    pub fn encode(&self, writer: &mut Writer) {
        writer.u64(self.last_position).len(self.series.len());
        for (code, last) in &self.series {
            writer.str(code).u64(*last);
        }
        writer.raw(&self.chain_head).raw(&self.perpetual_digest);
    }

    /// Reads what [`Self::encode`] wrote; series out of order or named twice are refused.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let last_position = reader.u64("last position")?;
        let mut series: Vec<(String, u64)> = Vec::new();
        for _ in 0..reader.len("series")? {
            let code = reader.str("series code")?;
            if series.last().is_some_and(|(before, _)| before.as_str() >= code) {
                return Err(DecodeError::Invalid("series"));
            }
            series.push((code.to_owned(), reader.u64("last number")?));
        }
        let chain_head = reader.h32("chain head")?;
        let perpetual_digest = reader.h32("perpetual digest")?;
        Ok(Self { last_position, series, chain_head, perpetual_digest })
    }
}

/// The leaf data under which a heads root stands in its group's tree, at `leaf_index`.
#[must_use]
pub fn heads_leaf(cluster: &str, group: u64, leaf_index: u64, root: &Hash32) -> Hash32 {
    Tagged::new("fiscus/heads-leaf/v1").str(cluster).u64(group).u64(leaf_index).h32(root).finish()
}

/// Where an outlet's entry stands in the trie.
fn outlet_key(outlet_id: &str) -> Hash32 {
    Sha256::digest(outlet_id).into()
}

fn empty_hash() -> Hash32 {
    Tagged::new("fiscus/heads-empty/v1").finish()
}

fn contents_hash(outlet_id: &str, entry: &HeadEntry) -> Hash32 {
    let series_count = u64::try_from(entry.series.len()).expect("lengths fit 64 bits");
    let mut tagged = Tagged::new("fiscus/heads-contents/v1");
    tagged.str(outlet_id).u64(entry.last_position).u64(series_count);
    for (code, last) in &entry.series {
        tagged.str(code).u64(*last);
    }
    tagged.h32(&entry.chain_head).h32(&entry.perpetual_digest).finish()
}

fn entry_hash(key: &Hash32, contents: &Hash32) -> Hash32 {
    Tagged::new("fiscus/heads-entry/v1").h32(key).h32(contents).finish()
}

fn node_hash(depth: u8, prefix: &Hash32, left: &Hash32, right: &Hash32) -> Hash32 {
    let mut tagged = Tagged::new("fiscus/heads-node/v1");
    tagged.u64(u64::from(depth)).h32(prefix).h32(left).h32(right).finish()
}

/// Bit `depth` of a key, the most significant bit of byte 0 first.
fn bit(key: &Hash32, depth: u8) -> bool {
    (key[usize::from(depth / 8)] << (depth % 8)) & 0x80 != 0
}

/// The first `depth` bits of a key, the others zero.
fn prefix(key: &Hash32, depth: u8) -> Hash32 {
    let (whole, split) = (usize::from(depth / 8), depth % 8);
    let mut bits = [0; 32];
    bits[..whole].copy_from_slice(&key[..whole]);
    bits[whole] = key[whole] & !(0xff >> split);
    bits
}

/// The first bit in which two keys differ; `None` when they are equal.
fn first_difference(a: &Hash32, b: &Hash32) -> Option<u8> {
    let mut bytes = (0_u8..32).zip(a.iter().zip(b));
    bytes.find_map(|(place, (a, b))| {
        let zeros = (a ^ b).leading_zeros();
        (a != b).then(|| place * 8 + u8::try_from(zeros).expect("a byte has at most 8 zeros"))
    })
}

/// Whether two keys agree in their first `depth` bits.
fn agree(a: &Hash32, b: &Hash32, depth: u8) -> bool {
    first_difference(a, b).is_none_or(|place| place >= depth)
}
