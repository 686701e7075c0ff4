//! Accepting operations: what is accepted is visible at once and will fit.
//!
//! Invariant: an operation is refused before it changes anything, or not at all. Non-goal: waiting;
//! the caller waits and asks again.

use super::compose::cost;
use super::error::WalError;
use super::group::{Freed, Group};
use super::machine::{Done, Machine, Op, Queued};
use super::votes::GROUPS_MAX;
use super::{LogEntry, LogId, Vote};

/// Largest operation.
const OP_BYTES_MAX: u64 = 1 << 29;

/// What a caller wants.
#[derive(Debug)]
pub(super) enum Request {
    Vote(Vote),
    Append(Vec<LogEntry>),
    Truncate(Option<LogId>),
    Purge(LogId),
    Committed(Option<LogId>),
    Remove,
    Damage(bool),
}

/// Whether it can be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Now,
    /// It would change nothing.
    Needless,
    /// It needs another segment; ask again when one was prepared, or that failed.
    Later,
}

impl Request {
    fn is_append(&self) -> bool {
        matches!(self, Self::Append(_))
    }

    /// Bytes it holds while it is queued.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append(entries) => {
                64 + entries.iter().map(|entry| entry.bytes.len() + 64).sum::<usize>()
            }
            _ => 64,
        }
    }

    /// What will be written, as far as its size goes.
    fn cost(&self) -> u64 {
        match self {
            Self::Append(entries) => {
                let lens = entries.iter().map(|entry| (0, slot_of(entry)));
                super::compose::copy_cost(&lens.collect::<Vec<_>>())
            }
            _ => cost(&Op::Damage(true)),
        }
    }
}

fn slot_of(entry: &LogEntry) -> super::group::Slot {
    let len = u32::try_from(entry.bytes.len()).unwrap_or(u32::MAX);
    super::group::Slot { len, ..Default::default() }
}

impl Machine {
    /// Asks for room and checks that the operation continues the group's log. `waited` is the
    /// number of failed preparations seen when the caller began to wait.
    pub(super) fn admit(
        &mut self,
        group: u64,
        request: &Request,
        waited: Option<u64>,
    ) -> Result<Admission, WalError> {
        if let Some(stopped) = &self.stopped {
            return Err(stopped.clone());
        }
        if self.is_needless(group, request)? {
            return Ok(Admission::Needless);
        }
        let cost = request.cost();
        if cost > OP_BYTES_MAX {
            return Err(WalError::TooLarge { bytes: cost, limit: OP_BYTES_MAX });
        }
        let rooms = self.rooms();
        if let Some(cursor) = self.cursor.place(cost, &rooms) {
            let reserve = if request.is_append() { self.reserve() } else { 0 };
            if cursor.keeps(reserve, &rooms) {
                return Ok(Admission::Now);
            }
        }
        if waited.is_some_and(|waited| waited < self.full_count) {
            return Err(WalError::Full { wanted: self.prepare_bytes() });
        }
        self.wanted = Some(self.wanted.map_or(cost, |wanted| wanted.max(cost)));
        if waited.is_none() {
            self.full = false;
        }
        Ok(Admission::Later)
    }

    fn is_needless(&self, number: u64, request: &Request) -> Result<bool, WalError> {
        let Some(group) = self.groups.get(&number) else {
            if self.groups.len() >= GROUPS_MAX {
                return Err(WalError::TooManyGroups { group: number, limit: GROUPS_MAX });
            }
            return Ok(matches!(request, Request::Remove | Request::Truncate(_)));
        };
        match request {
            Request::Append(entries) => check_append(number, group, entries).map(|()| false),
            Request::Truncate(after) => is_truncated(number, group, *after),
            Request::Purge(upto) => {
                Ok(group.marks.purged.is_some_and(|purged| upto.index <= purged.index))
            }
            Request::Committed(id) => Ok(group.marks.committed == *id),
            Request::Damage(damaged) => Ok(group.marks.damaged == *damaged),
            Request::Vote(_) | Request::Remove => Ok(false),
        }
    }

    /// Accepts what was just admitted.
    pub(super) fn enqueue(
        &mut self,
        group: u64,
        request: Request,
        permits: u32,
        done: Option<Done>,
    ) {
        let cost = request.cost();
        self.numbered += 1;
        let number = self.numbered;
        let op = self.make_visible(group, request);
        let queued = Queued { number, group, op, cost, permits, done };
        self.eager += usize::from(!queued.is_lazy());
        self.queue.push_back(queued);
        let rooms = self.rooms();
        let full = super::plan::Cursor { room: 0, used: rooms.len() };
        self.cursor = self.cursor.place(cost, &rooms).unwrap_or(full);
        self.evict();
    }

    fn make_visible(&mut self, number: u64, request: Request) -> Op {
        let operation = self.numbered;
        let group = self.groups.entry(number).or_default();
        let before = group.cached_bytes();
        let op = match request {
            Request::Vote(vote) => {
                let counter = group.marks.vote_counter + 1;
                group.marks.save_vote(counter, vote);
                Op::Vote { counter, vote }
            }
            Request::Append(entries) => {
                for entry in &entries {
                    self.cached_bytes += group.push_queued(entry, operation);
                }
                return Op::Append(entries);
            }
            Request::Truncate(after) => Op::Truncate { after, freed: group.truncate(after) },
            Request::Purge(upto) => Op::Purge { upto, freed: group.purge(upto) },
            Request::Committed(id) => {
                group.marks.committed = id;
                Op::Committed(id)
            }
            Request::Damage(damaged) => {
                group.marks.damaged = damaged;
                Op::Damage(damaged)
            }
            Request::Remove => Op::Remove { freed: self.forget(number) },
        };
        let after = self.groups.get(&number).map_or(0, Group::cached_bytes);
        self.cached_bytes -= before - after;
        op
    }

    fn forget(&mut self, number: u64) -> Freed {
        self.groups.remove(&number).map(|group| group.all_freed()).unwrap_or_default()
    }
}

fn check_append(number: u64, group: &Group, entries: &[LogEntry]) -> Result<(), WalError> {
    let mut next = group.marks.next_index();
    for entry in entries {
        let index = entry.id.index;
        if next.is_some_and(|next| next != index) {
            let what = format!("entry {index} was appended where {next:?} had to follow");
            return Err(WalError::OutOfOrder { group: number, what });
        }
        next = Some(index + 1);
    }
    Ok(())
}

/// Whether there is nothing behind `after`, which must be in the log.
fn is_truncated(number: u64, group: &Group, after: Option<LogId>) -> Result<bool, WalError> {
    let Some(after) = after else { return Ok(group.marks.is_empty()) };
    if group.marks.last.is_none_or(|last| last.index <= after.index) {
        return Ok(true);
    }
    let purged = group.marks.purged.is_some_and(|purged| after.index < purged.index);
    if !purged && group.term_at(after.index) != Some(after.term) {
        let what = format!("truncation after {after:?}, which is not in the log");
        return Err(WalError::OutOfOrder { group: number, what });
    }
    Ok(false)
}
