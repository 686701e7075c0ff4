//! The replica of one group: applies entries, one after the other, and keeps what they did.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, Weak};

use bytes::Bytes;
use fiscus_ledger::apply::{Applied, Effects, Entry, Prepared};
use fiscus_ledger::codec::Reader;
use fiscus_ledger::commands::Command;
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::outcome::{Event, Outcome};
use fiscus_ledger::record::Record;
use fiscus_ledger::state::group::{CheckpointTuple, Group};
use fiscus_ledger::state::registry::Document;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::state::working::{KnownRows, WorkingSet};
use fiscus_proto::{peer, stored};
use prost::Message;
use tokio::sync::{broadcast, watch};

use crate::disk::Disk;
use crate::entry::{GroupEntry, decode_entry};
use crate::index::{Batch, Durability, Index};
use crate::store::decided::Decided;
pub use crate::store::error::StoreError;
use crate::store::harm::Harm;
use crate::store::journal::{JOURNAL_FILE_BYTES, SIDE_FILE_ENTRIES};
use crate::store::members;
use crate::store::open_blocks::note_open_blocks;
use crate::store::recovery::{Recovery, Step};
use crate::store::references::reference_key;
use crate::store::snapshot::{Pins, SnapshotDir};
use crate::store::state::{
    OpenState, differs, forget_incoming, make_group_dir, open_or_rebuild, open_state, write_current,
};
use crate::store::versions::{AtHand, Versions};
use crate::wal::LogId;

/// Whether somebody still holds the files of a replica that was let go: two owners would damage them.
#[derive(Debug)]
pub struct Holders {
    replica: Weak<Replica>,
    /// Readings and snapshots in the making hold only this.
    state: Weak<OpenState>,
}

impl Holders {
    /// Those of a replica.
    pub fn of(replica: &Arc<Replica>) -> Self {
        Self { replica: Arc::downgrade(replica), state: Arc::downgrade(&replica.open_state()) }
    }

    /// Whether there are any left.
    pub fn any(&self) -> bool {
        self.replica.strong_count() + self.state.strong_count() > 0
    }
}

/// The row that says what was applied.
pub(crate) const APPLIED_KEY: [u8; 1] = [0];
/// The index's file in a state's directory.
pub(crate) const INDEX_FILE: &str = "index.redb";
/// Bytes of rows that may wait in memory.
const FRESH_BYTES_MAX: usize = 64 << 20;
const DIVERGED: &str =
    "its state differs from the one that a majority agreed on; it is taken anew from its peers";
/// First byte of the rows that lead from an outlet's positions to leaves.
pub(crate) const POSITION_TABLE: u8 = 0xC0;

/// What a replica is told.
#[derive(Debug, Clone)]
pub struct ReplicaOptions {
    /// The cluster's name.
    pub cluster: String,
    /// The group.
    pub group: u64,
    /// Bytes of index pages kept in memory.
    pub index_cache_bytes: usize,
    /// A file of records is sealed at this length.
    pub journal_file_bytes: u64,
    /// A file of leaves, nodes or signatures is sealed at so many of them.
    pub side_file_entries: u64,
    /// The last entry that this node's log has forgotten; 0 when it still has all of them. A damaged
    /// state can be rebuilt only from what reaches this far.
    pub log_purged: u64,
    /// A bug on purpose, to show that the tests see it: the journal is not synced before the index.
    #[cfg(test)]
    pub(crate) without_journal_sync: bool,
}

impl ReplicaOptions {
    /// As in production, with a log that goes back to the beginning.
    #[must_use]
    pub fn new(cluster: &str, group: u64, index_cache_bytes: usize) -> Self {
        Self {
            cluster: cluster.to_owned(),
            group,
            index_cache_bytes,
            journal_file_bytes: JOURNAL_FILE_BYTES,
            side_file_entries: SIDE_FILE_ENTRIES,
            log_purged: 0,
            #[cfg(test)]
            without_journal_sync: false,
        }
    }
}

/// What an entry did, for whoever proposed it.
#[derive(Debug, Clone)]
pub struct AppliedEntry {
    /// The answers, one a command.
    pub outcomes: Vec<Outcome>,
    /// The first new leaf.
    pub first_leaf: u64,
    /// The new leaves: their hash, and where their record stands in `records`.
    pub leaves: Vec<(Hash32, Option<(usize, usize)>)>,
    /// The new records in their stored form.
    pub records: Bytes,
    /// What people must hear of.
    pub events: Vec<Event>,
}

/// What apply answers to a proposal.
#[derive(Debug, Clone)]
pub enum ApplyReply {
    /// It was applied.
    Applied(Arc<AppliedEntry>),
    /// The group has moved to newer rules since it was proposed; nothing has happened, propose again.
    Stale,
    /// An entry of Raft's own.
    Internal,
}

/// The progress that others wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The last applied entry.
    pub applied: Option<LogId>,
    /// The group time.
    pub time_ms: u64,
    /// Leaves of the tree.
    pub leaves: u64,
    /// Leaves with their signature in the log.
    pub signed_leaves: u64,
    /// The rules in force.
    pub apply_version: u32,
    /// The leaves up to the last root of the heads tree, itself among them.
    pub heads_leaf_end: u64,
    /// Its group time.
    pub heads_leaf_time_ms: u64,
    /// The last cut that waits for its decision.
    pub last_cut: Option<CheckpointTuple>,
    /// Whether the state was taken from another replica, and no cut was decided since: of such a state the replica
    /// knows only what its source says.
    pub copied: bool,
    /// The last decided cut.
    pub decided: Option<CheckpointTuple>,
    /// Why the replica is out of service.
    pub stopped: Option<Arc<str>>,
}

/// What has changed among the directory's documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentChange {
    /// One document.
    Changed {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
    },
    /// A snapshot came in: anything may have changed.
    All,
}

/// Changes that a slow follower may lag behind before it has to look at all documents again.
const DOCUMENT_CHANGES: usize = 4_096;

/// What only the apply worker changes.
#[derive(Debug)]
pub(crate) struct Working {
    pub(crate) group: Group,
    pub(crate) applied: stored::AppliedState,
    /// Where the last durable state is.
    pub(crate) durable: Option<LogId>,
    pub(crate) versions: Versions,
    pub(crate) decided: Decided,
    pub(crate) known_rows: KnownRows,
    /// The last entry that the state was taken with from another replica; 0 for none.
    pub(crate) taken: u64,
}

/// The replica of one group.
#[derive(Debug)]
pub struct Replica {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) options: ReplicaOptions,
    open: RwLock<Arc<OpenState>>,
    working: Mutex<Working>,
    /// Held while a state is made durable, or replaced; taken before `working`.
    flushing: Mutex<()>,
    progress: watch::Sender<Progress>,
    documents: broadcast::Sender<DocumentChange>,
    quarantined: AtomicBool,
    /// Held while the group's recovery file is written or removed.
    recovery_file: Mutex<()>,
    pub(crate) pins: Pins,
    /// The entry of the members that are noted beside the state.
    members_noted: Mutex<Option<peer::LogId>>,
    pub(crate) harm: Arc<Harm>,
    pub(crate) heads: Arc<AtHand>,
}

pub(crate) fn from_log_id(id: LogId) -> peer::LogId {
    peer::LogId { term: id.term, index: id.index }
}

pub(crate) fn to_log_id(id: peer::LogId) -> LogId {
    LogId { term: id.term, index: id.index }
}

/// The key of the row that leads from a position to its leaf.
pub(crate) fn position_key(outlet_id: &str, position: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(outlet_id.len() + 11);
    key.push(POSITION_TABLE);
    let bytes = u16::try_from(outlet_id.len()).expect("identifiers are short");
    key.extend_from_slice(&bytes.to_be_bytes());
    key.extend_from_slice(outlet_id.as_bytes());
    key.extend_from_slice(&position.to_be_bytes());
    key
}

impl Replica {
    /// Opens what is there, or begins an empty state. A state whose index is damaged is rebuilt from the
    /// local snapshot; the log after it is replayed by Raft.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: ReplicaOptions,
    ) -> Result<Self, StoreError> {
        make_group_dir(&*disk, dir)?;
        let options_group = options.group;
        let (open, working) = open_or_rebuild(&disk, dir, &options)?;
        forget_incoming(&*disk, dir, &working.applied)?;
        let (progress, _) = watch::channel(progress_of(&working, None));
        let replica = Self {
            disk,
            dir: dir.to_owned(),
            options,
            open: RwLock::new(Arc::new(open)),
            working: Mutex::new(working),
            flushing: Mutex::new(()),
            progress,
            documents: broadcast::channel(DOCUMENT_CHANGES).0,
            quarantined: AtomicBool::new(false),
            recovery_file: Mutex::default(),
            pins: Pins::default(),
            members_noted: Mutex::default(),
            harm: Arc::new(Harm::of(options_group)),
            heads: Arc::default(),
        };
        replica.note_members();
        Ok(replica)
    }

    /// Notes the members where they are found when the state is not. What cannot be written is tried again
    /// with the next flush: it is a hint.
    fn note_members(&self) {
        let applied = self.applied_state();
        let mut noted = self.members_noted.lock().expect("no holder panics");
        if applied.membership_log_id == *noted {
            return;
        }
        match members::note(&*self.disk, &self.dir, &applied) {
            Ok(()) => *noted = applied.membership_log_id,
            Err(error) => {
                let group = self.group();
                tracing::warn!(group, %error, "the members are not noted beside the state");
            }
        }
    }

    /// What was found to be damaged since the replica was opened.
    pub fn harm(&self) -> &Harm {
        &self.harm
    }

    /// Takes the replica out of service for an error, and remembers whether a rebuild would help.
    fn stop_for(&self, error: &StoreError) {
        if error.is_damage() {
            self.harm.note_stop(error);
        }
        self.stop(&error.to_string());
    }

    /// Tells of every document that changes from now on.
    pub fn document_changes(&self) -> broadcast::Receiver<DocumentChange> {
        self.documents.subscribe()
    }

    /// The group's number.
    pub fn group(&self) -> u64 {
        self.options.group
    }

    /// What was applied last, and the membership as of then.
    pub fn applied_state(&self) -> stored::AppliedState {
        self.working().applied.clone()
    }

    /// The last durable state's place in the log.
    pub fn durable(&self) -> Option<LogId> {
        self.working().durable
    }

    /// Tells whenever something was applied.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(crate) fn open_state(&self) -> Arc<OpenState> {
        self.open.read().expect("no holder panics").clone()
    }

    pub(crate) fn working(&self) -> MutexGuard<'_, Working> {
        self.working.lock().expect("apply does not panic")
    }

    /// The state hash and the entry that it is of.
    pub fn state_hash(&self) -> (u64, Hash32) {
        let working = self.working();
        (working.group.log_index, working.group.state_hash())
    }

    /// Takes the replica out of service; what it holds may be wrong. The first reason stays: what
    /// fails afterwards fails because of it.
    pub fn stop(&self, why: &str) {
        let first = self.progress.send_if_modified(|progress| {
            let first = progress.stopped.is_none();
            progress.stopped.get_or_insert_with(|| why.into());
            first
        });
        if first {
            tracing::error!(group = self.group(), why, "the replica is out of service");
        }
    }

    /// Takes the replica out of service until it is rebuilt from its peers, over restarts, too.
    pub fn quarantine(&self, why: &str) {
        self.quarantined.store(true, Ordering::Relaxed);
        tracing::error!(group = self.group(), why, "the replica is in quarantine");
        self.progress.send_modify(|progress| progress.stopped = Some(why.into()));
        let kept = Recovery { step: Step::Quarantine, vote: None, why: why.to_owned() };
        let _one = self.recovery_file.lock().expect("no holder panics");
        if let Err(error) = kept.write(&*self.disk, &self.dir) {
            tracing::error!(group = self.group(), %error, "the quarantine does not outlive a restart");
        }
    }

    /// Forgets a recovery that has ended; says whether it has. A quarantine does not end so.
    pub(crate) fn end_recovery(&self) -> Result<bool, StoreError> {
        let _one = self.recovery_file.lock().expect("no holder panics");
        if self.quarantined() {
            return Ok(false);
        }
        Recovery::clear(&*self.disk, &self.dir)?;
        if let Err(error) = Recovery::forget_lost(&*self.disk, &self.dir) {
            // The next opening removes it.
            tracing::warn!(group = self.group(), %error, "what was set aside is still there");
        }
        Ok(true)
    }

    /// Whether it is in quarantine because a majority has agreed on another state.
    pub fn diverged(&self) -> bool {
        self.quarantined() && self.progress.borrow().stopped.as_deref() == Some(DIVERGED)
    }

    /// Whether it waits for an operator.
    pub fn quarantined(&self) -> bool {
        self.quarantined.load(Ordering::Relaxed)
    }

    /// Applies an entry that carries commands.
    pub fn apply_normal(&self, id: LogId, bytes: &[u8]) -> Result<ApplyReply, StoreError> {
        let mut working = self.working();
        self.check_in_service()?;
        let (group, index) = (self.group(), id.index);
        let decoded = decode_entry(group, index, bytes).map_err(|source| StoreError::Entry {
            group,
            index,
            source,
        })?;
        let version = match &decoded {
            GroupEntry::Data(entry) => entry.apply_version,
            GroupEntry::Directory(entry) => entry.apply_version,
        };
        if version < working.group.apply_version {
            self.note(&mut working, id, None)?;
            return Ok(ApplyReply::Stale);
        }
        let reply = match &decoded {
            GroupEntry::Data(entry) => self.apply_commands(&mut working, id, entry),
            GroupEntry::Directory(entry) => self.apply_commands(&mut working, id, entry),
        };
        if let Err(error) = reply.as_ref()
            && !self.quarantined()
        {
            // The group went into the failed attempt; nothing may be applied to what is left of it.
            self.stop_for(error);
        }
        reply
    }

    /// Notes an entry that changes nothing but the place in the log, or the membership.
    pub fn apply_internal(
        &self,
        id: LogId,
        membership: Option<peer::Membership>,
    ) -> Result<(), StoreError> {
        let mut working = self.working();
        self.check_in_service()?;
        let noted = self.note(&mut working, id, membership);
        if let Err(error) = &noted {
            self.stop_for(error);
        }
        noted
    }

    pub(crate) fn check_in_service(&self) -> Result<(), StoreError> {
        match &self.progress.borrow().stopped {
            Some(why) => Err(StoreError::Stopped { group: self.group(), why: why.to_string() }),
            None => Ok(()),
        }
    }

    fn note(
        &self,
        working: &mut Working,
        id: LogId,
        membership: Option<peer::Membership>,
    ) -> Result<(), StoreError> {
        let mut applied = working.applied.clone();
        applied.applied = Some(from_log_id(id));
        if membership.is_some() {
            applied.membership_log_id = Some(from_log_id(id));
            applied.membership = membership;
        }
        let mut batch = Batch::new();
        batch.put(APPLIED_KEY, applied.encode_to_vec());
        self.open_state().index.write(&batch, Durability::Eventual)?;
        working.applied = applied;
        self.publish(working);
        Ok(())
    }

    fn apply_commands<C: Command>(
        &self,
        working: &mut Working,
        id: LogId,
        entry: &Entry<C>,
    ) -> Result<ApplyReply, StoreError> {
        let open = self.open_state();
        let cannot = |source| StoreError::Apply { group: self.group(), index: id.index, source };
        let prepared = Prepared::new(entry, &working.group).map_err(cannot)?;
        let mut failure = None;
        let placeholder = Group::new(&self.options.cluster, self.options.group);
        let group = std::mem::replace(&mut working.group, placeholder);
        let state =
            WorkingSet::load_with(group, prepared.reads(), &mut working.known_rows, |key| {
                open.index.get(key).unwrap_or_else(|error| {
                    failure.get_or_insert(error);
                    None
                })
            });
        if let Some(error) = failure {
            return Err(error.into());
        }
        let state = state.map_err(|source| cannot(source.into()))?;
        let Applied { state, outcomes, mut effects } = prepared.apply(state).map_err(cannot)?;
        open.journal.append(&effects)?;
        let mut applied = working.applied.clone();
        applied.applied = Some(from_log_id(id));
        let lengths = open.journal.lengths();
        applied.journal_bytes = lengths.journal;
        applied.leaves = lengths.leaves;
        applied.signatures = lengths.signatures;
        applied.time_ms = state.group.time.get();
        // What differs is never shown: neither to readers nor to whoever proposed the entry.
        let diverged = effects.events.iter().any(|e| matches!(e, Event::ReplicaDiverged { .. }));
        if diverged {
            self.quarantine(DIVERGED);
        }
        let documents = changed_documents(&effects);
        let mut batch = effects_batch(&mut effects, &applied);
        working.decided.note(&mut batch, &effects, applied.time_ms);
        if let Some(heads) = working.versions.note(&mut batch, &effects, &state.group) {
            self.heads.keep(heads);
        }
        open.index.write(&batch, Durability::Eventual)?;
        working.group = state.leave(&mut working.known_rows);
        working.applied = applied;
        for change in documents {
            // Nobody may be listening.
            let _ = self.documents.send(change);
        }
        self.publish(working);
        self.check_in_service()?;
        Ok(ApplyReply::Applied(Arc::new(AppliedEntry {
            outcomes,
            first_leaf: effects.first_leaf,
            leaves: effects.leaves.iter().map(|leaf| (leaf.hash, leaf.record)).collect(),
            records: Bytes::from(effects.records),
            events: effects.events,
        })))
    }

    pub(crate) fn publish(&self, working: &Working) {
        self.progress.send_modify(|progress| {
            let stopped = progress.stopped.take();
            *progress = progress_of(working, stopped);
        });
    }

    /// Makes everything applied durable, unless the log is not: `log_flushed` is the last entry that
    /// this node's own log holds durably. Says whether it did. Apply goes on meanwhile.
    pub fn flush(&self, log_flushed: Option<LogId>) -> Result<bool, StoreError> {
        self.note_members();
        let _one = self.flushing();
        let (open, applied) = {
            let working = self.working();
            self.check_in_service()?;
            if let Some(done) = is_flushed(&working, log_flushed) {
                return Ok(done);
            }
            let open = self.open_state();
            open.index.freeze();
            (open, working.applied.applied)
        };
        self.sync_state(&open)?;
        self.working().durable = applied.map(to_log_id);
        Ok(true)
    }

    /// Whether so much waits in memory that apply should make it durable before it goes on.
    pub fn is_full(&self) -> bool {
        self.open_state().index.fresh_bytes() > FRESH_BYTES_MAX
    }

    /// Held by whoever makes a state durable or replaces it; taken before `working`.
    pub(crate) fn flushing(&self) -> MutexGuard<'_, ()> {
        self.flushing.lock().expect("flushing does not panic")
    }

    /// The journal first: the index never speaks of records that are not on the disk.
    fn sync_state(&self, open: &OpenState) -> Result<(), StoreError> {
        let synced = self.sync_journal(open).and_then(|()| Ok(open.index.sink()?));
        if let Err(error) = &synced {
            // A second sync would succeed without the writes that the first one lost.
            self.stop_for(error);
        }
        synced
    }

    fn sync_journal(&self, open: &OpenState) -> Result<(), StoreError> {
        #[cfg(test)]
        if self.options.without_journal_sync {
            return Ok(());
        }
        Ok(open.journal.sync()?)
    }

    /// Replaces the state by a received snapshot's, in one step.
    pub(crate) fn switch(&self, name: &str, snapshot: &SnapshotDir) -> Result<(), StoreError> {
        let _one = self.flushing();
        let mut working = self.working();
        let state = self.dir.join(name);
        let (open, opened) = open_state(&self.disk, &state, &self.options)?;
        if let Some(what) = differs(&opened, snapshot) {
            return Err(self.unreadable("received snapshot", what));
        }
        if let Err(error) = write_current(&*self.disk, &self.dir, name) {
            // Which of the two states is found after a restart is not known: neither may change.
            self.stop(&error.to_string());
            return Err(error);
        }
        let old =
            std::mem::replace(&mut *self.open.write().expect("no holder panics"), Arc::new(open));
        let old = old.dir.clone();
        *working = opened;
        tracing::info!(
            group = self.group(),
            index = snapshot.manifest.log_id.map_or(0, |id| id.index),
            "a snapshot is in use"
        );
        // As with an entry: who sees the progress finds the change among those that were told. Nobody
        // may be listening.
        let _ = self.documents.send(DocumentChange::All);
        self.progress.send_modify(|progress| *progress = progress_of(&working, None));
        if old != state
            && let Err(error) = self.disk.remove_dir_all(&old)
        {
            // The next opening removes it.
            tracing::warn!(dir = %old.display(), %error, "the old state is still there");
        }
        Ok(())
    }
}

/// Whether there is nothing to make durable, or it cannot be made so yet; `None` when it is to be done.
fn is_flushed(working: &Working, log_flushed: Option<LogId>) -> Option<bool> {
    let applied = working.applied.applied.map(to_log_id);
    if applied == working.durable {
        return Some(true);
    }
    (applied.map(|id| id.index) > log_flushed.map(|id| id.index)).then_some(false)
}

fn progress_of(working: &Working, stopped: Option<Arc<str>>) -> Progress {
    let group = &working.group;
    Progress {
        applied: working.applied.applied.map(to_log_id),
        time_ms: group.time.get(),
        leaves: group.tree.size(),
        signed_leaves: group.signed_leaves,
        apply_version: group.apply_version,
        heads_leaf_end: group.heads_leaf_end,
        heads_leaf_time_ms: group.heads_leaf_time.get(),
        last_cut: group.cuts.last().cloned(),
        copied: group.decided.as_ref().map_or(0, |tuple| tuple.log_index) < working.taken,
        decided: group.decided.clone(),
        stopped,
    }
}

fn changed_documents(effects: &Effects) -> Vec<DocumentChange> {
    let rows = effects.rows.iter().filter(|(key, _)| key[0] == Document::TABLE);
    let named = rows.filter_map(|(key, _)| {
        let mut from = Reader::new(&key[1..]);
        let (kind, id) = (from.str("kind").ok()?.to_owned(), from.str("id").ok()?.to_owned());
        Some(DocumentChange::Changed { kind, id })
    });
    named.collect()
}

/// All rows that an entry changes; the effects' own are taken out of them and shared, not copied.
fn effects_batch(effects: &mut Effects, applied: &stored::AppliedState) -> Batch {
    let mut batch = Batch::with_capacity(effects.rows.len() + effects.leaves.len() + 2);
    note_open_blocks(&mut batch, effects);
    let (rows, places) = std::mem::take(&mut effects.rows).into_parts();
    let rows = Bytes::from(rows);
    for (key, row) in places {
        batch.change(rows.slice(key), row.map(|row| rows.slice(row)));
    }
    for (leaf, index) in effects.leaves.iter().zip(effects.first_leaf..) {
        if let Some((from, to)) = leaf.record {
            let record = Record::read(&effects.records[from..to])
                .expect("apply encoded the record just now");
            let index = Bytes::copy_from_slice(&index.to_le_bytes());
            let position = position_key(record.outlet_id, record.position);
            batch.change(position.into(), Some(index.clone()));
            if let Some(key) = reference_key(&record) {
                batch.change(key.into(), Some(index));
            }
        }
    }
    batch.put(Group::stored_key(), effects.group_row.as_slice());
    batch.put(APPLIED_KEY, applied.encode_to_vec());
    batch
}

pub(crate) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { doing, path, source }
}
