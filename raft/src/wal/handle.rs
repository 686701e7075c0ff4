//! The handles: `Wal` for the node, `GroupLog` for one Raft group, and what drives the machine.
//!
//! Invariants: the machine's lock is never held across an await, a step on the disk or a callback;
//! one driver at a time takes a step, so completions are told in queue order. Non-goal: a runtime;
//! the thread needs none.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::disk::{Disk, DiskFile};

use super::driver::{Cost, Driver, Files};
use super::error::WalError;
use super::group::{Group, Slot};
use super::machine::{Completion, Done, Lagging, Machine, Step};
use super::options::{OnPoison, WalOptions};
use super::stats::SyncStats;
use super::submit::{Admission, Request};
use super::{LogEntry, LogId, Vote, open};

/// The write-ahead log of a node. Clones share it; when the last one and the last [`GroupLog`] are
/// dropped, what is queued is written and the log stops.
#[derive(Clone)]
pub struct Wal {
    handle: Arc<Handle>,
}

/// One group's log. Clones share it.
#[derive(Clone)]
pub struct GroupLog {
    handle: Arc<Handle>,
    group: u64,
}

struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    core: Mutex<Core>,
    /// Wakes the thread.
    work: Condvar,
    /// Wakes whoever drives inline.
    work_inline: Notify,
    /// Wakes callers that wait for another segment.
    room: Notify,
    /// Bytes that may still be queued.
    queue: Semaphore,
    queue_bytes: u32,
    idle: Duration,
    on_poison: Option<OnPoison>,
    files: Arc<Files>,
    driver: Mutex<Driver>,
}

struct Core {
    machine: Machine,
    stats: SyncStats,
    /// There may be something to do.
    dirty: bool,
    closing: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere has its own report; the state behind is only changed in whole steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, Core> {
        locked(&self.core)
    }

    fn wake(&self) {
        self.work.notify_all();
        self.work_inline.notify_one();
    }

    /// Takes steps until there is nothing to do. `idle` says that the log was idle.
    fn drive(&self, idle: bool) {
        let driver = locked(&self.driver);
        let mut idle = idle;
        loop {
            let step = {
                let mut core = self.core();
                core.dirty = false;
                let next = core.machine.next();
                if next.is_none() && std::mem::take(&mut idle) { core.machine.idle() } else { next }
            };
            let Some(step) = step else { return };
            self.take(&driver, step);
        }
    }

    /// Takes one step, and those that must follow it at once.
    fn take(&self, driver: &Driver, first: Step) {
        let mut step = Some(first);
        while let Some(now) = step.take() {
            let mut cost = Cost::default();
            let result = driver.perform(&now, &mut cost);
            let (next, completed, poisoned) = {
                let mut core = self.core();
                if let Some(micros) = cost.sync_us {
                    core.stats.synced(micros);
                }
                core.stats.bytes_written += cost.bytes;
                let well = core.machine.stopped.is_none();
                if let Step::Write { bytes, .. } = now {
                    core.machine.keep(bytes);
                }
                let next = core.machine.done(result);
                let poisoned = core.machine.stopped.clone().filter(|_| well);
                (next, std::mem::take(&mut core.machine.completed), poisoned)
            };
            step = next;
            self.tell(completed);
            self.room.notify_waiters();
            if let (Some(error), Some(on_poison)) = (poisoned, &self.on_poison) {
                on_poison(&error);
            }
        }
    }

    fn tell(&self, completed: Vec<Completion>) {
        for Completion { permits, done, result } in completed {
            self.queue.add_permits(permits as usize);
            if let Some(done) = done {
                done(result);
            }
        }
    }

    /// The thread's life.
    fn run(&self) {
        loop {
            self.drive(false);
            let mut core = self.core();
            let idle = core.machine.has_idle_work();
            if core.closing {
                drop(core);
                return self.finish();
            }
            let mut idled = false;
            while !core.dirty && !core.closing && !idled {
                if idle {
                    let waited = self.work.wait_timeout(core, self.idle);
                    let (back, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    core = back;
                    idled = timeout.timed_out();
                } else {
                    core = self.work.wait(core).unwrap_or_else(PoisonError::into_inner);
                }
            }
            drop(core);
            if idled {
                self.drive(true);
            }
        }
    }

    /// Writes what is queued and a last mark, and refuses everything from now on.
    fn finish(&self) {
        self.drive(false);
        self.drive(true);
        self.drive(true);
        let driver = locked(&self.driver);
        let segment = {
            let mut core = self.core();
            if core.machine.stopped.is_some() {
                return;
            }
            core.machine.stopped = Some(WalError::Closed);
            core.machine.fail(Vec::new(), &WalError::Closed);
            core.machine.current.number
        };
        let completed = std::mem::take(&mut self.core().machine.completed);
        self.tell(completed);
        self.room.notify_waiters();
        // The mark is a convenience: what it vouches for is durable already.
        let mut cost = Cost::default();
        if let Err(error) = driver.perform(&Step::Sync { segment }, &mut cost) {
            tracing::warn!(%error, "the write-ahead log's last mark was not synced");
        }
    }

    async fn submit(
        &self,
        group: u64,
        request: Request,
        mut done: Option<Done>,
    ) -> Result<(), WalError> {
        let result = self.try_submit(group, request, &mut done).await;
        if let (Err(error), Some(done)) = (&result, done) {
            done(Err(error.clone()));
        }
        result
    }

    async fn try_submit(
        &self,
        group: u64,
        request: Request,
        done: &mut Option<Done>,
    ) -> Result<(), WalError> {
        let bytes = u32::try_from(request.bytes()).unwrap_or(u32::MAX).min(self.queue_bytes);
        let permit = self.queue.acquire_many(bytes).await.map_err(|_| WalError::Closed)?;
        let mut waited = None;
        loop {
            let room = self.room.notified();
            let mut room = std::pin::pin!(room);
            room.as_mut().enable();
            {
                let mut core = self.core();
                match core.machine.admit(group, &request, waited)? {
                    Admission::Now => {
                        permit.forget();
                        core.machine.enqueue(group, request, bytes, done.take());
                        core.dirty = true;
                        drop(core);
                        self.wake();
                        return Ok(());
                    }
                    Admission::Needless => break,
                    Admission::Later => {
                        waited = waited.or(Some(core.machine.full_count));
                        core.dirty = true;
                    }
                }
            }
            self.wake();
            room.await;
        }
        if let Some(done) = done.take() {
            done(Ok(()));
        }
        Ok(())
    }

    async fn submit_durably(&self, group: u64, request: Request) -> Result<(), WalError> {
        let (sender, receiver) = oneshot::channel();
        // A caller that went away no longer wants to know.
        let done: Done = Box::new(move |result| drop(sender.send(result)));
        self.submit(group, request, Some(done)).await?;
        receiver.await.unwrap_or(Err(WalError::Closed))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Handle {
    fn stop(&self) {
        let thread = locked(&self.thread).take();
        self.shared.core().closing = true;
        self.shared.wake();
        match thread {
            None => self.shared.finish(),
            // The last handle went in a callback: the thread ends by itself.
            Some(thread) if thread.thread().id() == std::thread::current().id() => {}
            Some(thread) => {
                if thread.join().is_err() {
                    tracing::error!("the write-ahead log's thread panicked");
                }
            }
        }
    }
}

impl Wal {
    /// Opens the log in a directory, which is made when it is not there, and starts its thread.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: WalOptions) -> Result<Self, WalError> {
        let wal = Self::open_inline(disk, dir, options)?;
        let shared = Arc::clone(&wal.handle.shared);
        let spawned = std::thread::Builder::new()
            .name("wal".to_owned())
            .spawn(move || shared.run())
            .map_err(|e| WalError::io("start the thread for", dir, e))?;
        *locked(&wal.handle.thread) = Some(spawned);
        Ok(wal)
    }

    /// Opens the log without a thread: nothing is written until [`Wal::drive`] is called.
    pub fn open_inline(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: WalOptions,
    ) -> Result<Self, WalError> {
        options.check()?;
        let queue_bytes = u32::try_from(options.queue_bytes).expect("the bound was checked");
        let idle = Duration::from_millis(options.idle_ms);
        let on_poison = options.on_poison.clone();
        let (machine, driver) = open::open(disk, dir, options)?;
        let files = Arc::clone(&driver.files);
        let core = Core { machine, stats: SyncStats::default(), dirty: true, closing: false };
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            work: Condvar::new(),
            work_inline: Notify::new(),
            room: Notify::new(),
            queue: Semaphore::new(queue_bytes as usize),
            queue_bytes,
            idle,
            on_poison,
            files,
            driver: Mutex::new(driver),
        });
        Ok(Self { handle: Arc::new(Handle { shared, thread: Mutex::new(None) }) })
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// Inline only: does everything there is to do, but for what waits for company.
    pub fn drive(&self) {
        self.shared().drive(false);
    }

    /// Inline only: as [`Wal::drive`], and what a log does that was idle for `idle_ms`.
    pub fn drive_idle(&self) {
        self.shared().drive(true);
        self.shared().drive(false);
    }

    /// Inline only: waits until there is something to drive.
    pub async fn work_arrived(&self) {
        self.shared().work_inline.notified().await;
    }

    /// The groups that were ever used and not removed.
    pub fn groups(&self) -> Vec<u64> {
        self.shared().core().machine.groups.keys().copied().collect()
    }

    /// A group's log; it comes into being with the first operation.
    pub fn group(&self, group: u64) -> GroupLog {
        GroupLog { handle: Arc::clone(&self.handle), group }
    }

    /// Forgets a group and everything of it; durable on return.
    pub async fn remove_group(&self, group: u64) -> Result<(), WalError> {
        if !self.shared().core().machine.groups.contains_key(&group) {
            return Ok(());
        }
        self.shared().submit_durably(group, Request::Remove).await
    }

    /// Size of one segment.
    pub fn segment_bytes(&self) -> u64 {
        self.shared().core().machine.options.segment_bytes
    }

    /// Whether the log copies so much of a lagging group forward by itself.
    pub fn copies_forward(&self, entries: u64, bytes: u64) -> bool {
        let core = self.shared().core();
        let options = &core.machine.options;
        entries <= options.copy_entries_max && bytes <= options.copy_bytes_max
    }

    /// Size of all segments.
    pub fn bytes_on_disk(&self) -> u64 {
        let core = self.shared().core();
        let prepared = core.machine.prepared.iter().map(|(_, bytes)| bytes);
        core.machine.chain.values().chain(prepared).sum()
    }

    /// How often and how fast the log was synced.
    pub fn sync_stats(&self) -> SyncStats {
        self.shared().core().stats
    }

    /// The groups that keep old segments alive, the one with the oldest first; they want a snapshot
    /// and a purge.
    pub fn lagging(&self) -> Vec<Lagging> {
        self.shared().core().machine.lagging()
    }

    /// Writes what is queued, stops the log and waits for it; later calls fail.
    pub fn shutdown(&self) {
        self.handle.stop();
    }
}

impl GroupLog {
    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    fn look<T>(&self, at: impl FnOnce(&Group) -> T) -> Option<T> {
        self.shared().core().machine.groups.get(&self.group).map(at)
    }

    /// The group's number.
    pub fn group(&self) -> u64 {
        self.group
    }

    /// Bytes of the entries behind `index`.
    pub fn bytes_after(&self, index: u64) -> u64 {
        self.look(|group| group.bytes_after(index)).unwrap_or(0)
    }

    /// The last durable vote.
    pub fn vote(&self) -> Option<Vote> {
        self.look(|group| group.saved_vote).flatten()
    }

    /// The last saved committed id.
    pub fn committed(&self) -> Option<LogId> {
        self.look(|group| group.marks.committed).flatten()
    }

    /// The last purged id.
    pub fn purged(&self) -> Option<LogId> {
        self.look(|group| group.marks.purged).flatten()
    }

    /// The last entry, or the purged one when there is none.
    pub fn last(&self) -> Option<LogId> {
        self.look(|group| group.marks.last).flatten()
    }

    /// The last durable entry, or the purged one when there is none.
    pub fn flushed(&self) -> Option<LogId> {
        self.look(Group::flushed).flatten()
    }

    /// Index of the first entry; `None` when there is none.
    pub fn first_index(&self) -> Option<u64> {
        self.look(|group| (group.len() > 0).then_some(group.marks.first)).flatten()
    }

    /// Term of the entry at this index, or of the purged one.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.look(|group| group.term_at(index)).flatten()
    }

    /// Whether synced bytes of this group were lost: it must neither vote nor lead until it has
    /// caught up from its peers.
    pub fn is_damaged(&self) -> bool {
        self.look(|group| group.marks.damaged).unwrap_or(false)
    }

    /// The group has caught up; durable on return.
    pub async fn clear_damage(&self) -> Result<(), WalError> {
        if !self.is_damaged() {
            return Ok(());
        }
        self.shared().submit_durably(self.group, Request::Damage(false)).await
    }

    /// Saves a vote; durable on return.
    pub async fn save_vote(&self, vote: Vote) -> Result<(), WalError> {
        self.shared().submit_durably(self.group, Request::Vote(vote)).await
    }

    /// Appends entries. When it resolves they are readable; `done` is told when they are durable,
    /// or that they never will be. A caller that drops the future before it resolves is not told.
    pub async fn append(&self, entries: Vec<LogEntry>, done: Done) -> Result<(), WalError> {
        self.shared().submit(self.group, Request::Append(entries), Some(done)).await
    }

    /// Removes the entries behind `after`, or all of them.
    pub async fn truncate_after(&self, after: Option<LogId>) -> Result<(), WalError> {
        self.shared().submit(self.group, Request::Truncate(after), None).await
    }

    /// Forgets the entries up to `upto`, which may lie behind the last one.
    pub async fn purge(&self, upto: LogId) -> Result<(), WalError> {
        self.shared().submit(self.group, Request::Purge(upto), None).await
    }

    /// The same; durable on return.
    pub async fn purge_durably(&self, upto: LogId) -> Result<(), WalError> {
        self.shared().submit_durably(self.group, Request::Purge(upto)).await
    }

    /// Remembers what is committed; it is written with the next batch.
    pub async fn save_committed(&self, committed: Option<LogId>) -> Result<(), WalError> {
        self.shared().submit(self.group, Request::Committed(committed), None).await
    }

    /// Reads entries in order until `bytes_max` is exceeded, but at least one when there is any.
    pub fn read(
        &self,
        range: impl RangeBounds<u64>,
        bytes_max: usize,
    ) -> Result<Vec<LogEntry>, WalError> {
        let found = self.find(&range, bytes_max)?;
        let files = &self.shared().files;
        let read = |found: Found| match found.place {
            Place::Cached(bytes) => Ok(LogEntry { id: found.id, bytes }),
            Place::File(file, slot) => {
                files.read_from(file.as_ref(), self.group, found.id.index, slot)
            }
        };
        found.into_iter().map(read).collect()
    }

    /// Where the entries of a range are, as of now.
    fn find(&self, range: &impl RangeBounds<u64>, max: usize) -> Result<Vec<Found>, WalError> {
        let core = self.shared().core();
        let Some(group) = core.machine.groups.get(&self.group) else { return Ok(Vec::new()) };
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let (mut found, mut bytes) = (Vec::new(), 0_usize);
        for index in start.max(group.marks.first)..end.min(group.end()) {
            let hole = WalError::Hole { group: self.group, index };
            let Some(slot) = group.slot(index) else { return Err(hole) };
            bytes = bytes.saturating_add(slot.len as usize);
            if bytes > max && !found.is_empty() {
                break;
            }
            let place = match group.cached(index) {
                Some(bytes) => Place::Cached(bytes),
                None => Place::File(self.shared().files.get(slot.segment).ok_or(hole)?, slot),
            };
            found.push(Found { id: LogId { term: slot.term, index }, place });
        }
        Ok(found)
    }
}

struct Found {
    id: LogId,
    place: Place,
}

enum Place {
    Cached(Bytes),
    File(Arc<dyn DiskFile>, Slot),
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("groups", &self.groups()).finish_non_exhaustive()
    }
}

impl fmt::Debug for GroupLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupLog").field("group", &self.group).finish_non_exhaustive()
    }
}
