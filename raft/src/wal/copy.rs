//! Copying a lagging group's entries forward, so that it does not keep old segments alive.
//!
//! Invariant: what is copied is the state as written: while operations of the group are queued, it is
//! left alone. Non-goal: large logs; those groups are reported and want a snapshot.

use super::group::{Group, Slot};
use super::machine::{Flight, Lagging, Machine, Op, Outcome, Queued, Step};
use super::plan::Cursor;

impl Machine {
    /// Groups that keep old segments alive.
    pub(super) fn lagging(&self) -> Vec<Lagging> {
        let mut lagging = Vec::new();
        for (group, oldest_segment) in self.live.oldest() {
            let segments_behind = self.chain.range(oldest_segment + 1..).count();
            if segments_behind > self.options.lag_segments {
                let entries = self.groups.get(&group).map_or(0, Group::len);
                lagging.push(Lagging { group, oldest_segment, segments_behind, entries });
            }
        }
        lagging
    }

    /// Chooses a lagging group whose entries can be copied, and asks for some of them.
    pub(super) fn copy_forward(&mut self) -> Option<Step> {
        if self.chain.len() <= self.options.lag_segments || self.copying > 0 {
            return None;
        }
        for lagging in self.lagging() {
            let group = lagging.group;
            let slots = self.slots_to_copy(&lagging);
            let cost = super::compose::copy_cost(&slots);
            if slots.is_empty() || cost > self.copy_budget || !self.has_room_for(cost) {
                continue;
            }
            self.copy_budget -= cost;
            self.copying = cost;
            self.replan();
            self.flight = Flight::Reading { group, slots: slots.clone() };
            return Some(Step::Read { group, slots });
        }
        None
    }

    /// Entries in segments that are too old, oldest index first, as many as one batch should hold.
    fn slots_to_copy(&self, lagging: &Lagging) -> Vec<(u64, Slot)> {
        let number = lagging.group;
        let Some(group) = self.groups.get(&number) else { return Vec::new() };
        let queued = self.queue.iter().any(|queued| queued.group == number);
        let bytes: u64 = group.slots().map(|(_, slot)| u64::from(slot.len)).sum();
        let excluded = queued
            || self.copy_refused.contains(&number)
            || lagging.entries > self.options.copy_entries_max
            || bytes > self.options.copy_bytes_max;
        if excluded {
            return Vec::new();
        }
        let newest_old = self.chain.keys().rev().nth(self.options.lag_segments);
        let newest_old = newest_old.copied().unwrap_or(lagging.oldest_segment);
        let mut left = self.options.segment_bytes / 4;
        let mut slots = Vec::new();
        for (index, slot) in group.slots() {
            if slot.segment == 0 || slot.segment > newest_old {
                continue;
            }
            if u64::from(slot.len) > left && !slots.is_empty() {
                break;
            }
            left = left.saturating_sub(u64::from(slot.len) + 64);
            slots.push((index, slot));
        }
        slots
    }

    /// Whether this fits in front of everything that is queued.
    fn has_room_for(&self, cost: u64) -> bool {
        let rooms = self.rooms();
        let mut cursor = Some(Cursor { room: self.current_room(), used: 0 });
        for cost in std::iter::once(cost).chain(self.queue.iter().map(|op| op.cost)) {
            cursor = cursor.and_then(|cursor| cursor.place(cost, &rooms));
        }
        cursor.is_some_and(|cursor| cursor.keeps(self.reserve(), &rooms))
    }

    pub(super) fn copy_read(&mut self, group: u64, slots: Vec<(u64, Slot)>, outcome: Outcome) {
        let Outcome::Entries(entries) = outcome else { return };
        let pairs = entries.into_iter().zip(slots.into_iter().map(|(_, slot)| slot));
        let op = Op::Copy(pairs.collect());
        let cost = std::mem::take(&mut self.copying);
        // In front: what was queued meanwhile comes after the state that was copied.
        self.queue.push_front(Queued { number: 0, group, op, cost, permits: 0, done: None });
        self.eager += 1;
    }
}
