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

    /// Chooses a lagging group whose entries can be copied, and asks for them.
    pub(super) fn copy_forward(&mut self) -> Option<Step> {
        if self.chain.len() <= self.options.lag_segments || self.copying > 0 {
            return None;
        }
        for lagging in self.lagging() {
            let number = lagging.group;
            let Some(group) = self.groups.get(&number) else { continue };
            let queued = self.queue.iter().any(|queued| queued.group == number);
            let queued = queued || self.copy_refused.contains(&number);
            if queued || lagging.entries > self.options.copy_entries_max {
                continue;
            }
            let behind = self.chain.keys().rev().nth(self.options.lag_segments);
            let newest_old = behind.copied().unwrap_or(lagging.oldest_segment);
            let old = |slot: &Slot| slot.segment != 0 && slot.segment <= newest_old;
            let slots: Vec<_> = group.slots().filter(|(_, slot)| old(slot)).collect();
            let bytes: u64 = group.slots().map(|(_, slot)| u64::from(slot.len)).sum();
            let cost = super::compose::copy_cost(&slots);
            if slots.is_empty() || bytes > self.options.copy_bytes_max || !self.has_room_for(cost) {
                continue;
            }
            self.copying = cost;
            self.replan();
            self.flight = Flight::Reading { group: number, slots: slots.clone() };
            return Some(Step::Read { group: number, slots });
        }
        None
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
