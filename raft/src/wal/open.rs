//! Opening: read what is there, cut the torn tail, refuse damage, begin a new segment.
//!
//! ```text
//!  headers ──► chain from the newest back ──► replay up to what was surely synced
//!      ──► new segment: what came after, rewritten and synced; its header last, synced
//! ```
//!
//! Invariants: an old segment is never written to; until the new header is durable the next opening
//! finds what this one found. Non-goal: getting lost entries back; that is for the peers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, OpenHow};

use super::LogEntry;
use super::driver::{Cost, Driver, Files};
use super::error::WalError;
use super::frame::{Frame, Marks, Position, SECTOR, Salt, SegmentHeader, VERSION};
use super::group::{Group, Slot};
use super::machine::{Current, Machine, Op, Queued, Step};
use super::options::{OpenMode, WalOptions};
use super::replay::{self, Groups};
use super::scan::{self, Bad, Item, Placed, segment_of_name};
use super::submit::Request;
use super::votes::{SLOT_BYTES, VOTES_FILE, Votes};

/// More than a header of the largest number of groups.
const HEADER_MAX: u64 = 256 << 10;
/// A new segment larger than this is not possible.
const SEGMENT_MAX: u64 = u32::MAX as u64 - (1 << 20);

/// What the files say.
struct Found {
    files: Arc<Files>,
    salvage: bool,
    /// Every segment file.
    segments: BTreeMap<u32, u64>,
    headers: BTreeMap<u32, (SegmentHeader, u64)>,
    votes: Option<Votes>,
    groups: Groups,
    /// Batches that may not have been synced.
    tail: Vec<Vec<Placed>>,
    tail_segment: u32,
    synced: Position,
    batches: u64,
    /// Groups whose synced bytes were lost.
    damaged: BTreeSet<u64>,
    all_damaged: bool,
}

/// Opens the log in a directory.
pub(super) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: WalOptions,
) -> Result<(Machine, Driver), WalError> {
    make_dir(disk.as_ref(), dir)?;
    let files = Arc::new(Files::new(disk, dir.to_owned(), options.identity));
    let (votes_file, votes) = open_votes(&files)?;
    let mut found = Found::new(Arc::clone(&files), &options, votes)?;
    let chain = found.replay()?;
    found.merge_votes()?;
    let driver = Driver { files, votes: votes_file, skip_sync: options.skips_sync() };
    let machine = found.begin(chain, options, &driver)?;
    Ok((machine, driver))
}

fn make_dir(disk: &dyn Disk, dir: &Path) -> Result<(), WalError> {
    disk.create_dir_all(dir).map_err(|e| WalError::io("create", dir, e))?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.sync_dir(parent).map_err(|e| WalError::io("sync", parent, e))?;
    }
    Ok(())
}

/// Opens the votes file, and makes it whole first when its creation was cut short.
fn open_votes(files: &Files) -> Result<(Box<dyn DiskFile>, Option<Votes>), WalError> {
    let path = files.dir.join(VOTES_FILE);
    let io = |attempt| {
        let path = path.clone();
        move |e| WalError::io(attempt, &path, e)
    };
    let there = files.disk.exists(&path).map_err(io("look for"))?;
    let how = if there { OpenHow::Write } else { OpenHow::Create };
    let file = files.disk.open(&path, how).map_err(io("open"))?;
    if file.size().map_err(io("measure"))? < 2 * SLOT_BYTES {
        let zeros = vec![0; usize::try_from(2 * SLOT_BYTES).expect("128 KiB")];
        file.write_all_at(&zeros, 0).map_err(io("write zeros to"))?;
    }
    // A file that an earlier process created may not be durable yet.
    file.sync_data().map_err(io("sync"))?;
    files.disk.sync_dir(&files.dir).map_err(|e| WalError::io("sync", &files.dir, e))?;
    let mut bytes = vec![0; usize::try_from(2 * SLOT_BYTES).expect("128 KiB")];
    file.read_exact_at(&mut bytes, 0).map_err(io("read"))?;
    let votes = Votes::of_file(&bytes);
    match &votes {
        Some(votes) if votes.identity != files.identity => Err(WalError::Foreign {
            path: files.dir.clone(),
            expected: files.identity,
            found: votes.identity,
        }),
        _ => Ok((file, votes)),
    }
}

impl Found {
    fn new(
        files: Arc<Files>,
        options: &WalOptions,
        votes: Option<Votes>,
    ) -> Result<Self, WalError> {
        let mut found = Self {
            salvage: options.mode == OpenMode::Salvage,
            segments: BTreeMap::new(),
            headers: BTreeMap::new(),
            votes,
            groups: Groups::new(),
            tail: Vec::new(),
            tail_segment: 0,
            synced: Position::default(),
            batches: 0,
            damaged: BTreeSet::new(),
            all_damaged: false,
            files,
        };
        found.read_headers()?;
        Ok(found)
    }

    fn salt(&self, segment: u32) -> Salt {
        Salt { identity: self.files.identity, segment }
    }

    fn read_headers(&mut self) -> Result<(), WalError> {
        let dir = &self.files.dir;
        let names = self.files.disk.list(dir).map_err(|e| WalError::io("list", dir, e))?;
        for segment in names.iter().filter_map(|name| segment_of_name(name)) {
            let (file, size) = self.open_segment(segment)?;
            let bytes = self.read_file(segment, file.as_ref(), size.min(HEADER_MAX))?;
            self.files.add(segment, file);
            self.segments.insert(segment, size);
            let Ok((header, len)) = scan::header(&bytes, self.salt(segment)) else { continue };
            if header.identity != self.files.identity {
                return Err(WalError::Foreign {
                    path: dir.clone(),
                    expected: self.files.identity,
                    found: header.identity,
                });
            }
            if header.version != VERSION {
                return Err(WalError::Version { segment, version: header.version });
            }
            self.headers.insert(segment, (header, len));
        }
        Ok(())
    }

    fn open_segment(&self, segment: u32) -> Result<(Box<dyn DiskFile>, u64), WalError> {
        let path = self.files.path(segment);
        let file = self.files.disk.open(&path, OpenHow::Read);
        let file = file.map_err(|e| WalError::io("open", &path, e))?;
        let size = file.size().map_err(|e| WalError::io("measure", &path, e))?;
        Ok((file, size))
    }

    fn read_file(&self, segment: u32, file: &dyn DiskFile, len: u64) -> Result<Vec<u8>, WalError> {
        let mut bytes = vec![0; usize::try_from(len).expect("a segment fits in memory")];
        let read = file.read_exact_at(&mut bytes, 0);
        read.map_err(|e| WalError::io("read", &self.files.path(segment), e))?;
        Ok(bytes)
    }

    fn read_segment(&self, segment: u32) -> Result<Vec<u8>, WalError> {
        let file = self.files.get(segment).expect("every segment was opened");
        self.read_file(segment, file.as_ref(), self.segments[&segment])
    }

    /// Refuses, or in salvage notes who is concerned.
    fn damage(
        &mut self,
        segment: u32,
        offset: u64,
        groups: Option<Vec<u64>>,
        what: &str,
    ) -> Result<(), WalError> {
        if !self.salvage {
            let group = groups.as_deref().and_then(|groups| match groups {
                [group] => Some(*group),
                _ => None,
            });
            return Err(WalError::Damaged { segment, offset, group, what: what.to_owned() });
        }
        tracing::warn!(segment, offset, ?groups, what, "salvaging a damaged write-ahead log");
        match groups {
            Some(groups) => self.damaged.extend(groups),
            None => self.all_damaged = true,
        }
        Ok(())
    }

    /// Replays the stream; says which segments belong to it.
    fn replay(&mut self) -> Result<Vec<u32>, WalError> {
        self.check_headless()?;
        let chain = self.chain();
        if let Some(oldest) = chain.first() {
            for (group, marks) in &self.headers[oldest].0.groups {
                self.groups.insert(*group, Group::of_marks(*marks));
            }
        }
        for pair in chain.windows(2) {
            let limit = u64::from(self.headers[&pair[1]].0.previous.offset);
            self.replay_closed(pair[0], limit)?;
            self.check_marks(pair[1])?;
        }
        if let Some(head) = chain.last() {
            self.replay_head(*head)?;
        }
        self.check_missing(&chain)?;
        Ok(chain)
    }

    /// Segments newer than the newest header: unused, unless something proves otherwise.
    fn check_headless(&mut self) -> Result<(), WalError> {
        let head = self.headers.keys().next_back().copied().unwrap_or(0);
        let newer: Vec<u32> = self.segments.range(head + 1..).map(|(number, _)| *number).collect();
        let mut claim = self.votes.as_ref().map(|votes| votes.synced);
        for segment in newer {
            let bytes = self.read_segment(segment)?;
            claim = claim.max(scan::claim_behind(&bytes, self.salt(segment), 0));
        }
        match claim {
            Some(claim) if claim.segment > head => {
                let what = "the header of a segment that was synced is missing or unreadable";
                self.damage(claim.segment, 0, None, what)
            }
            _ => Ok(()),
        }
    }

    /// The segments from the newest back for as long as they are there, oldest first.
    fn chain(&self) -> Vec<u32> {
        let mut chain = Vec::new();
        let mut next = self.headers.keys().next_back().copied();
        while let Some(segment) = next {
            chain.push(segment);
            let previous = self.headers[&segment].0.previous.segment;
            next = self.headers.contains_key(&previous).then_some(previous);
        }
        chain.reverse();
        chain
    }

    /// A segment with a successor: all up to `limit` was synced.
    fn replay_closed(&mut self, segment: u32, limit: u64) -> Result<(), WalError> {
        let bytes = self.read_segment(segment)?;
        let mut at = self.headers[&segment].1;
        while at < limit {
            match scan::item(&bytes, self.salt(segment), at) {
                Item::Batch { number, frames, end, .. } => {
                    self.batches = self.batches.max(number);
                    self.apply(segment, &frames)?;
                    at = end;
                }
                Item::Mark { end, .. } => at = end,
                Item::Bad(bad) => at = self.skip(segment, &bytes, at, bad)?,
            }
        }
        Ok(())
    }

    /// Refuses a damaged batch, or in salvage goes on behind it.
    fn skip(&mut self, segment: u32, bytes: &[u8], at: u64, bad: Bad) -> Result<u64, WalError> {
        self.damage(segment, bad.offset, bad.groups, bad.why.what())?;
        let salt = self.salt(segment);
        let behind = bad.end.or_else(|| scan::next_item(bytes, salt, at + SECTOR));
        Ok(behind.unwrap_or(bytes.len() as u64))
    }

    fn apply(&mut self, segment: u32, frames: &[Placed]) -> Result<(), WalError> {
        for (frame, offset, len) in frames {
            let place = (segment, *offset, *len);
            let lenient = self.salvage;
            if let Err(what) = replay::apply(&mut self.groups, frame, place, lenient) {
                self.damage(segment, *offset, frame.group().map(|group| vec![group]), &what)?;
            }
        }
        Ok(())
    }

    /// A header's marks must be what the stream before it amounts to.
    fn check_marks(&mut self, segment: u32) -> Result<(), WalError> {
        let stated = self.headers[&segment].0.groups.clone();
        if self.salvage {
            return Ok(());
        }
        let replayed: Vec<(u64, Marks)> =
            self.groups.iter().map(|(number, group)| (*number, group.marks)).collect();
        if stated == replayed {
            return Ok(());
        }
        let differing = |(one, other): &(_, _)| one != other;
        let first = stated.iter().zip(&replayed).find(differing).map(|(one, _)| vec![one.0]);
        self.damage(segment, 0, first, "the header disagrees with what came before it")
    }

    /// The newest segment: what was not surely synced is kept apart.
    fn replay_head(&mut self, segment: u32) -> Result<(), WalError> {
        let bytes = self.read_segment(segment)?;
        let start = self.headers[&segment].1;
        let synced = self.synced_end(segment, &bytes, start);
        let mut at = start;
        loop {
            match scan::item(&bytes, self.salt(segment), at) {
                Item::Batch { number, frames, end, .. } => {
                    self.batches = self.batches.max(number);
                    if end <= synced {
                        self.apply(segment, &frames)?;
                    } else {
                        self.tail.push(frames);
                    }
                    at = end;
                }
                Item::Mark { end, .. } => at = end,
                Item::Bad(bad) if at < synced => at = self.skip(segment, &bytes, at, bad)?,
                Item::Bad(_) => break,
            }
        }
        self.tail_segment = segment;
        let offset = u32::try_from(synced).expect("a segment is smaller than 4 GiB");
        self.synced = Position { segment, offset };
        Ok(())
    }

    /// The furthest end of this segment that anything proves to be synced.
    fn synced_end(&self, segment: u32, bytes: &[u8], start: u64) -> u64 {
        let votes = self.votes.as_ref().map(|votes| votes.synced);
        let claim = scan::claim_behind(bytes, self.salt(segment), start).max(votes);
        match claim {
            Some(claim) if claim.segment == segment => u64::from(claim.offset).max(start),
            _ => start,
        }
    }

    /// Every entry must have been found, but for those that the tail copies or makes needless: what
    /// it says may have been synced, and older segments removed for it.
    fn check_missing(&mut self, chain: &[u32]) -> Result<(), WalError> {
        let before = chain.first().map_or(0, |oldest| oldest.saturating_sub(1));
        let mut missing = BTreeMap::new();
        for (number, group) in &self.groups {
            let lost = |(index, slot): &(u64, Slot)| {
                slot.segment == 0
                    && !self.tail.iter().flatten().any(|(f, ..)| f.covers(*number, *index))
            };
            missing.extend(group.slots().find(lost).map(|(index, _)| (*number, index)));
        }
        for (number, index) in missing {
            let what = format!("entry {index} stood in an older segment, which is missing");
            self.damage(before, 0, Some(vec![number]), &what)?;
        }
        Ok(())
    }

    /// The votes file never knows a later vote than a log that is whole; of a log that lost bytes it
    /// gives the votes back.
    fn merge_votes(&mut self) -> Result<(), WalError> {
        let Some(votes) = self.votes.take() else { return Ok(()) };
        for (number, (counter, vote)) in &votes.votes {
            let in_tail = self.tail.iter().flatten().filter_map(|(frame, ..)| match frame {
                Frame::Vote { group, counter, .. } if group == number => Some(*counter),
                _ => None,
            });
            // A group that is not in the log was removed: its old vote says nothing.
            let in_log = self.groups.get(number).map(|group| group.marks.vote_counter);
            if in_log.max(in_tail.max()).is_some_and(|known| known < *counter) {
                let what = "the votes file has a later vote than the log";
                self.damage(votes.synced.segment, 0, Some(vec![*number]), what)?;
            }
            if self.lossy() {
                let group = self.groups.entry(*number).or_default();
                if *counter > group.marks.vote_counter {
                    group.marks.save_vote(*counter, *vote);
                    group.saved_vote = Some(*vote);
                }
            }
        }
        self.votes = Some(votes);
        Ok(())
    }

    fn lossy(&self) -> bool {
        self.all_damaged || !self.damaged.is_empty()
    }

    /// Begins a new segment with what the old ones do not hold for sure.
    fn begin(
        mut self,
        chain: Vec<u32>,
        options: WalOptions,
        driver: &Driver,
    ) -> Result<Machine, WalError> {
        let mut machine = Machine::new(options);
        let lossy = self.lossy();
        machine.next_segment = self.segments.keys().next_back().map_or(1, |last| last + 1);
        machine.votes_counter = self.votes.as_ref().map_or(0, |votes| votes.counter);
        machine.batches = self.batches;
        let ops = if lossy { self.salvaged(&mut machine)? } else { Vec::new() };
        machine.groups = std::mem::take(&mut self.groups);
        machine.written =
            machine.groups.iter().map(|(number, group)| (*number, group.marks)).collect();
        let kept = if lossy { Vec::new() } else { chain };
        machine.synced = if lossy { Position::default() } else { self.synced };
        machine.opened_at = Some(machine.synced);
        if !lossy {
            machine.chain = kept.iter().map(|number| (*number, self.segments[number])).collect();
            machine.count_live();
        }
        let tail = std::mem::take(&mut self.tail);
        let tail: Vec<Placed> = tail.into_iter().flatten().collect();
        machine.start(ops, if lossy { Vec::new() } else { tail }, driver)?;
        machine.void =
            self.segments.keys().filter(|number| !kept.contains(number)).copied().collect();
        machine.drop_needless();
        machine.replan();
        Ok(machine)
    }

    /// Everything that is left, to be written anew.
    fn salvaged(&mut self, machine: &mut Machine) -> Result<Vec<(u64, Op)>, WalError> {
        let tail = std::mem::take(&mut self.tail);
        for frames in tail {
            self.apply(self.tail_segment, &frames)?;
        }
        let mut ops = Vec::new();
        for (number, group) in &mut self.groups {
            if self.all_damaged || self.damaged.contains(number) {
                group.marks.damaged = true;
            }
            replay::cut_missing(group);
            let mut entries = Vec::new();
            for (index, slot) in group.slots() {
                entries.push((self.files.read(*number, index, slot)?, slot));
            }
            ops.push((*number, Op::Copy(entries)));
        }
        machine.live = Default::default();
        Ok(ops)
    }
}

impl Frame {
    /// Whether after this frame an older copy of the entry is not needed.
    fn covers(&self, number: u64, at: u64) -> bool {
        match self {
            Self::Copied { group, id, .. } => *group == number && id.index == at,
            Self::Purge { group, upto } => *group == number && upto.index >= at,
            Self::Truncate { group, after } => {
                *group == number && after.is_none_or(|after| after.index < at)
            }
            Self::Remove { group } => *group == number,
            _ => false,
        }
    }
}

impl Machine {
    fn count_live(&mut self) {
        for (number, group) in &self.groups {
            for (_, slot) in group.slots().filter(|(_, slot)| slot.segment != 0) {
                self.live.add(slot.segment, *number);
            }
        }
    }

    /// Writes a new segment: first its batches, then, when they are durable, its header.
    fn start(
        &mut self,
        ops: Vec<(u64, Op)>,
        tail: Vec<Placed>,
        driver: &Driver,
    ) -> Result<(), WalError> {
        let header_room = self.header_bytes();
        let number = self.next_segment;
        self.next_segment += 1;
        self.current = Current { number, started: true, at: header_room, ..Current::default() };
        let header = self.header().to_bytes();
        for (group, op) in ops {
            self.push(group, op);
        }
        self.push_tail(tail);
        let queued: u64 = self.queue.iter().map(|queued| queued.cost).sum();
        let least = header_room + queued + self.reserve() + SECTOR;
        let bytes = self.options.segment_bytes.max(least.next_multiple_of(SECTOR));
        if bytes > SEGMENT_MAX {
            return Err(WalError::TooLarge { bytes, limit: SEGMENT_MAX });
        }
        let mut cost = Cost::default();
        driver.perform(
            &Step::Prepare { segment: number, from: 0, to: bytes, total: bytes },
            &mut cost,
        )?;
        self.current.bytes = bytes;
        self.chain.insert(number, bytes);
        while !self.queue.is_empty() {
            let mut step = self.idle();
            while let Some(now) = step.take() {
                step = self.done(driver.perform(&now, &mut cost));
            }
            if let Some(WalError::Poisoned { cause }) = self.stopped.take() {
                return Err((*cause).clone());
            }
        }
        let write = Step::Write { segment: number, offset: 0, bytes: header };
        driver.perform(&write, &mut cost)?;
        driver.perform(&Step::Sync { segment: number }, &mut cost)?;
        self.opened_at = None;
        self.current.durable = true;
        let offset = u32::try_from(self.current.at).expect("a segment is smaller than 4 GiB");
        self.synced = Position { segment: number, offset };
        Ok(())
    }

    fn push(&mut self, group: u64, op: Op) {
        let cost = super::compose::cost(&op);
        self.eager += 1;
        self.queue.push_back(Queued { number: 0, group, op, cost, permits: 0, done: None });
    }

    /// Queues what may not have been synced, as if it came anew.
    fn push_tail(&mut self, tail: Vec<Placed>) {
        let mut run: Option<(u64, Vec<LogEntry>)> = None;
        for (frame, ..) in tail {
            match (frame, &mut run) {
                (Frame::Entry { group, id, bytes }, Some((of, entries))) if *of == group => {
                    entries.push(LogEntry { id, bytes });
                }
                (Frame::Entry { group, id, bytes }, _) => {
                    self.push_run(run.take());
                    run = Some((group, vec![LogEntry { id, bytes }]));
                }
                (frame, _) => {
                    self.push_run(run.take());
                    self.push_frame(frame);
                }
            }
        }
        self.push_run(run);
    }

    fn push_run(&mut self, run: Option<(u64, Vec<LogEntry>)>) {
        if let Some((group, entries)) = run {
            self.enqueue(group, Request::Append(entries), 0, None);
        }
    }

    fn push_frame(&mut self, frame: Frame) {
        let Some(group) = frame.group() else { return };
        let request = match frame {
            Frame::Copied { id, bytes, .. } => {
                let slot = self.groups.get(&group).and_then(|group| group.slot(id.index));
                let entry = LogEntry { id, bytes };
                return self
                    .push(group, Op::Copy(vec![(entry, slot.unwrap_or_else(Slot::default))]));
            }
            Frame::Vote { vote, .. } => Request::Vote(vote),
            Frame::Truncate { after, .. } => Request::Truncate(after),
            Frame::Purge { upto, .. } => Request::Purge(upto),
            Frame::Committed { id, .. } => Request::Committed(id),
            Frame::Remove { .. } => Request::Remove,
            Frame::Damage { damaged, .. } => Request::Damage(damaged),
            Frame::Header(_) | Frame::Batch { .. } | Frame::Mark { .. } | Frame::Entry { .. } => {
                return;
            }
        };
        self.enqueue(group, request, 0, None);
    }
}
