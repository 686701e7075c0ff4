//! The replica of one group: applies entries, one after the other, and keeps what they did.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use bytes::Bytes;
use fiscus_ledger::apply::{Applied, ApplyError, Effects, Entry, Prepared};
use fiscus_ledger::codec::{DecodeError, Reader};
use fiscus_ledger::commands::Command;
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::outcome::{Event, Outcome};
use fiscus_ledger::record::Record;
use fiscus_ledger::state::group::{APPLY_VERSION_MAX, CheckpointTuple, Group};
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::registry::Document;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::state::working::WorkingSet;
use fiscus_proto::{peer, stored};
use prost::Message;
use tokio::sync::{broadcast, watch};

use crate::disk::{Disk, OpenHow};
use crate::entry::{EntryError, GroupEntry, decode_entry};
use crate::index::{Batch, Durability, Index, IndexError, RedbIndex, RedbOptions};
use crate::store::journal::{Journal, Lengths};
use crate::store::recovery::{Recovery, Step};
use crate::store::series::SeriesError;
use crate::store::snapshot::SnapshotDir;
use crate::wal::LogId;

/// The row that says what was applied.
pub(crate) const APPLIED_KEY: [u8; 1] = [0];
/// The index's file in a state's directory.
pub(crate) const INDEX_FILE: &str = "index.redb";
const DIVERGED: &str = "its state differs from the one that a majority agreed on; run `fiscus admin \
                        scrub --repair`, which takes it anew from its peers";
/// First byte of the rows that lead from an outlet's positions to leaves.
const POSITION_TABLE: u8 = 0xC0;

/// What a replica is told.
#[derive(Debug, Clone)]
pub struct ReplicaOptions {
    /// The cluster's name.
    pub cluster: String,
    /// The group.
    pub group: u64,
    /// Bytes of index pages kept in memory.
    pub index_cache_bytes: usize,
}

/// Why a replica cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The journal failed.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// Apply cannot go on.
    #[error("group {group} cannot apply entry {index}: {source}")]
    Apply {
        /// The group.
        group: u64,
        /// The entry.
        index: u64,
        /// Why.
        source: ApplyError,
    },
    /// A committed entry cannot be read.
    #[error("group {group} cannot read entry {index}: {source}")]
    Entry {
        /// The group.
        group: u64,
        /// The entry.
        index: u64,
        /// Why.
        source: EntryError,
    },
    /// A row of the replica's own cannot be read.
    #[error("the {what} of group {group} in {dir} cannot be read: {detail}")]
    Row {
        /// The group.
        group: u64,
        /// Which row.
        what: &'static str,
        /// Where.
        dir: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The directory failed.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The replica stopped because it would have been wrong.
    #[error("group {group} is out of service on this node: {why}")]
    Stopped {
        /// The group.
        group: u64,
        /// Why.
        why: String,
    },
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
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
    /// The last cut that waits for its decision.
    pub last_cut: Option<CheckpointTuple>,
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

/// The files of a state, shared with readers.
#[derive(Debug)]
pub(crate) struct OpenState {
    pub(crate) dir: PathBuf,
    pub(crate) index: Arc<dyn Index>,
    pub(crate) journal: Arc<Journal>,
}

/// What only the apply worker changes.
#[derive(Debug)]
pub(crate) struct Working {
    pub(crate) group: Group,
    pub(crate) applied: stored::AppliedState,
    /// Where the last durable state is.
    pub(crate) durable: Option<LogId>,
}

/// The replica of one group.
#[derive(Debug)]
pub struct Replica {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) options: ReplicaOptions,
    open: RwLock<Arc<OpenState>>,
    working: Mutex<Working>,
    progress: watch::Sender<Progress>,
    documents: broadcast::Sender<DocumentChange>,
    quarantined: AtomicBool,
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
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: ReplicaOptions) -> Result<Self, StoreError> {
        disk.create_dir_all(dir).map_err(io_error("make", dir))?;
        let name = read_current(&*disk, dir)?.unwrap_or_else(|| "state-1".to_owned());
        let asked = Recovery::read(&*disk, dir)?.filter(|asked| asked.step == Step::Reindex);
        let opened = match asked {
            None => open_state(&disk, &dir.join(&name), &options),
            Some(asked) => Err(StoreError::Row {
                group: options.group,
                what: "state",
                dir: dir.join(&name),
                detail: asked.why,
            }),
        };
        let (open, working) = match opened {
            Ok(opened) => opened,
            Err(error) if is_damage(&error) => {
                tracing::error!(group = options.group, %error, "the state is damaged: rebuilding it");
                rebuild(&disk, dir, &name, &options, error)?
            }
            Err(error) => return Err(error),
        };
        if read_current(&*disk, dir)?.is_none() {
            write_current(&*disk, dir, &name)?;
        }
        let (progress, _) = watch::channel(progress_of(&working, None));
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            options,
            open: RwLock::new(Arc::new(open)),
            working: Mutex::new(working),
            progress,
            documents: broadcast::channel(DOCUMENT_CHANGES).0,
            quarantined: AtomicBool::new(false),
        })
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

    /// Takes the replica out of service; what it holds may be wrong.
    pub fn stop(&self, why: &str) {
        tracing::error!(group = self.group(), why, "the replica is out of service");
        self.progress.send_modify(|progress| progress.stopped = Some(why.into()));
    }

    /// Takes the replica out of service until it is rebuilt from its peers, over restarts, too.
    pub fn quarantine(&self, why: &str) {
        self.quarantined.store(true, Ordering::Relaxed);
        self.stop(why);
        let kept = Recovery { step: Step::Quarantine, vote: None, why: why.to_owned() };
        if let Err(error) = kept.write(&*self.disk, &self.dir) {
            tracing::error!(group = self.group(), %error, "the quarantine does not outlive a restart");
        }
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
        let decoded = decode_entry(group, index, bytes)
            .map_err(|source| StoreError::Entry { group, index, source })?;
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
            self.stop(&error.to_string());
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
        self.note(&mut working, id, membership)
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
        let state = WorkingSet::load(group, prepared.reads(), |key| {
            open.index.get(key).unwrap_or_else(|error| {
                failure.get_or_insert(error);
                None
            })
        });
        if let Some(error) = failure {
            return Err(error.into());
        }
        let state = state.map_err(|source| cannot(source.into()))?;
        let Applied { state, outcomes, effects } = prepared.apply(state).map_err(cannot)?;
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
        open.index.write(&effects_batch(&effects, &applied), Durability::Eventual)?;
        working.group = state.group;
        working.applied = applied;
        self.tell_documents(&effects);
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
    /// this node's own log holds durably. Says whether it did.
    pub fn flush(&self, log_flushed: Option<LogId>) -> Result<bool, StoreError> {
        let mut working = self.working();
        self.flush_locked(&mut working, log_flushed)
    }

    pub(crate) fn flush_locked(
        &self,
        working: &mut Working,
        log_flushed: Option<LogId>,
    ) -> Result<bool, StoreError> {
        let applied = working.applied.applied.map(to_log_id);
        if applied == working.durable {
            return Ok(true);
        }
        if applied.map(|id| id.index) > log_flushed.map(|id| id.index) {
            return Ok(false);
        }
        let open = self.open_state();
        open.journal.sync()?;
        open.index.flush()?;
        working.durable = applied;
        Ok(true)
    }

    /// Replaces the state by a received snapshot's, in one step.
    pub(crate) fn switch(&self, name: &str, snapshot: &SnapshotDir) -> Result<(), StoreError> {
        let mut working = self.working();
        let (open, opened) = open_state(&self.disk, &self.dir.join(name), &self.options)?;
        write_current(&*self.disk, &self.dir, name)?;
        let old = std::mem::replace(
            &mut *self.open.write().expect("no holder panics"),
            Arc::new(open),
        );
        *working = opened;
        tracing::info!(
            group = self.group(),
            index = snapshot.manifest.log_id.map_or(0, |id| id.index),
            "a snapshot is in use"
        );
        self.progress.send_modify(|progress| *progress = progress_of(&working, None));
        // Nobody may be listening.
        let _ = self.documents.send(DocumentChange::All);
        let _ = self.disk.remove_dir_all(&old.dir);
        Ok(())
    }

    fn tell_documents(&self, effects: &Effects) {
        for (key, _) in effects.rows.iter().filter(|(key, _)| key[0] == Document::TABLE) {
            let mut from = Reader::new(&key[1..]);
            if let (Ok(kind), Ok(id)) = (from.str("kind"), from.str("id")) {
                let change = DocumentChange::Changed { kind: kind.to_owned(), id: id.to_owned() };
                // Nobody may be listening.
                let _ = self.documents.send(change);
            }
        }
    }
}

fn progress_of(working: &Working, stopped: Option<Arc<str>>) -> Progress {
    let group = &working.group;
    Progress {
        applied: working.applied.applied.map(to_log_id),
        time_ms: group.time.get(),
        leaves: group.tree.size(),
        signed_leaves: group.signed_leaves,
        apply_version: group.apply_version,
        last_cut: group.cuts.last().cloned(),
        decided: group.decided.clone(),
        stopped,
    }
}

fn effects_batch(effects: &Effects, applied: &stored::AppliedState) -> Batch {
    let mut batch = Batch::new();
    for (key, row) in effects.rows.iter() {
        match row {
            Some(row) => batch.put(key, row),
            None => batch.delete(key),
        };
    }
    for (leaf, index) in effects.leaves.iter().zip(effects.first_leaf..) {
        if let Some((from, to)) = leaf.record {
            let record = Record::decode(&effects.records[from..to])
                .expect("apply encoded the record just now");
            batch.put(position_key(record.outlet_id, record.position), index.to_le_bytes());
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

fn is_damage(error: &StoreError) -> bool {
    match error {
        StoreError::Index(IndexError::Damaged { .. } | IndexError::Unclean { .. }) => true,
        StoreError::Series(SeriesError::Damaged { .. }) | StoreError::Row { .. } => true,
        _ => false,
    }
}

fn open_state(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: &ReplicaOptions,
) -> Result<(OpenState, Working), StoreError> {
    disk.create_dir_all(dir).map_err(io_error("make", dir))?;
    let redb = RedbOptions { cache_bytes: options.index_cache_bytes };
    let index: Arc<dyn Index> =
        Arc::new(RedbIndex::open(disk.clone(), dir.join(INDEX_FILE), redb)?);
    let damaged = |what, detail: String| StoreError::Row {
        group: options.group,
        what,
        dir: dir.to_owned(),
        detail,
    };
    let applied = match index.get(&APPLIED_KEY)? {
        None => stored::AppliedState::default(),
        Some(row) => stored::AppliedState::decode(&*row)
            .map_err(|error| damaged("applied row", error.to_string()))?,
    };
    let group = match index.get(&Group::stored_key())? {
        None => Group::new(&options.cluster, options.group),
        Some(row) => {
            let heads = read_heads(&*index)?;
            let unreadable = |error: DecodeError| damaged("group row", error.to_string());
            let heads = heads.map_err(unreadable)?;
            Group::from_stored(&row, heads).map_err(unreadable)?
        }
    };
    if group.apply_version > APPLY_VERSION_MAX {
        let known = APPLY_VERSION_MAX;
        let source = ApplyError::UnknownVersion { version: group.apply_version, known };
        return Err(StoreError::Apply { group: options.group, index: group.log_index, source });
    }
    if group.tree.size() != applied.leaves || *group.cluster != *options.cluster {
        let detail = format!(
            "it has {} leaves of {} in cluster {}",
            group.tree.size(),
            applied.leaves,
            group.cluster
        );
        return Err(damaged("group row", detail));
    }
    let lengths = Lengths {
        journal: applied.journal_bytes,
        leaves: applied.leaves,
        signatures: applied.signatures,
    };
    let journal = Arc::new(Journal::open(disk, dir, &identity(options), lengths)?);
    let durable = applied.applied.map(to_log_id);
    Ok((OpenState { dir: dir.to_owned(), index, journal }, Working { group, applied, durable }))
}

/// What every file of the group's journal names in its header.
fn identity(options: &ReplicaOptions) -> Vec<u8> {
    format!("{}\n{}", options.cluster, options.group).into_bytes()
}

type Heads = Vec<(fiscus_ledger::state::Id, fiscus_ledger::heads::HeadEntry)>;

fn read_heads(index: &dyn Index) -> Result<Result<Heads, DecodeError>, IndexError> {
    let mut heads = Vec::new();
    let mut problem = None;
    let _end = index.view()?.scan(&[Outlet::TABLE], Some(&[Outlet::TABLE + 1]), &mut |_, row| {
        match Outlet::from_stored(row) {
            Ok(outlet) => heads.push((outlet.fact.outlet_id.clone(), outlet.head_entry())),
            Err(error) => problem = Some(error),
        }
        if problem.is_some() {
            std::ops::ControlFlow::Break(())
        } else {
            std::ops::ControlFlow::Continue(())
        }
    })?;
    Ok(problem.map_or(Ok(heads), Err))
}

/// Builds the state again from the newest usable local snapshot; without one, from nothing. Whether the log
/// reaches back to it is for the caller to see.
fn rebuild(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    damaged: &str,
    options: &ReplicaOptions,
    error: StoreError,
) -> Result<(OpenState, Working), StoreError> {
    let number = damaged.strip_prefix("state-").and_then(|n| n.parse::<u64>().ok()).unwrap_or(1);
    let name = format!("state-{}", number + 1);
    let target = dir.join(&name);
    if disk.exists(&target).map_err(io_error("look for", &target))? {
        disk.remove_dir_all(&target).map_err(io_error("remove", &target))?;
    }
    let snapshots = SnapshotDir::all(disk, dir).map_err(|failed| StoreError::Row {
        group: options.group,
        what: "snapshots",
        dir: dir.to_owned(),
        detail: format!("{failed} (they were needed because: {error})"),
    })?;
    let mut built = false;
    for snapshot in snapshots {
        match snapshot.and_then(|snapshot| snapshot.build_state(disk, &target, options)) {
            Ok(()) => {
                built = true;
                break;
            }
            Err(failed) => {
                tracing::error!(group = options.group, %failed, "a local snapshot is unusable");
                if disk.exists(&target).map_err(io_error("look for", &target))? {
                    disk.remove_dir_all(&target).map_err(io_error("remove", &target))?;
                }
            }
        }
    }
    if !built {
        tracing::warn!(group = options.group, "no local snapshot can be used");
    }
    let opened = open_state(disk, &target, options)?;
    write_current(&**disk, dir, &name)?;
    let old = dir.join(damaged);
    if disk.exists(&old).map_err(io_error("look for", &old))? {
        disk.remove_dir_all(&old).map_err(io_error("remove", &old))?;
    }
    Ok(opened)
}

fn read_current(disk: &dyn Disk, dir: &Path) -> Result<Option<String>, StoreError> {
    let path = dir.join("CURRENT");
    if !disk.exists(&path).map_err(io_error("look for", &path))? {
        return Ok(None);
    }
    let file = disk.open(&path, OpenHow::Read).map_err(io_error("open", &path))?;
    let size = file.size().map_err(io_error("measure", &path))?;
    let mut text = vec![0; usize::try_from(size.min(64)).expect("64 fits")];
    file.read_exact_at(&mut text, 0).map_err(io_error("read", &path))?;
    let name = String::from_utf8(text).ok().map(|name| name.trim_end().to_owned());
    match name.filter(|name| name.starts_with("state-") && !name.contains(['/', '.'])) {
        Some(name) => Ok(Some(name)),
        None => Err(StoreError::Io {
            doing: "read",
            path,
            source: io::Error::other("it does not name a state"),
        }),
    }
}

fn write_current(disk: &dyn Disk, dir: &Path, name: &str) -> Result<(), StoreError> {
    let (path, fresh) = (dir.join("CURRENT"), dir.join("CURRENT.new"));
    if disk.exists(&fresh).map_err(io_error("look for", &fresh))? {
        disk.remove_file(&fresh).map_err(io_error("remove", &fresh))?;
    }
    let file = disk.open(&fresh, OpenHow::Create).map_err(io_error("make", &fresh))?;
    file.write_all_at(format!("{name}\n").as_bytes(), 0).map_err(io_error("write", &fresh))?;
    file.sync_data().map_err(io_error("sync", &fresh))?;
    disk.rename(&fresh, &path).map_err(io_error("rename to", &path))?;
    disk.sync_dir(dir).map_err(io_error("sync", dir))
}
