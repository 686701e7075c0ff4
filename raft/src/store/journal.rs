//! The journal of one group on disk: records, leaves, the tree's upper levels, signatures.
//!
//! | run | one entry | for |
//! |---|---|---|
//! | `journal` | `u32 bytes ‖ u32 CRC-32C ‖ u64 leaf ‖ record` | the records, in commit order |
//! | `leaves` | `32 hash ‖ u64 offset ‖ u32 bytes ‖ u32 CRC-32C` | leaf → hash and place of its record |
//! | `tree-08`, `tree-16`, `tree-24` | `32 hash ‖ u32 CRC-32C` | the tree's nodes at these heights |
//! | `signatures` | `64 bytes ‖ u32 CRC-32C` | leaf → signature; zeros for a leaf that is not a record |
//!
//! Nothing read here is trusted: a record's checksum, its own hash and its leaf are compared before it
//! is handed out, so that a flipped bit is an error with a place, never an answer. The checksum of a node
//! or a signature covers its number, too.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fiscus_ledger::apply::Effects;
use fiscus_ledger::hash::{Hash32, Tagged};
use fiscus_ledger::record::Record;

use crate::disk::Disk;
use crate::store::replica::ReplicaOptions;
use crate::store::series::{PieceName, Series, SeriesError, SeriesKind};

/// Bytes before a record: length, checksum, leaf.
pub(crate) const FRAME_BYTES: usize = 16;
/// Bytes of a leaf's entry.
pub(crate) const LEAF_BYTES: u64 = 48;
/// Bytes of a signature's entry.
pub(crate) const SIGNATURE_BYTES: u64 = 68;
/// Bytes of a node's entry.
pub(crate) const NODE_BYTES: u64 = 36;
/// The heights of the tree whose nodes are kept; those between are made from them.
pub(crate) const TREE_HEIGHTS: [u32; 3] = [8, 16, 24];
pub(crate) const TREE_NAMES: [&str; 3] = ["tree-08", "tree-16", "tree-24"];
/// A file of records is sealed at this length.
pub(crate) const JOURNAL_FILE_BYTES: u64 = 64 << 20;
/// A file of leaves, nodes or signatures is sealed at so many of them.
pub(crate) const SIDE_FILE_ENTRIES: u64 = 1 << 16;

/// How far each run reaches; stored with the state that it belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lengths {
    /// Bytes of records.
    pub journal: u64,
    /// Leaves of the tree.
    pub leaves: u64,
    /// Leaves that have their signature.
    pub signatures: u64,
}

/// A leaf's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafEntry {
    /// The leaf's data.
    pub hash: Hash32,
    /// Where the record's frame begins; meaningless for a leaf that is not a record.
    pub(crate) offset: u64,
    /// The frame's length; 0 for a leaf that is not a record.
    pub(crate) bytes: u32,
}

impl LeafEntry {
    /// Whether the leaf is a journal record; otherwise it is a root of the heads tree.
    #[must_use]
    pub fn is_record(&self) -> bool {
        self.bytes > 0
    }

    /// Where the record's frame begins; for a leaf that is not a record, where the next one's does.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the next record's frame begins.
    pub(crate) fn end(&self) -> u64 {
        self.offset + u64::from(self.bytes)
    }

    fn encode(&self) -> [u8; LEAF_BYTES as usize] {
        let mut entry = [0; LEAF_BYTES as usize];
        entry[..32].copy_from_slice(&self.hash);
        entry[32..40].copy_from_slice(&self.offset.to_le_bytes());
        entry[40..44].copy_from_slice(&self.bytes.to_le_bytes());
        let crc = crc32c::crc32c(&entry[..44]);
        entry[44..].copy_from_slice(&crc.to_le_bytes());
        entry
    }

    pub(crate) fn decode(entry: &[u8]) -> Option<Self> {
        let crc = u32::from_le_bytes(entry[44..48].try_into().ok()?);
        (crc32c::crc32c(&entry[..44]) == crc).then_some(())?;
        Some(Self {
            hash: entry[..32].try_into().ok()?,
            offset: u64::from_le_bytes(entry[32..40].try_into().ok()?),
            bytes: u32::from_le_bytes(entry[40..44].try_into().ok()?),
        })
    }
}

/// Something of the journal that stands in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// A leaf's entry.
    Leaf(u64),
    /// The record at an offset.
    Record(u64),
    /// A leaf's signature.
    Signature(u64),
    /// A node at a kept height.
    Node(u32, u64),
}

/// The journal of one group.
#[derive(Debug)]
pub struct Journal {
    records: Series,
    leaves: Series,
    tree: [Series; 3],
    signatures: Series,
}

impl Journal {
    /// Opens the runs in `dir` and cuts them to what was durable.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        options: &ReplicaOptions,
        lengths: Lengths,
    ) -> Result<Self, SeriesError> {
        let entries = options.side_file_entries;
        let open = |name: &'static str, file_bytes: u64, end: u64| {
            let identity = run_identity(name, &options.cluster, options.group);
            Series::open(disk.clone(), dir, SeriesKind { name, file_bytes, identity }, end)
        };
        let level = |at: usize| {
            let nodes = lengths.leaves >> TREE_HEIGHTS[at];
            open(TREE_NAMES[at], entries * NODE_BYTES, nodes * NODE_BYTES)
        };
        Ok(Self {
            records: open("journal", options.journal_file_bytes, lengths.journal)?,
            leaves: open("leaves", entries * LEAF_BYTES, lengths.leaves * LEAF_BYTES)?,
            tree: [level(0)?, level(1)?, level(2)?],
            signatures: open(
                "signatures",
                entries * SIGNATURE_BYTES,
                lengths.signatures * SIGNATURE_BYTES,
            )?,
        })
    }

    /// How far each run reaches.
    pub fn lengths(&self) -> Lengths {
        Lengths {
            journal: self.records.end(),
            leaves: self.leaves.end() / LEAF_BYTES,
            signatures: self.signatures.end() / SIGNATURE_BYTES,
        }
    }

    /// Appends what an entry did.
    pub(crate) fn append(&self, effects: &Effects) -> Result<(), SeriesError> {
        let start = self.records.end();
        let mut records = Vec::with_capacity(effects.records.len() + effects.leaves.len() * 16);
        let mut leaves = Vec::with_capacity(effects.leaves.len() * LEAF_BYTES as usize);
        for (leaf, index) in effects.leaves.iter().zip(effects.first_leaf..) {
            let offset = start + records.len() as u64;
            let bytes = leaf.record.map_or(0, |(from, to)| {
                push_frame(&mut records, index, &effects.records[from..to])
            });
            leaves.extend_from_slice(&LeafEntry { hash: leaf.hash, offset, bytes }.encode());
        }
        self.records.append(&records)?;
        self.leaves.append(&leaves)?;
        for (series, height) in self.tree.iter().zip(TREE_HEIGHTS) {
            let nodes = effects.nodes.iter().filter(|node| node.level == height);
            let mut entries = Vec::new();
            for node in nodes {
                push_numbered(&mut entries, node.index, &node.hash);
            }
            series.append(&entries)?;
        }
        let mut signatures = Vec::with_capacity(effects.signatures.len() * 68);
        for (signature, leaf) in effects.signatures.iter().zip(effects.signatures_from..) {
            push_numbered(&mut signatures, leaf, signature);
        }
        self.signatures.append(&signatures)?;
        Ok(())
    }

    /// Makes everything appended durable.
    pub(crate) fn sync(&self) -> Result<(), SeriesError> {
        self.records.sync()?;
        self.leaves.sync()?;
        for series in &self.tree {
            series.sync()?;
        }
        self.signatures.sync()
    }

    /// A leaf's entry; `None` behind the end.
    pub fn leaf(&self, leaf: u64) -> Result<Option<LeafEntry>, SeriesError> {
        let Some(offset) = leaf.checked_mul(LEAF_BYTES) else { return Ok(None) };
        let Some(bytes) = self.leaves.read(offset, LEAF_BYTES as usize)? else { return Ok(None) };
        match LeafEntry::decode(&bytes) {
            Some(entry) => Ok(Some(entry)),
            None => Err(damaged(&self.leaves, offset, &format!("the entry of leaf {leaf}"))),
        }
    }

    /// What neighbouring leaves hold, in one read.
    pub(crate) fn leaf_hashes(&self, first: u64, count: u64) -> Result<Vec<Hash32>, SeriesError> {
        let what = format!("one of {count} leaves from {first} on");
        let decode = |_, entry: &[u8]| LeafEntry::decode(entry).map(|entry| entry.hash);
        neighbours(&self.leaves, LEAF_BYTES, first..first + count, decode, &what)
    }

    /// Neighbouring nodes of a kept height, in one read.
    pub(crate) fn tree_nodes(
        &self,
        height: u32,
        first: u64,
        count: u64,
    ) -> Result<Vec<Hash32>, SeriesError> {
        let at = TREE_HEIGHTS.iter().position(|kept| *kept == height);
        let series = &self.tree[at.expect("only kept heights are asked for")];
        let what = format!("one of {count} nodes of height {height} from {first} on");
        let decode = |number, entry: &[u8]| open_numbered::<32>(entry, number);
        neighbours(series, NODE_BYTES, first..first + count, decode, &what)
    }

    /// A record in its stored form, checked; `None` for a leaf that is not a record, or behind the end.
    pub fn record(&self, leaf: u64) -> Result<Option<Vec<u8>>, SeriesError> {
        let Some(entry) = self.leaf(leaf)?.filter(LeafEntry::is_record) else { return Ok(None) };
        let what = || format!("the record of leaf {leaf}");
        let frame = self.records.read(entry.offset, entry.bytes as usize)?;
        let Some(frame) = frame else {
            return Err(damaged(&self.leaves, leaf * LEAF_BYTES, &what()));
        };
        let body = open_frame(&frame, leaf);
        let sound = body.and_then(|body| Record::decode(body).ok());
        if sound.is_none_or(|record| record.entry_hash != entry.hash || record.leaf_index != leaf) {
            return Err(damaged(&self.records, entry.offset, &what()));
        }
        Ok(Some(frame[FRAME_BYTES..].to_vec()))
    }

    /// A signature; `None` when there is none yet.
    pub fn signature(&self, leaf: u64) -> Result<Option<[u8; 64]>, SeriesError> {
        let Some(offset) = leaf.checked_mul(SIGNATURE_BYTES) else { return Ok(None) };
        numbered(&self.signatures, offset, leaf, &format!("the signature of leaf {leaf}"))
    }

    /// A kept node of the tree; `height` is one of `TREE_HEIGHTS`.
    pub fn tree_node(&self, height: u32, index: u64) -> Result<Option<Hash32>, SeriesError> {
        let Some(at) = TREE_HEIGHTS.iter().position(|kept| *kept == height) else {
            return Ok(None);
        };
        let Some(offset) = index.checked_mul(NODE_BYTES) else { return Ok(None) };
        numbered(&self.tree[at], offset, index, &format!("the node {index} of height {height}"))
    }

    /// Puts a record and its leaf's entry right, from a sound copy.
    pub(crate) fn mend_record(
        &self,
        leaf: u64,
        hash: Hash32,
        offset: u64,
        record: Option<&[u8]>,
    ) -> Result<u64, SeriesError> {
        let mut frame = Vec::new();
        let bytes = record.map_or(0, |record| push_frame(&mut frame, leaf, record));
        if !frame.is_empty() {
            self.records.mend(offset, &frame)?;
        }
        let entry = LeafEntry { hash, offset, bytes };
        self.leaves.mend(leaf * LEAF_BYTES, &entry.encode())?;
        Ok(offset + u64::from(bytes))
    }

    /// Puts a signature right.
    pub(crate) fn mend_signature(
        &self,
        leaf: u64,
        signature: &[u8; 64],
    ) -> Result<(), SeriesError> {
        let mut entry = Vec::new();
        push_numbered(&mut entry, leaf, signature);
        self.signatures.mend(leaf * SIGNATURE_BYTES, &entry)
    }

    /// Puts a node of the tree right.
    pub(crate) fn mend_node(
        &self,
        height: u32,
        index: u64,
        node: &Hash32,
    ) -> Result<(), SeriesError> {
        let at = TREE_HEIGHTS.iter().position(|kept| *kept == height);
        let mut entry = Vec::new();
        push_numbered(&mut entry, index, node);
        self.tree[at.expect("only kept heights are mended")].mend(index * NODE_BYTES, &entry)
    }

    /// The file and the byte where something stands.
    pub(crate) fn place(&self, part: Part) -> (PathBuf, u64) {
        match part {
            Part::Leaf(leaf) => self.leaves.place(leaf * LEAF_BYTES),
            Part::Record(offset) => self.records.place(offset),
            Part::Signature(leaf) => self.signatures.place(leaf * SIGNATURE_BYTES),
            Part::Node(height, index) => {
                let at = TREE_HEIGHTS.iter().position(|kept| *kept == height);
                self.tree[at.expect("only kept heights are asked for")].place(index * NODE_BYTES)
            }
        }
    }

    /// The record whose frame begins at `offset`, found without the leaf's entry.
    pub(crate) fn frame_at(&self, offset: u64, leaf: u64) -> Result<Option<Vec<u8>>, SeriesError> {
        let Some(head) = self.records.read(offset, FRAME_BYTES)? else { return Ok(None) };
        let bytes = u32::from_le_bytes(head[..4].try_into().expect("the head has 16 bytes"));
        let left = self.records.end().saturating_sub(offset + FRAME_BYTES as u64);
        if u64::from(bytes) > left {
            return Ok(None);
        }
        let frame = self.records.read(offset, FRAME_BYTES + bytes as usize)?;
        Ok(frame.and_then(|frame| open_frame(&frame, leaf).map(<[u8]>::to_vec)))
    }

    /// How long the frame of a record is.
    pub(crate) fn frame_bytes(&self, record: &[u8]) -> u64 {
        (FRAME_BYTES + record.len()) as u64
    }

    /// The files of all runs.
    pub(crate) fn pieces(&self) -> Vec<PieceName> {
        let runs = [&self.records, &self.leaves].into_iter();
        let runs = runs.chain(&self.tree).chain([&self.signatures]);
        runs.flat_map(Series::pieces).collect()
    }
}

/// What the header of each file of a run names, so that files of another group are refused.
pub(crate) fn run_identity(name: &str, cluster: &str, group: u64) -> Hash32 {
    Tagged::new("fiscus/series/v1").str(name).str(cluster).u64(group).finish()
}

fn push_frame(out: &mut Vec<u8>, leaf: u64, record: &[u8]) -> u32 {
    let bytes = u32::try_from(record.len()).expect("an entry's records are within its byte limit");
    let crc = crc32c::crc32c_append(crc32c::crc32c(&leaf.to_le_bytes()), record);
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&leaf.to_le_bytes());
    out.extend_from_slice(record);
    bytes + FRAME_BYTES as u32
}

pub(crate) fn open_frame(frame: &[u8], leaf: u64) -> Option<&[u8]> {
    let (head, body) = frame.split_at_checked(FRAME_BYTES)?;
    let bytes = u32::from_le_bytes(head[..4].try_into().ok()?);
    let crc = u32::from_le_bytes(head[4..8].try_into().ok()?);
    let sound = bytes as usize == body.len()
        && head[8..] == leaf.to_le_bytes()
        && crc32c::crc32c_append(crc32c::crc32c(&leaf.to_le_bytes()), body) == crc;
    sound.then_some(body)
}

fn push_numbered(out: &mut Vec<u8>, number: u64, body: &[u8]) {
    out.extend_from_slice(body);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), body);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// Reads an entry of a fixed length and compares its checksum; `None` behind the end.
fn numbered<const BYTES: usize>(
    series: &Series,
    offset: u64,
    number: u64,
    what: &str,
) -> Result<Option<[u8; BYTES]>, SeriesError> {
    let Some(entry) = series.read(offset, BYTES + 4)? else { return Ok(None) };
    match open_numbered(&entry, number) {
        Some(body) => Ok(Some(body)),
        None => Err(damaged(series, offset, what)),
    }
}

/// Reads neighbouring entries of a fixed length at once; all of them are there.
fn neighbours(
    series: &Series,
    entry_bytes: u64,
    numbers: Range<u64>,
    decode: impl Fn(u64, &[u8]) -> Option<Hash32>,
    what: &str,
) -> Result<Vec<Hash32>, SeriesError> {
    let offset = numbers.start * entry_bytes;
    let bytes = usize::try_from((numbers.end - numbers.start) * entry_bytes);
    let entries = series.read(offset, bytes.expect("neighbours are few"))?;
    let entries = entries.ok_or_else(|| damaged(series, offset, what))?;
    let each = usize::try_from(entry_bytes).expect("an entry is small");
    let decoded = numbers.zip(entries.chunks_exact(each));
    let decoded: Option<_> = decoded.map(|(number, entry)| decode(number, entry)).collect();
    decoded.ok_or_else(|| damaged(series, offset, what))
}

/// What an entry of a fixed length holds, when its checksum is right.
pub(crate) fn open_numbered<const BYTES: usize>(entry: &[u8], number: u64) -> Option<[u8; BYTES]> {
    let (body, _) = entry.split_first_chunk::<BYTES>()?;
    let mut wanted = Vec::with_capacity(BYTES + 4);
    push_numbered(&mut wanted, number, body);
    (wanted == entry).then_some(*body)
}

fn damaged(series: &Series, offset: u64, what: &str) -> SeriesError {
    let (path, at) = series.place(offset);
    SeriesError::Damaged { path, what: format!("{what}, at byte {at}, is not what was written") }
}

#[cfg(test)]
mod tests;
