//! The log without its file system: it takes operations and yields one step at a time.
//!
//! ```text
//!  queue ──► Write ──► Sync ──► (Votes) ──► completions, in queue order
//!            Prepare, Remove, Read + copy, Mark in between
//! ```
//!
//! Invariants: at most one step is out; a batch is written only when all before it are synced;
//! after a failure no step is yielded any more. Non-goals: waiting, threads, clocks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

#[cfg(feature = "planted-bugs")]
use fiscus_ledger::planted::{Bug, is_planted};

use super::error::WalError;
use super::frame::{Frame, Marks, Position, SECTOR, Salt, header_bytes};
use super::group::{Freed, Group, Slot};
use super::options::WalOptions;
use super::plan::{self, Cursor};
use super::retain::Live;
use super::votes::Votes;
use super::{LogEntry, LogId, Vote};

/// Zeros written at a time when a segment is prepared.
const PREPARE_BYTES: u64 = 1 << 20;
/// Room of a written batch that is kept for the next one, at the most.
const SPARE_BYTES_MAX: usize = 2 << 20;

/// Told when an operation is durable, or never will be.
pub(super) type Done = Box<dyn FnOnce(Result<(), WalError>) + Send>;

/// A group whose oldest entries keep old segments alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lagging {
    /// The group.
    pub group: u64,
    /// The oldest segment it needs.
    pub oldest_segment: u32,
    /// How many segments were begun since.
    pub segments_behind: usize,
    /// How many entries it has that are not purged.
    pub entries: u64,
}

/// What is to be written.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Vote { counter: u64, vote: Vote },
    Append(Vec<LogEntry>),
    Copy(Vec<(LogEntry, Slot)>),
    Truncate { after: Option<LogId>, freed: Freed },
    Purge { upto: LogId, freed: Freed },
    Committed(Option<LogId>),
    Remove { freed: Freed },
    Damage(bool),
}

pub(super) struct Queued {
    pub(super) number: u64,
    pub(super) group: u64,
    pub(super) op: Op,
    pub(super) cost: u64,
    pub(super) permits: u32,
    pub(super) done: Option<Done>,
}

impl Queued {
    /// Whether it may wait for company: nobody waits for it.
    pub(super) fn is_lazy(&self) -> bool {
        self.done.is_none() && matches!(self.op, Op::Purge { .. } | Op::Committed(_))
    }
}

impl fmt::Debug for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queued").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A finished operation, to be told outside of any lock.
pub(super) struct Completion {
    pub(super) permits: u32,
    pub(super) done: Option<Done>,
    pub(super) result: Result<(), WalError>,
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").field("result", &self.result).finish_non_exhaustive()
    }
}

/// What the driver is asked to do with the disk.
#[derive(Debug)]
pub(super) enum Step {
    /// Write zeros and sync them; create the file first, sync the directory last.
    Prepare {
        segment: u32,
        from: u64,
        to: u64,
        total: u64,
    },
    Write {
        segment: u32,
        offset: u64,
        bytes: Vec<u8>,
    },
    Sync {
        segment: u32,
    },
    Votes {
        offset: u64,
        bytes: Vec<u8>,
    },
    Read {
        group: u64,
        slots: Vec<(u64, Slot)>,
    },
    Remove {
        segment: u32,
    },
}

/// What came of a step.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    Entries(Vec<LogEntry>),
}

#[derive(Debug)]
pub(super) struct Batch {
    pub(super) ops: Vec<(Queued, Vec<Slot>)>,
    pub(super) end: Position,
    pub(super) votes: bool,
}

/// What the step that is out will bring.
#[derive(Debug, Default)]
pub(super) enum Flight {
    #[default]
    None,
    Preparing,
    Removing,
    Writing(Batch),
    Syncing(Batch),
    Votes(Batch),
    Marking,
    Reading {
        group: u64,
        slots: Vec<(u64, Slot)>,
    },
}

/// The segment that is written to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Current {
    pub(super) number: u32,
    pub(super) bytes: u64,
    pub(super) at: u64,
    /// Whether its header was composed.
    pub(super) started: bool,
    /// Whether its header is durable.
    pub(super) durable: bool,
}

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) options: WalOptions,
    pub(super) groups: BTreeMap<u64, Group>,
    /// Marks as of what was composed: what a new segment's header says.
    pub(super) written: BTreeMap<u64, Marks>,
    pub(super) queue: VecDeque<Queued>,
    pub(super) eager: usize,
    pub(super) numbered: u64,
    pub(super) batches: u64,
    pub(super) current: Current,
    pub(super) prepared: VecDeque<(u32, u64)>,
    preparing: Option<(u32, u64, u64)>,
    /// Cost of an operation that waits for another segment.
    pub(super) wanted: Option<u64>,
    /// The last attempt to prepare found no room.
    pub(super) full: bool,
    /// How often that happened.
    pub(super) full_count: u64,
    pub(super) cursor: Cursor,
    pub(super) copying: u64,
    /// Bytes that may be copied: as many as others wrote, so that copying never feeds itself.
    pub(super) copy_budget: u64,
    /// Groups whose entries could not be read to be copied.
    pub(super) copy_refused: BTreeSet<u64>,
    pub(super) next_segment: u32,
    /// The segments of the stream and their sizes.
    pub(super) chain: BTreeMap<u32, u64>,
    /// Files that nothing needs.
    pub(super) void: VecDeque<u32>,
    pub(super) synced: Position,
    /// While the log is opened: what counts as synced until the new segment has its header.
    pub(super) opened_at: Option<Position>,
    marked: bool,
    flush: bool,
    batch_was_last: bool,
    pub(super) live: Live,
    pub(super) cached_bytes: usize,
    pub(super) votes_counter: u64,
    pub(super) flight: Flight,
    pub(super) stopped: Option<WalError>,
    pub(super) completed: Vec<Completion>,
    /// Room for the next batch's bytes.
    pub(super) spare: Vec<u8>,
}

impl Machine {
    pub(super) fn new(options: WalOptions) -> Self {
        Self {
            options,
            groups: BTreeMap::new(),
            written: BTreeMap::new(),
            queue: VecDeque::new(),
            eager: 0,
            numbered: 0,
            batches: 0,
            spare: Vec::new(),
            current: Current::default(),
            prepared: VecDeque::new(),
            preparing: None,
            wanted: None,
            full: false,
            full_count: 0,
            cursor: Cursor::default(),
            copying: 0,
            copy_budget: 0,
            copy_refused: BTreeSet::new(),
            next_segment: 1,
            chain: BTreeMap::new(),
            void: VecDeque::new(),
            synced: Position::default(),
            opened_at: None,
            marked: true,
            flush: false,
            batch_was_last: false,
            live: Live::default(),
            cached_bytes: 0,
            votes_counter: 0,
            flight: Flight::None,
            stopped: None,
            completed: Vec::new(),
        }
    }

    pub(super) fn header_bytes(&self) -> u64 {
        header_bytes(self.groups.len().max(self.written.len()))
    }

    /// Room kept in the last segment for votes, truncations and purges.
    pub(super) fn reserve(&self) -> u64 {
        (self.options.segment_bytes / 8).min(64 << 10)
    }

    /// Rooms of the segments ahead.
    pub(super) fn rooms(&self) -> Vec<u64> {
        let header = self.header_bytes();
        self.prepared.iter().map(|(_, bytes)| plan::room(*bytes, header)).collect()
    }

    /// Bytes left in the current segment.
    pub(super) fn current_room(&self) -> u64 {
        let header = if self.current.started { 0 } else { self.header_bytes() };
        self.current.bytes.saturating_sub(self.current.at + header + SECTOR)
    }

    pub(super) fn replan(&mut self) {
        let rooms = self.rooms();
        let mut cursor = Cursor { room: self.current_room(), used: 0 };
        for cost in std::iter::once(self.copying).chain(self.queue.iter().map(|op| op.cost)) {
            cursor = cursor.place(cost, &rooms).unwrap_or(Cursor { room: 0, used: rooms.len() });
        }
        self.cursor = cursor;
    }

    /// The next thing to do with the disk, if any and if nothing is out.
    pub(super) fn next(&mut self) -> Option<Step> {
        if self.stopped.is_some() || !matches!(self.flight, Flight::None) {
            return None;
        }
        if let Some(segment) = self.void.pop_front() {
            self.flight = Flight::Removing;
            return Some(Step::Remove { segment });
        }
        if std::mem::take(&mut self.batch_was_last)
            && let Some(step) = self.prepare()
        {
            return Some(step);
        }
        if let Some(step) = self.copy_forward() {
            return Some(step);
        }
        if (self.eager > 0 || self.flush || self.needs_start())
            && let Some((step, batch)) = self.compose()
        {
            self.flush = false;
            self.batch_was_last = true;
            self.flight = Flight::Writing(batch);
            return Some(step);
        }
        self.prepare()
    }

    /// A segment whose header must be written even when there is nothing else to write.
    fn needs_start(&self) -> bool {
        !self.current.started && self.current.bytes > 0
    }

    /// The log was idle for a while: what waited for company is due, and then a mark.
    pub(super) fn idle(&mut self) -> Option<Step> {
        self.flush = !self.queue.is_empty();
        let busy = self.flush || self.stopped.is_some() || !matches!(self.flight, Flight::None);
        if busy {
            return self.next();
        }
        let fits = self.current.started && self.current.at + SECTOR <= self.current.bytes;
        // Without room for a mark the next segment's header will say how far this one was synced.
        if std::mem::replace(&mut self.marked, true) || !fits {
            return None;
        }
        self.flight = Flight::Marking;
        let offset = self.current.at;
        self.current.at += SECTOR;
        let mut bytes = Vec::new();
        let salt = Salt { identity: self.options.identity, segment: self.current.number };
        Frame::Mark { synced: self.synced }.encode(salt, offset, &mut bytes);
        super::frame::pad(&mut bytes);
        self.replan();
        Some(Step::Write { segment: self.current.number, offset, bytes })
    }

    /// Takes the room of a batch back that was written; fresh room costs more than filling it.
    pub(super) fn keep(&mut self, written: Vec<u8>) {
        if (self.spare.capacity()..=SPARE_BYTES_MAX).contains(&written.capacity()) {
            self.spare = written;
        }
    }

    /// Whether idling would make it do something.
    pub(super) fn has_idle_work(&self) -> bool {
        self.stopped.is_none() && (!self.queue.is_empty() || !self.marked)
    }

    fn prepare(&mut self) -> Option<Step> {
        let (segment, from, total) = match self.preparing.take() {
            Some(preparing) => preparing,
            None => {
                let wants = self.prepared.is_empty() || self.wanted.is_some();
                if !wants || self.full {
                    return None;
                }
                let segment = self.next_segment;
                self.next_segment += 1;
                (segment, 0, self.prepare_bytes())
            }
        };
        let to = (from + PREPARE_BYTES).min(total);
        self.preparing = Some((segment, to, total));
        self.flight = Flight::Preparing;
        Some(Step::Prepare { segment, from, to, total })
    }

    pub(super) fn prepare_bytes(&self) -> u64 {
        let header = header_bytes(self.groups.len() + 8);
        let least = header + self.wanted.unwrap_or(0) + self.reserve() + SECTOR;
        self.options.segment_bytes.max(least.next_multiple_of(SECTOR))
    }

    /// Takes in what came of the step that was out.
    pub(super) fn done(&mut self, result: Result<Outcome, WalError>) -> Option<Step> {
        let flight = std::mem::take(&mut self.flight);
        let outcome = match (result, &flight) {
            (Ok(outcome), _) => outcome,
            (Err(error), Flight::Preparing) if error.is_no_space() => {
                self.preparing = None;
                self.wanted = None;
                self.full = true;
                self.full_count += 1;
                return None;
            }
            // Damage to one group's old entries is that group's trouble; it stays lagging.
            (Err(_), Flight::Reading { group, .. }) => {
                self.copying = 0;
                self.copy_refused.insert(*group);
                return None;
            }
            (Err(error), _) => {
                self.poison(error, flight);
                return None;
            }
        };
        match flight {
            Flight::None | Flight::Marking => {}
            Flight::Preparing => self.prepared_some(),
            Flight::Removing => self.full = false,
            Flight::Reading { group, slots } => self.copy_read(group, slots, outcome),
            #[cfg(feature = "planted-bugs")]
            Flight::Writing(batch) if batch.votes && is_planted(Bug::VoteNotSynced) => {
                // It goes on as if it had been synced.
                return self.synced(batch);
            }
            Flight::Writing(batch) => {
                self.flight = Flight::Syncing(batch);
                return Some(Step::Sync { segment: self.current.number });
            }
            Flight::Syncing(batch) => return self.synced(batch),
            Flight::Votes(batch) => self.finish(batch),
        }
        None
    }

    fn prepared_some(&mut self) {
        if let Some((segment, at, total)) = self.preparing
            && at == total
        {
            self.preparing = None;
            self.wanted = None;
            self.prepared.push_back((segment, total));
            self.replan();
        }
    }

    fn synced(&mut self, batch: Batch) -> Option<Step> {
        self.synced = batch.end;
        self.current.durable = true;
        self.marked = false;
        if !batch.votes {
            self.finish(batch);
            return None;
        }
        self.votes_counter += 1;
        let votes = self.votes();
        self.flight = Flight::Votes(batch);
        Some(Step::Votes { offset: votes.offset(), bytes: votes.to_bytes() })
    }

    /// What is surely synced.
    pub(super) fn claim(&self) -> Position {
        self.opened_at.unwrap_or(self.synced)
    }

    fn votes(&self) -> Votes {
        let votes = self.written.iter().filter_map(|(group, marks)| {
            marks.vote.map(|vote| (*group, (marks.vote_counter, vote)))
        });
        Votes {
            identity: self.options.identity,
            counter: self.votes_counter,
            synced: self.claim(),
            votes: votes.collect(),
        }
    }

    /// Stops for good: everything queued fails, and nothing more is written.
    fn poison(&mut self, cause: WalError, flight: Flight) {
        let error = WalError::Poisoned { cause: Arc::new(cause) };
        self.stopped = Some(error.clone());
        let out = match flight {
            Flight::Writing(batch) | Flight::Syncing(batch) | Flight::Votes(batch) => batch.ops,
            _ => Vec::new(),
        };
        let out = out.into_iter().map(|(queued, _)| queued);
        self.fail(out.collect(), &error);
    }

    /// Completes these and everything queued with an error.
    pub(super) fn fail(&mut self, out: Vec<Queued>, error: &WalError) {
        let queued = std::mem::take(&mut self.queue);
        for mut queued in out.into_iter().chain(queued) {
            self.completed.push(Completion {
                permits: queued.permits,
                done: queued.done.take(),
                result: Err(error.clone()),
            });
        }
        self.eager = 0;
    }
}
