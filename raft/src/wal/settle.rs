//! What a durable batch changes: positions, the durable end, the cache, and which segments are needed.
//!
//! Invariant: an entry gets its position only if it is still the one that was queued. Non-goal: order;
//! batches are settled one by one.

use super::group::Slot;
use super::machine::{Batch, Completion, Machine, Op, Queued};

impl Machine {
    /// The batch is durable.
    pub(super) fn finish(&mut self, batch: Batch) {
        for (mut queued, slots) in batch.ops {
            self.settle(&queued, &slots);
            self.live.durable(queued.number);
            self.completed.push(Completion {
                permits: queued.permits,
                done: queued.done.take(),
                result: Ok(()),
            });
        }
        self.evict();
        self.drop_needless();
    }

    /// Makes what is durable now visible as durable.
    fn settle(&mut self, queued: &Queued, slots: &[Slot]) {
        let group = queued.group;
        match &queued.op {
            Op::Append(entries) => {
                for (entry, slot) in entries.iter().zip(slots) {
                    self.settle_entry(group, entry.id.index, queued.number, *slot);
                }
            }
            Op::Copy(entries) => {
                for ((entry, old), new) in entries.iter().zip(slots) {
                    self.settle_copy(group, entry.id.index, *old, *new);
                }
            }
            Op::Vote { vote, .. } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.saved_vote = Some(*vote);
                }
            }
            Op::Truncate { freed, .. } | Op::Purge { freed, .. } | Op::Remove { freed } => {
                self.live.remove(group, freed);
            }
            Op::Committed(_) | Op::Damage(_) => {}
        }
    }

    fn settle_entry(&mut self, number: u64, index: u64, op: u64, slot: Slot) {
        let low = u32::try_from(op & u64::from(u32::MAX)).expect("masked");
        if let Some(group) = self.groups.get_mut(&number)
            && group.slot(index).is_some_and(|old| old.segment == 0 && old.offset == low)
        {
            group.set_slot(index, slot);
            group.durable_end = group.durable_end.max(index + 1);
            self.live.add(slot.segment, number);
            return;
        }
        self.live.add_orphan(slot.segment, number, self.numbered);
    }

    fn settle_copy(&mut self, number: u64, index: u64, old: Slot, new: Slot) {
        if let Some(group) = self.groups.get_mut(&number)
            && group.slot(index) == Some(old)
        {
            group.set_slot(index, new);
            self.live.add(new.segment, number);
            self.live.subtract(old.segment, number, 1);
            return;
        }
        self.live.add_orphan(new.segment, number, self.numbered);
    }

    /// Keeps the cache within its bound, oldest bytes of the largest group first.
    pub(super) fn evict(&mut self) {
        while self.cached_bytes > self.options.cache_bytes {
            let groups = self.groups.values_mut();
            let Some(group) = groups.max_by_key(|group| group.cached_bytes()) else { return };
            let Some(bytes) = group.evict() else { return };
            self.cached_bytes -= bytes;
        }
    }

    /// Gives up the oldest segments that nothing needs.
    pub(super) fn drop_needless(&mut self) {
        while let Some((oldest, _)) = self.chain.first_key_value() {
            let oldest = *oldest;
            let next_is_durable = self
                .chain
                .keys()
                .nth(1)
                .is_some_and(|next| *next != self.current.number || self.current.durable);
            if !next_is_durable || self.live.is_needed(oldest) {
                return;
            }
            self.chain.remove(&oldest);
            self.void.push_back(oldest);
        }
    }
}
