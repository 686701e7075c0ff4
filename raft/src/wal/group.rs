//! One group's log as it is seen: its marks, where each entry stands, and the recent ones' bytes.
//!
//! Invariants: entries are dense from `marks.first` on; cached bytes are a suffix of them; an entry
//! that is not yet on disk is always cached. Non-goal: reading files.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::frame::Marks;
use super::{LogEntry, LogId, Vote};

/// Where an entry stands: 24 bytes for each one in the log.
///
/// Segment 0 means it waits in the queue, and `offset` holds the low bits of its operation's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Slot {
    pub(super) term: u64,
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// How many entries of each segment are no longer needed.
pub(super) type Freed = BTreeMap<u32, u64>;

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) marks: Marks,
    /// The last vote that is durable; `marks.vote` may still be queued.
    pub(super) saved_vote: Option<Vote>,
    /// Entries below this index are durable.
    pub(super) durable_end: u64,
    slots: VecDeque<Slot>,
    cached: VecDeque<Bytes>,
    cached_bytes: usize,
}

impl Marks {
    pub(super) fn is_empty(&self) -> bool {
        self.last == self.purged
    }

    /// The index that the next entry must have; any, when nothing was ever there.
    pub(super) fn next_index(&self) -> Option<u64> {
        self.last.map(|last| last.index + 1)
    }

    pub(super) fn append(&mut self, id: LogId) {
        if self.is_empty() {
            self.first = id.index;
        }
        self.last = Some(id);
    }

    pub(super) fn truncate(&mut self, after: Option<LogId>) {
        self.last = match (after, self.purged) {
            (Some(after), Some(purged)) if after.index <= purged.index => Some(purged),
            (Some(after), _) => Some(after),
            (None, purged) => purged,
        };
    }

    pub(super) fn purge(&mut self, upto: LogId) {
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(upto);
        }
        self.first = upto.index + 1;
        self.purged = Some(upto);
    }
}

impl Group {
    /// A group as a segment's header describes it; where its entries stand is not known yet.
    pub(super) fn of_marks(marks: Marks) -> Self {
        let mut group = Self { marks, saved_vote: marks.vote, ..Self::default() };
        if !marks.is_empty() {
            let count = marks.last.map_or(0, |last| (last.index + 1).saturating_sub(marks.first));
            group.slots = (0..count).map(|_| Slot::default()).collect();
        }
        group.durable_end = group.end();
        group
    }

    pub(super) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Index behind the last entry.
    pub(super) fn end(&self) -> u64 {
        self.marks.first + self.len()
    }

    pub(super) fn slot(&self, index: u64) -> Option<Slot> {
        let at = index.checked_sub(self.marks.first)?;
        self.slots.get(usize::try_from(at).ok()?).copied()
    }

    pub(super) fn set_slot(&mut self, index: u64, slot: Slot) {
        let at = index.checked_sub(self.marks.first).and_then(|at| usize::try_from(at).ok());
        if let Some(place) = at.and_then(|at| self.slots.get_mut(at)) {
            *place = slot;
        }
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (u64, Slot)> + '_ {
        (self.marks.first..).zip(self.slots.iter().copied())
    }

    /// Bytes of the entries behind `index`.
    pub(super) fn bytes_after(&self, index: u64) -> u64 {
        let known = usize::try_from((index + 1).saturating_sub(self.marks.first));
        let behind = self.slots.iter().skip(known.unwrap_or(usize::MAX));
        behind.map(|slot| u64::from(slot.len)).sum()
    }

    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        match self.marks.purged {
            Some(purged) if purged.index == index => Some(purged.term),
            _ => self.slot(index).map(|slot| slot.term),
        }
    }

    /// The last entry that is durable, or the purged one.
    pub(super) fn flushed(&self) -> Option<LogId> {
        let index = self.durable_end.min(self.end()).checked_sub(1);
        let entry = index.and_then(|index| Some(LogId { term: self.slot(index)?.term, index }));
        entry.or(self.marks.purged)
    }

    /// Adds an entry that stands on disk already.
    pub(super) fn push_placed(&mut self, id: LogId, slot: Slot) {
        self.marks.append(id);
        self.slots.push_back(slot);
        self.durable_end = self.end();
    }

    /// Adds an entry that waits in the queue; says how many bytes are cached for it.
    pub(super) fn push_queued(&mut self, entry: &LogEntry, number: u64) -> usize {
        self.marks.append(entry.id);
        let len = u32::try_from(entry.bytes.len()).expect("operations are bounded");
        let low = u32::try_from(number & u64::from(u32::MAX)).expect("masked");
        self.slots.push_back(Slot { term: entry.id.term, segment: 0, offset: low, len });
        self.cached.push_back(entry.bytes.clone());
        self.cached_bytes += entry.bytes.len();
        entry.bytes.len()
    }

    /// Removes the entries behind `after`.
    pub(super) fn truncate(&mut self, after: Option<LogId>) -> Freed {
        self.marks.truncate(after);
        let end = match self.marks.last {
            Some(last) if !self.marks.is_empty() => last.index + 1,
            _ => self.marks.first,
        };
        let mut freed = Freed::new();
        while self.end() > end {
            let slot = self.slots.pop_back().expect("the end is behind the first");
            free(&mut freed, slot);
            if let Some(bytes) = self.cached.pop_back() {
                self.cached_bytes -= bytes.len();
            }
        }
        self.durable_end = self.durable_end.min(end);
        freed
    }

    /// Removes the entries up to `upto`.
    pub(super) fn purge(&mut self, upto: LogId) -> Freed {
        let mut freed = Freed::new();
        while self.marks.first <= upto.index {
            let Some(slot) = self.slots.pop_front() else { break };
            self.marks.first += 1;
            free(&mut freed, slot);
        }
        while self.cached.len() > self.slots.len() {
            let bytes = self.cached.pop_front().expect("it is longer than something");
            self.cached_bytes -= bytes.len();
        }
        self.marks.purge(upto);
        self.durable_end = self.durable_end.max(upto.index + 1);
        freed
    }

    /// All entries' segments.
    pub(super) fn all_freed(&self) -> Freed {
        let mut freed = Freed::new();
        self.slots.iter().for_each(|slot| free(&mut freed, *slot));
        freed
    }

    pub(super) fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    pub(super) fn cached(&self, index: u64) -> Option<Bytes> {
        let first = self.end() - self.cached.len() as u64;
        let at = index.checked_sub(first)?;
        self.cached.get(usize::try_from(at).ok()?).cloned()
    }

    /// Forgets the oldest cached bytes when they can be read from disk; says how many.
    pub(super) fn evict(&mut self) -> Option<usize> {
        let first = self.end() - self.cached.len() as u64;
        if self.cached.is_empty() || self.slot(first)?.segment == 0 {
            return None;
        }
        let bytes = self.cached.pop_front()?;
        self.cached_bytes -= bytes.len();
        Some(bytes.len())
    }
}

fn free(freed: &mut Freed, slot: Slot) {
    if slot.segment != 0 {
        *freed.entry(slot.segment).or_default() += 1;
    }
}
