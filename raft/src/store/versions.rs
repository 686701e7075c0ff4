//! Versions of the heads tree: what each of its roots that is a leaf of the group tree stands for.
//!
//! ```text
//! C3 ‖ u64 leaf                u8 whole ‖ u8 first of its day ‖ u64 time ‖ h32 root ‖ u32 parts ‖ u64 bytes
//! C4 ‖ u64 leaf ‖ u32 part     (str outlet ‖ entry) for all outlets, or for those that have changed
//! ```
//!
//! A version is all outlets, or what has changed since the one before it. The first of each day is whole, and so is one
//! after changes that are together longer than it. Versions are kept for a day, and the first of each day for ever.
//!
//! Invariants: the rows are made of what is applied alone, so that every replica has the same; a version that is read is
//! compared with the root that the log has. Non-goal: versions of the time before this was kept.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Mutex;

use fiscus_ledger::apply::Effects;
use fiscus_ledger::codec::{DecodeError, Reader, Writer};
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::heads::{HeadEntry, HeadsTrie};
use fiscus_ledger::state::group::Group;

use crate::index::{Batch, IndexError, View};
use crate::store::read::Reading;
use crate::store::replica::StoreError;

/// First byte of the rows that say which versions there are.
pub(crate) const VERSION_TABLE: u8 = 0xC3;
/// First byte of the rows that hold them.
pub(crate) const PART_TABLE: u8 = 0xC4;
/// Every version is kept for so long; then the first of each day is.
pub(crate) const KEPT_MS: u64 = 86_400_000;
/// A row holds about so many bytes of entries.
const PART_BYTES: usize = 64 << 10;
/// Changes are never longer than a whole version, or than this.
const CHANGES_BYTES: u64 = 1 << 20;
/// Trees that are kept at hand for those who ask again.
const AT_HAND: usize = 3;

/// A root of the heads tree that is a leaf of the group tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadsVersion {
    /// Its leaf.
    pub leaf: u64,
    /// The group time.
    pub time_ms: u64,
    /// The root.
    pub root: Hash32,
    whole: bool,
    first_of_day: bool,
    parts: u32,
    bytes: u64,
}

impl HeadsVersion {
    fn key(leaf: u64) -> Vec<u8> {
        let mut key = vec![VERSION_TABLE];
        key.extend_from_slice(&leaf.to_be_bytes());
        key
    }

    fn row(&self) -> Vec<u8> {
        let mut row = Writer::new();
        row.bool(self.whole).bool(self.first_of_day).u64(self.time_ms).raw(&self.root);
        row.u32(self.parts).u64(self.bytes);
        row.finish()
    }

    fn read(key: &[u8], row: &[u8]) -> Result<Self, DecodeError> {
        let leaf = key.get(1..).and_then(|leaf| leaf.try_into().ok()).map(u64::from_be_bytes);
        let mut from = Reader::new(row);
        let version = Self {
            leaf: leaf.ok_or(DecodeError::Invalid("heads version key"))?,
            whole: from.bool("heads version whole")?,
            first_of_day: from.bool("heads version first of day")?,
            time_ms: from.u64("heads version time")?,
            root: from.h32("heads version root")?,
            parts: from.u32("heads version parts")?,
            bytes: from.u64("heads version bytes")?,
        };
        from.finish()?;
        Ok(version)
    }
}

fn part_key(leaf: u64, part: u32) -> Vec<u8> {
    let mut key = vec![PART_TABLE];
    key.extend_from_slice(&leaf.to_be_bytes());
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// Why versions cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VersionsError {
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A row.
    #[error(transparent)]
    Row(#[from] DecodeError),
    /// The rows make another tree than the log has committed to.
    #[error("the heads of leaf {leaf} make another root")]
    Root {
        /// The leaf.
        leaf: u64,
    },
}

/// What the apply worker knows of the versions.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    /// Oldest first.
    known: Vec<HeadsVersion>,
    last: HeadsTrie,
}

impl Versions {
    /// Those that an index has.
    pub(crate) fn open(view: &dyn View) -> Result<Self, VersionsError> {
        let known = list(view)?;
        let last = match known.last() {
            Some(last) => tree_at(view, &known, last)?,
            None => HeadsTrie::new(),
        };
        Ok(Self { known, last })
    }

    /// Files the version that an entry has made a leaf of, and forgets those that are too old. Gives the tree.
    pub(crate) fn note(
        &mut self,
        batch: &mut Batch,
        effects: &Effects,
        group: &Group,
    ) -> Option<&HeadsTrie> {
        let place = effects.leaves.iter().position(|leaf| leaf.record.is_none())?;
        let (leaf, time_ms) = (effects.first_leaf + place as u64, group.time.get());
        let day = |time_ms: u64| time_ms / KEPT_MS;
        let first_of_day = self.known.last().is_none_or(|last| day(last.time_ms) != day(time_ms));
        let changes = self.known.iter().rev().take_while(|version| !version.whole);
        let changes: u64 = changes.map(|version| version.bytes).sum();
        let whole = self.known.iter().rev().find(|version| version.whole);
        let longest = whole.map_or(0, |whole| whole.bytes).max(CHANGES_BYTES);
        let whole = first_of_day || changes > longest;
        let mut parts = Parts { batch, leaf, count: 0, bytes: 0, open: Writer::new() };
        if whole {
            group.heads.iter().for_each(|(outlet, entry)| parts.push(outlet, entry));
        } else {
            let changed = group.heads.changed_since(&self.last);
            changed.into_iter().for_each(|(outlet, entry)| parts.push(outlet, entry));
        }
        let (parts, bytes) = parts.finish();
        let root = group.heads.root();
        let version = HeadsVersion { leaf, time_ms, root, whole, first_of_day, parts, bytes };
        batch.put(HeadsVersion::key(leaf), version.row());
        self.known.push(version);
        self.forget(batch, time_ms);
        self.last = group.heads.clone();
        Some(&self.last)
    }

    /// Forgets what is older than a day and no younger version is made of.
    fn forget(&mut self, batch: &mut Batch, now_ms: u64) {
        let young =
            self.known.partition_point(|known| known.time_ms.saturating_add(KEPT_MS) <= now_ms);
        let mut needed = self.known[..young.min(self.known.len() - 1) + 1].iter();
        let needed = needed.rposition(|version| version.whole).unwrap_or(0);
        let mut at = 0;
        self.known.retain(|version| {
            let keep = at >= needed || version.first_of_day;
            at += 1;
            if !keep {
                batch.delete(HeadsVersion::key(version.leaf));
                (0..version.parts).for_each(|part| {
                    batch.delete(part_key(version.leaf, part));
                });
            }
            keep
        });
    }
}

/// The entries of a version on their way into rows.
struct Parts<'b> {
    batch: &'b mut Batch,
    leaf: u64,
    count: u32,
    bytes: u64,
    open: Writer,
}

impl Parts<'_> {
    fn push(&mut self, outlet: &str, entry: &HeadEntry) {
        self.open.str(outlet);
        entry.encode(&mut self.open);
        if self.open.as_bytes().len() >= PART_BYTES {
            self.close();
        }
    }

    fn close(&mut self) {
        let part = std::mem::take(&mut self.open).finish();
        self.bytes += part.len() as u64;
        self.batch.put(part_key(self.leaf, self.count), part);
        self.count += 1;
    }

    fn finish(mut self) -> (u32, u64) {
        if !self.open.as_bytes().is_empty() {
            self.close();
        }
        (self.count, self.bytes)
    }
}

type Heads = BTreeMap<String, HeadEntry>;

fn read_part(row: &[u8], heads: &mut Heads) -> Result<(), DecodeError> {
    let mut from = Reader::new(row);
    while !from.is_empty() {
        let outlet = from.str("heads outlet")?.to_owned();
        heads.insert(outlet, HeadEntry::decode(&mut from)?);
    }
    Ok(())
}

/// The versions that there are, oldest first.
fn list(view: &dyn View) -> Result<Vec<HeadsVersion>, VersionsError> {
    let mut known = Vec::new();
    scan(view, &[VERSION_TABLE], &[VERSION_TABLE + 1], |key, row| {
        known.push(HeadsVersion::read(key, row)?);
        Ok(())
    })?;
    Ok(known)
}

fn scan(
    view: &dyn View,
    from: &[u8],
    to: &[u8],
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), DecodeError>,
) -> Result<(), VersionsError> {
    let mut wrong = None;
    let _end = view.scan(from, Some(to), &mut |key, row| match take(key, row) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            wrong = Some(error);
            ControlFlow::Break(())
        }
    })?;
    wrong.map_or(Ok(()), |error| Err(error.into()))
}

/// The tree of a version: the whole one before it, and the changes up to it.
fn tree_at(
    view: &dyn View,
    known: &[HeadsVersion],
    version: &HeadsVersion,
) -> Result<HeadsTrie, VersionsError> {
    let mut before = known.iter().rev().skip_while(|known| known.leaf > version.leaf);
    let whole = before.find(|known| known.whole).unwrap_or(version);
    let mut heads = Heads::new();
    let (from, to) = (part_key(whole.leaf, 0), part_key(version.leaf + 1, 0));
    scan(view, &from, &to, |_, row| read_part(row, &mut heads))?;
    let mut tree = HeadsTrie::new();
    tree.update(heads.iter().map(|(outlet, entry)| (outlet.as_str(), entry.clone())));
    if tree.root() != version.root {
        return Err(VersionsError::Root { leaf: version.leaf });
    }
    Ok(tree)
}

/// Trees of versions by their roots: whoever proves something of one usually asks for more of it.
#[derive(Debug, Default)]
pub(crate) struct AtHand(Mutex<VecDeque<HeadsTrie>>);

impl AtHand {
    pub(crate) fn get(&self, root: &Hash32) -> Option<HeadsTrie> {
        let known = self.0.lock().expect("no holder panics");
        known.iter().find(|tree| tree.root() == *root).cloned()
    }

    pub(crate) fn keep(&self, tree: &HeadsTrie) {
        let mut known = self.0.lock().expect("no holder panics");
        known.retain(|other| other.root() != tree.root());
        known.push_back(tree.clone());
        if known.len() > AT_HAND {
            known.pop_front();
        }
    }
}

impl Reading {
    /// The kept versions of the heads tree, oldest first.
    pub fn heads_versions(&self) -> Result<Vec<HeadsVersion>, StoreError> {
        list(self.view()).map_err(|error| self.no_versions(error))
    }

    /// The heads tree of one of the kept versions.
    pub fn heads_at(
        &self,
        known: &[HeadsVersion],
        version: &HeadsVersion,
    ) -> Result<HeadsTrie, StoreError> {
        if let Some(tree) = self.at_hand().get(&version.root) {
            return Ok(tree);
        }
        let tree = tree_at(self.view(), known, version).map_err(|error| self.no_versions(error))?;
        self.at_hand().keep(&tree);
        Ok(tree)
    }

    fn no_versions(&self, error: VersionsError) -> StoreError {
        match error {
            VersionsError::Index(error) => {
                let error = StoreError::from(error);
                self.note_harm(&error);
                error
            }
            other => self.unreadable("heads version", &other.to_string()),
        }
    }
}

/// Compares the versions in a backup with their roots, row after row in the order of their keys.
#[derive(Debug, Default)]
pub(crate) struct VersionsCheck {
    known: VecDeque<HeadsVersion>,
    parts: u32,
    heads: HeadsTrie,
    /// The roots by their leaves.
    pub(crate) roots: BTreeMap<u64, Hash32>,
}

impl VersionsCheck {
    /// Takes a row that says which version there is.
    pub(crate) fn take_version(&mut self, key: &[u8], row: &[u8]) -> Result<(), String> {
        let version = HeadsVersion::read(key, row).map_err(|error| error.to_string())?;
        self.roots.insert(version.leaf, version.root);
        self.known.push_back(version);
        Ok(())
    }

    /// Takes a row that holds a part of one.
    pub(crate) fn take_part(&mut self, key: &[u8], row: &[u8]) -> Result<(), String> {
        // One without a change has no parts.
        while self.known.front().is_some_and(|version| version.parts == 0) {
            self.close()?;
        }
        let Some(version) = self.known.front().copied() else {
            return Err("it belongs to no version of the heads".to_owned());
        };
        if key != part_key(version.leaf, self.parts) {
            return Err(format!("a part of the heads of leaf {} is missing", version.leaf));
        }
        if self.parts == 0 && version.whole {
            self.heads = HeadsTrie::new();
        }
        let mut part = Heads::new();
        read_part(row, &mut part).map_err(|error| error.to_string())?;
        self.heads.update(part.iter().map(|(outlet, entry)| (outlet.as_str(), entry.clone())));
        self.parts += 1;
        if self.parts == version.parts { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<(), String> {
        self.parts = 0;
        match self.known.pop_front() {
            Some(version) if version.root != self.heads.root() => {
                Err(VersionsError::Root { leaf: version.leaf }.to_string())
            }
            _ => Ok(()),
        }
    }

    /// Nothing may be left that was announced.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        while self.known.front().is_some_and(|version| version.parts == 0) {
            self.close()?;
        }
        match self.known.front() {
            None => Ok(()),
            Some(version) => Err(format!("the heads of leaf {} are not there", version.leaf)),
        }
    }
}
