//! Turning what is queued into the bytes of one batch.
//!
//! Invariant: a batch lies in one segment and begins on a sector that was never written. Non-goal:
//! deciding when to write.

use std::collections::BTreeSet;

use super::Vote;
use super::frame::{
    ENTRY_OVERHEAD, Frame, Marks, Position, SMALL_FRAME_MAX, Salt, SegmentHeader, VERSION,
    batch_frame_bytes, pad, round_up,
};
use super::group::Slot;
use super::machine::{Batch, Machine, Op, Queued, Step};
use super::{LogEntry, LogId};

/// Most bytes taken into one batch, unless one operation alone has more.
const BATCH_BYTES_MAX: u64 = 8 << 20;

/// Bytes of an operation's frames, at the most.
fn frames_bytes(op: &Op) -> u64 {
    let entry = |entry: &LogEntry| (ENTRY_OVERHEAD + entry.bytes.len()) as u64;
    match op {
        Op::Append(entries) => entries.iter().map(entry).sum(),
        Op::Copy(entries) => entries.iter().map(|(copied, _)| entry(copied)).sum(),
        _ => SMALL_FRAME_MAX as u64,
    }
}

/// Bytes of a batch with only this operation.
pub(super) fn cost(op: &Op) -> u64 {
    round_up(batch_frame_bytes(1) as u64 + frames_bytes(op))
}

/// Bytes of a batch that copies these entries.
pub(super) fn copy_cost(slots: &[(u64, Slot)]) -> u64 {
    let entries = slots.iter().map(|(_, slot)| ENTRY_OVERHEAD as u64 + u64::from(slot.len));
    round_up(batch_frame_bytes(1) as u64 + entries.sum::<u64>())
}

impl Machine {
    /// Packs what fits into one write; `None` when there is no room for the first operation.
    pub(super) fn compose(&mut self) -> Option<(Step, Batch)> {
        if let Some(first) = self.queue.front() {
            let cost = first.cost;
            if cost > self.current_room() && !self.switch(cost) {
                return None;
            }
        }
        let segment = self.current.number;
        let offset = self.current.at;
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.clear();
        if !self.current.started {
            bytes.extend_from_slice(&self.header().to_bytes());
            self.current.at += bytes.len() as u64;
            self.current.started = true;
        }
        let taken = self.take();
        if !taken.iter().any(|queued| matches!(queued.op, Op::Copy(_))) {
            let most = self.options.segment_bytes * self.options.lag_segments as u64;
            let own: u64 = taken.iter().map(|queued| queued.cost).sum();
            self.copy_budget = (self.copy_budget + own).min(most);
        }
        let votes = taken.iter().any(|queued| matches!(queued.op, Op::Vote { .. }));
        let ops = self.encode(taken, &mut bytes);
        self.current.at = offset + bytes.len() as u64;
        self.replan();
        let end = Position { segment, offset: to_u32(self.current.at) };
        Some((Step::Write { segment, offset, bytes }, Batch { ops, end, votes }))
    }

    /// Goes on in a prepared segment that has room; those too small are given up.
    fn switch(&mut self, cost: u64) -> bool {
        let rooms = self.rooms();
        let Some(at) = rooms.iter().position(|room| cost <= *room) else {
            self.wanted = Some(self.wanted.map_or(cost, |wanted| wanted.max(cost)));
            return false;
        };
        for _ in 0..at {
            if let Some((segment, _)) = self.prepared.pop_front() {
                self.void.push_back(segment);
            }
        }
        let Some((number, bytes)) = self.prepared.pop_front() else { return false };
        self.begin(number, bytes);
        true
    }

    /// Makes a prepared segment the one that is written to.
    pub(super) fn begin(&mut self, number: u32, bytes: u64) {
        self.chain.insert(number, bytes);
        self.current = super::machine::Current { number, bytes, ..Default::default() };
    }

    pub(super) fn header(&self) -> SegmentHeader {
        SegmentHeader {
            version: VERSION,
            identity: self.options.identity,
            segment: self.current.number,
            previous: self.claim(),
            groups: self.written.iter().map(|(group, marks)| (*group, *marks)).collect(),
        }
    }

    /// Takes operations from the queue for as long as they fit.
    fn take(&mut self) -> Vec<Queued> {
        let room = self.current_room().min(BATCH_BYTES_MAX);
        let (mut taken, mut groups, mut frames) = (Vec::new(), BTreeSet::new(), 0);
        while let Some(first) = self.queue.front() {
            groups.insert(first.group);
            let with_it = frames + frames_bytes(&first.op);
            let whole = round_up(batch_frame_bytes(groups.len()) as u64 + with_it);
            if whole > room && !taken.is_empty() {
                break;
            }
            frames = with_it;
            let first = self.queue.pop_front().expect("it was just seen");
            self.eager -= usize::from(!first.is_lazy());
            taken.push(first);
        }
        taken
    }

    /// Appends the batch to `bytes`, which will stand before `current.at` is moved.
    fn encode(&mut self, taken: Vec<Queued>, bytes: &mut Vec<u8>) -> Vec<(Queued, Vec<Slot>)> {
        if taken.is_empty() {
            return Vec::new();
        }
        let salt = Salt { identity: self.options.identity, segment: self.current.number };
        let groups: BTreeSet<u64> = taken.iter().map(|queued| queued.group).collect();
        let start = self.current.at;
        let head = batch_frame_bytes(groups.len());
        // Reserved at once: growing step by step would touch twice the memory.
        let most: u64 = taken.iter().map(|queued| frames_bytes(&queued.op)).sum();
        let most = usize::try_from(most).expect("it is in memory");
        bytes.reserve(usize::try_from(round_up((head + most) as u64)).expect("it is in memory"));
        // The batch's own frame is written into its place when it is known what follows.
        let place = bytes.len()..bytes.len() + head;
        let base = start - place.start as u64;
        bytes.resize(place.end, 0);
        let mut ops = Vec::with_capacity(taken.len());
        for queued in taken {
            let slots = self.encode_op(&queued, salt, base, bytes);
            ops.push((queued, slots));
        }
        self.batches += 1;
        let batch = Frame::Batch {
            number: self.batches,
            bytes: to_u32((bytes.len() - place.end) as u64),
            synced: self.claim(),
            groups: groups.into_iter().collect(),
        };
        let mut front = Vec::with_capacity(head);
        batch.encode(salt, start, &mut front);
        bytes[place].copy_from_slice(&front);
        pad(bytes);
        ops
    }

    fn encode_op(
        &mut self,
        queued: &Queued,
        salt: Salt,
        base: u64,
        out: &mut Vec<u8>,
    ) -> Vec<Slot> {
        let group = queued.group;
        let mut slots = Vec::new();
        let mut put = |frame: Frame, len: usize| {
            let offset = base + out.len() as u64;
            let len = to_u32(len as u64);
            slots.push(Slot { term: 0, segment: salt.segment, offset: to_u32(offset), len });
            frame.encode(salt, offset, out);
        };
        match &queued.op {
            Op::Append(entries) => {
                for LogEntry { id, bytes } in entries {
                    put(Frame::Entry { group, id: *id, bytes: bytes.clone() }, bytes.len());
                }
            }
            Op::Copy(entries) => {
                for (LogEntry { id, bytes }, _) in entries {
                    put(Frame::Copied { group, id: *id, bytes: bytes.clone() }, bytes.len());
                }
            }
            Op::Vote { counter, vote } => {
                put(Frame::Vote { group, counter: *counter, vote: *vote }, 0);
            }
            Op::Truncate { after, .. } => put(Frame::Truncate { group, after: *after }, 0),
            Op::Purge { upto, .. } => put(Frame::Purge { group, upto: *upto }, 0),
            Op::Committed(id) => put(Frame::Committed { group, id: *id }, 0),
            Op::Remove { .. } => put(Frame::Remove { group }, 0),
            Op::Damage(damaged) => put(Frame::Damage { group, damaged: *damaged }, 0),
        }
        self.mark_written(queued);
        name_terms(&queued.op, &mut slots);
        slots
    }

    fn mark_written(&mut self, queued: &Queued) {
        if matches!(queued.op, Op::Remove { .. }) {
            self.written.remove(&queued.group);
            return;
        }
        let marks = self.written.entry(queued.group).or_default();
        match &queued.op {
            Op::Append(entries) => entries.iter().for_each(|entry| marks.append(entry.id)),
            Op::Vote { counter, vote } => marks.save_vote(*counter, *vote),
            Op::Truncate { after, .. } => marks.truncate(*after),
            Op::Purge { upto, .. } => marks.purge(*upto),
            Op::Committed(id) => marks.committed = *id,
            Op::Damage(damaged) => marks.damaged = *damaged,
            Op::Copy(_) | Op::Remove { .. } => {}
        }
    }
}

impl Marks {
    pub(super) fn save_vote(&mut self, counter: u64, vote: Vote) {
        self.vote = Some(vote);
        self.vote_counter = counter;
    }
}

fn name_terms(op: &Op, slots: &mut [Slot]) {
    let ids: Vec<LogId> = match op {
        Op::Append(entries) => entries.iter().map(|entry| entry.id).collect(),
        Op::Copy(entries) => entries.iter().map(|(entry, _)| entry.id).collect(),
        _ => Vec::new(),
    };
    for (slot, id) in slots.iter_mut().zip(ids) {
        slot.term = id.term;
    }
}

fn to_u32(value: u64) -> u32 {
    u32::try_from(value).expect("a segment is smaller than 4 GiB")
}
