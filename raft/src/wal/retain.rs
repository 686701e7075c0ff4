//! Which segments are still needed, and by whom.
//!
//! Invariant: an entry counts until the operation that made it needless is itself durable, so a
//! segment without counts is needed by nothing that a restart would find.

use std::collections::{BTreeMap, VecDeque};

use super::group::Freed;

#[derive(Debug, Default)]
pub(super) struct Live {
    counts: BTreeMap<u32, BTreeMap<u64, u64>>,
    /// Entries that were needless before they were written, until that operation is durable.
    orphans: VecDeque<Orphan>,
}

#[derive(Debug)]
struct Orphan {
    until: u64,
    segment: u32,
    group: u64,
}

impl Live {
    pub(super) fn add(&mut self, segment: u32, group: u64) {
        *self.counts.entry(segment).or_default().entry(group).or_default() += 1;
    }

    /// Adds an entry that the operation numbered `until`, or one before it, makes needless.
    pub(super) fn add_orphan(&mut self, segment: u32, group: u64, until: u64) {
        self.add(segment, group);
        self.orphans.push_back(Orphan { until, segment, group });
    }

    pub(super) fn remove(&mut self, group: u64, freed: &Freed) {
        for (segment, count) in freed {
            self.subtract(*segment, group, *count);
        }
    }

    pub(super) fn subtract(&mut self, segment: u32, group: u64, count: u64) {
        let Some(groups) = self.counts.get_mut(&segment) else { return };
        if let Some(left) = groups.get_mut(&group) {
            *left = left.saturating_sub(count);
            if *left == 0 {
                groups.remove(&group);
            }
        }
        if groups.is_empty() {
            self.counts.remove(&segment);
        }
    }

    /// Everything up to this operation is durable.
    pub(super) fn durable(&mut self, number: u64) {
        while self.orphans.front().is_some_and(|orphan| orphan.until <= number) {
            let orphan = self.orphans.pop_front().expect("it was just seen");
            self.subtract(orphan.segment, orphan.group, 1);
        }
    }

    pub(super) fn is_needed(&self, segment: u32) -> bool {
        self.counts.contains_key(&segment)
    }

    /// The oldest segment of each group.
    pub(super) fn oldest(&self) -> BTreeMap<u64, u32> {
        let mut oldest = BTreeMap::new();
        for (segment, groups) in &self.counts {
            for group in groups.keys() {
                oldest.entry(*group).or_insert(*segment);
            }
        }
        oldest
    }
}
