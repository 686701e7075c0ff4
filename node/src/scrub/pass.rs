//! One reading of everything that a group holds here, in steps, at one pinned moment.
//!
//! ```text
//! leaf entry ─► record ─► chain of its outlet ─► signature ─► row of its position
//!      └─► hash ─► tree ─► kept nodes, root ─► the root that the group's row commits to
//! ```
//!
//! Invariant: memory grows with the number of outlets and of damaged things, the latter bounded; never
//! with the journal. Non-goals: asking peers and writing, which `mend` does.

use std::collections::BTreeMap;
use std::sync::Arc;

use ed25519_dalek::{Signature, VerifyingKey};
use fiscus_ledger::hash::{Hash32, ZERO_HASH, hex};
use fiscus_ledger::record::Record;
use fiscus_ledger::tree::CompactRange;
use fiscus_raft::index::IndexError;
use fiscus_raft::store::{Content, Examined, KEPT_HEIGHTS, Reading, Replica, StoreError};

/// Leaves of a step, after which progress is told and others may run.
pub(super) const STEP_LEAVES: u64 = 5_000;
/// With more damage than this, a replica is taken anew as a whole.
pub(super) const DAMAGE_MAX: usize = 50_000;
/// Rows of the index read at once.
const ROWS: usize = 5_000;
/// A leaf that is no record has no signature; its place holds zeros.
const NO_SIGNATURE: [u8; 64] = [0; 64];

/// Something of a leaf that is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Its entry or its record.
    Leaf,
    /// Its signature.
    Signature,
}

/// A damaged leaf, and what a sound copy of it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) leaf: u64,
    pub(super) what: What,
    /// The hash that went into the tree.
    pub(super) hash: Hash32,
    /// Where its record begins.
    pub(super) offset: Option<u64>,
    /// Where the next one begins.
    pub(super) next: Option<u64>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stepped {
    /// There is more.
    More,
    /// The hash of this leaf is not known here: a candidate is wanted, or none.
    Stuck(u64),
    /// All leaves were read.
    End,
}

/// The last record of an outlet.
#[derive(Debug, Clone, Copy)]
struct Head {
    position: u64,
    hash: Hash32,
    /// How many records had been unreadable by then.
    holes: u64,
}

/// One reading.
#[derive(Debug)]
pub(super) struct Pass {
    replica: Arc<Replica>,
    group: u64,
    pub(super) leaves: u64,
    signatures: u64,
    root: Hash32,
    keys: BTreeMap<String, VerifyingKey>,
    pub(super) next: u64,
    offset: Option<u64>,
    tree: CompactRange,
    /// A leaf whose hash nobody knew: the tree cannot be computed.
    blind: bool,
    chains: BTreeMap<String, Head>,
    holes: u64,
    pub(super) findings: Vec<String>,
    pub(super) damage: Vec<Damage>,
    /// Kept nodes that are not what the leaves make, with what they make.
    pub(super) nodes: Vec<(u32, u64, Hash32)>,
    /// Why the index is not to be believed.
    pub(super) index: Option<String>,
    rows_from: Vec<u8>,
    stuck: Option<Examined>,
}

impl Pass {
    /// Pins the moment.
    pub(super) fn begin(replica: Arc<Replica>) -> Result<Self, StoreError> {
        let reading = replica.inspect()?;
        let (moment, group) = (reading.as_of(), reading.group()?);
        let keys = group.authorities.iter().filter_map(|authority| {
            let key = VerifyingKey::from_bytes(&authority.public_key).ok()?;
            Some((authority.id.to_string(), key))
        });
        Ok(Self {
            group: moment.group,
            leaves: moment.leaves,
            signatures: moment.signatures,
            root: group.tree.root(),
            keys: keys.collect(),
            next: 0,
            offset: Some(0),
            tree: CompactRange::new(),
            blind: false,
            chains: BTreeMap::new(),
            holes: 0,
            findings: Vec::new(),
            damage: Vec::new(),
            nodes: Vec::new(),
            index: None,
            rows_from: Vec::new(),
            stuck: None,
            replica,
        })
    }

    /// The replica that is read.
    pub(super) fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    fn find(&mut self, leaf: u64, place: &dyn std::fmt::Display, what: &str) {
        self.findings.push(format!("group {}, leaf {leaf}, {place}: {what}", self.group));
    }

    fn note(&mut self, damage: Damage) {
        if self.damage.len() <= DAMAGE_MAX {
            self.damage.push(damage);
        }
    }

    /// Reads the next leaves.
    pub(super) fn step(&mut self) -> Result<Stepped, StoreError> {
        let reading = self.replica.inspect()?;
        let end = self.leaves.min(self.next.saturating_add(STEP_LEAVES));
        while self.next < end {
            let examined = reading.examine(self.next, self.offset)?;
            let hash = match (examined.hash, &examined.content) {
                (Some(hash), _) => Some(hash),
                (None, Content::Record(bytes)) => {
                    Record::decode(bytes).ok().map(|record| record.entry_hash)
                }
                (None, _) => None,
            };
            match hash {
                Some(hash) => self.take(&reading, examined, hash)?,
                None => {
                    self.stuck = Some(examined);
                    return Ok(Stepped::Stuck(self.next));
                }
            }
        }
        Ok(if self.next == self.leaves { Stepped::End } else { Stepped::More })
    }

    /// Goes on behind a leaf that could not be read, with a candidate for its hash.
    pub(super) fn supply(&mut self, candidate: Option<Hash32>) -> Result<(), StoreError> {
        let Some(examined) = self.stuck.take() else { return Ok(()) };
        let reading = self.replica.inspect()?;
        match candidate {
            Some(hash) => self.take(&reading, examined, hash),
            None => {
                self.blind = true;
                self.take(&reading, examined, ZERO_HASH)
            }
        }
    }

    fn take(
        &mut self,
        reading: &Reading,
        examined: Examined,
        hash: Hash32,
    ) -> Result<(), StoreError> {
        let leaf = self.next;
        let Examined { hash: known, content, offset, next } = examined;
        if known.is_none() {
            let place = reading.place_of_leaf(leaf);
            self.find(leaf, &place, "the leaf's entry is not what was written");
        }
        if content == Content::Damaged
            && let (Some(_), Some(offset)) = (known, offset)
        {
            let place = reading.place_of_record(offset);
            self.find(leaf, &place, "the record is not what was written");
        }
        if known.is_none() || content == Content::Damaged {
            self.note(Damage { leaf, what: What::Leaf, hash, offset, next });
        }
        self.check_nodes(reading, hash)?;
        match &content {
            Content::Record(bytes) => self.check_record(reading, leaf, bytes, hash)?,
            Content::Other => self.check_signature(reading, leaf, None, hash)?,
            Content::Damaged => self.holes += 1,
        }
        self.offset = next;
        self.next += 1;
        Ok(())
    }

    fn check_nodes(&mut self, reading: &Reading, hash: Hash32) -> Result<(), StoreError> {
        let mut made = Vec::new();
        self.tree.push_with(&hash, |level, index, node| {
            if KEPT_HEIGHTS.contains(&level) {
                made.push((level, index, *node));
            }
        });
        if self.blind {
            return Ok(());
        }
        for (level, index, node) in made {
            if reading.tree_node(level, index)? != Some(node) {
                let place = reading.place_of_node(level, index);
                let what = "the tree's node is not what its leaves make";
                self.find(index << level, &place, what);
                if self.nodes.len() <= DAMAGE_MAX {
                    self.nodes.push((level, index, node));
                }
            }
        }
        Ok(())
    }

    fn check_record(
        &mut self,
        reading: &Reading,
        leaf: u64,
        bytes: &[u8],
        hash: Hash32,
    ) -> Result<(), StoreError> {
        let Ok(record) = Record::decode(bytes) else {
            // It was decoded when it was examined.
            return Ok(());
        };
        self.check_chain(reading, leaf, &record);
        self.check_signature(reading, leaf, Some(record.authority_id), hash)?;
        match reading.leaf_of_position(record.outlet_id, record.position) {
            Ok(Some(found)) if found == leaf => Ok(()),
            Ok(found) => {
                let what = format!(
                    "position {} of outlet {} leads to {found:?}",
                    record.position, record.outlet_id
                );
                self.find(leaf, &reading.index_path().display(), &what);
                self.index = Some(what);
                Ok(())
            }
            Err(error) => self.index_error(error),
        }
    }

    fn check_chain(&mut self, reading: &Reading, leaf: u64, record: &Record<'_>) {
        let first = Head { position: 0, hash: ZERO_HASH, holes: 0 };
        let last = self.chains.get(record.outlet_id).copied().unwrap_or(first);
        let follows = record.position == last.position + 1 && record.prev_hash == last.hash;
        // Records that could not be read may be the ones between.
        let between = record.position.saturating_sub(last.position + 1);
        let bridged = between > 0 && between <= self.holes - last.holes;
        if !follows && !bridged {
            let what = format!(
                "record {} of outlet {} does not follow record {}",
                record.position, record.outlet_id, last.position
            );
            let place = reading.place_of_leaf(leaf);
            self.find(leaf, &place, &what);
        }
        let head = Head { position: record.position, hash: record.entry_hash, holes: self.holes };
        self.chains.insert(record.outlet_id.to_owned(), head);
    }

    fn check_signature(
        &mut self,
        reading: &Reading,
        leaf: u64,
        authority: Option<&str>,
        hash: Hash32,
    ) -> Result<(), StoreError> {
        if leaf >= self.signatures {
            return Ok(());
        }
        let signature = reading.signature(leaf)?;
        let sound = match (authority, signature) {
            (_, None) => false,
            (None, Some(signature)) => signature == NO_SIGNATURE,
            (Some(authority), Some(signature)) => {
                self.keys.get(authority).is_some_and(|key| verifies(key, &hash, &signature))
            }
        };
        if !sound {
            let place = reading.place_of_signature(leaf);
            self.find(leaf, &place, "the signature is not its authority's");
            let (offset, next) = (None, None);
            self.note(Damage { leaf, what: What::Signature, hash, offset, next });
        }
        Ok(())
    }

    /// Damage to the index is a finding; a disk that fails is an error.
    fn index_error(&mut self, error: StoreError) -> Result<(), StoreError> {
        match &error {
            StoreError::Index(IndexError::Damaged { .. }) | StoreError::Row { .. } => {
                if self.index.is_none() {
                    self.findings.push(format!("group {}: {error}", self.group));
                    self.index = Some(error.to_string());
                }
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Whether a signature is an authority's own over a record.
    pub(super) fn is_signed(&self, record: &Record<'_>, signature: &[u8; 64]) -> bool {
        let key = self.keys.get(record.authority_id);
        key.is_some_and(|key| verifies(key, &record.entry_hash, signature))
    }

    /// Whether the leaves, candidates included, are those that the group committed to.
    pub(super) fn is_committed(&self) -> bool {
        !self.blind && self.tree.root() == self.root
    }

    /// Says when the tree is not the committed one.
    pub(super) fn check_root(&mut self) {
        if self.blind {
            let what = "the tree cannot be compared: a leaf's hash is not known";
            self.findings.push(format!("group {}: {what}", self.group));
        } else if !self.is_committed() {
            self.findings.push(format!(
                "group {}: the root of {} leaves is {}, the state says {}",
                self.group,
                self.leaves,
                hex(&self.tree.root()),
                hex(&self.root)
            ));
        }
    }

    /// Reads the next rows of the index, which checks them. Says whether there are more.
    pub(super) fn step_rows(&mut self) -> Result<bool, StoreError> {
        if self.index.is_some() {
            return Ok(false);
        }
        let rows = self.replica.inspect()?.check_rows(&self.rows_from, ROWS);
        match rows {
            Ok(None) => Ok(false),
            Ok(Some(next)) => {
                self.rows_from = next;
                Ok(true)
            }
            Err(error) => self.index_error(error).map(|()| false),
        }
    }

    /// Compares the outlets' rows with the ends of their chains. Rows may have moved on meanwhile.
    pub(super) fn check_outlets(&mut self) -> Result<(), StoreError> {
        if self.index.is_some() || self.holes > 0 {
            return Ok(());
        }
        let reading = self.replica.inspect()?;
        let group = reading.group()?;
        let own = group.chain_id();
        for (outlet, head) in std::mem::take(&mut self.chains) {
            let chain = if *own == *outlet {
                Some(group.chain.clone())
            } else {
                match reading.outlet(&outlet) {
                    Ok(row) => row.map(|row| row.chain),
                    Err(error) => return self.index_error(error),
                }
            };
            let sound = chain.is_some_and(|chain| {
                chain.last_position > head.position
                    || (chain.last_position == head.position && chain.head == head.hash)
            });
            if !sound {
                let what = format!("outlet {outlet} does not end at record {}", head.position);
                let path = reading.index_path();
                self.findings.push(format!("group {}, {}: {what}", self.group, path.display()));
                self.index = Some(what);
            }
        }
        Ok(())
    }
}

fn verifies(key: &VerifyingKey, hash: &Hash32, signature: &[u8; 64]) -> bool {
    key.verify_strict(hash, &Signature::from_bytes(signature)).is_ok()
}
