//! The groups that live on this node.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use fiscus_proto::peer;
use fiscus_raft::consensus::{
    ClusterChange, GroupHandle, GroupOptions, Lane, Member, NetworkOptions, OpenError, Role,
};
use fiscus_raft::disk::Disk;
use fiscus_raft::store::{Holders, Recovery, Replica, Step, StoreError, drop_index};
use fiscus_raft::threads::aside;
use fiscus_raft::wal::{Lagging, Wal};
use tokio::task::{JoinHandle, JoinSet};

use crate::batcher::{Batcher, Submit};
use crate::context::NodeContext;
use crate::cuts::{CutReport, CutReports, Verdict};
use crate::incidents::Cause;
use crate::witnesses::{self, Cosigned};
use crate::{blocks, facts, monitor, other_logs, recovery, steward};

/// A cluster has at most so many data groups.
pub const DATA_GROUPS_MAX: u64 = 64;
/// Between two reports of a cut that is not decided.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Why a replica leaves the service that is one of many opinions,
const SPLIT: &str = "the voters' states differ, and no majority agrees";
/// and why one seals nothing until there is a majority.
const DISPUTED: &str =
    "the voters' states differ; nothing is sealed until a majority agrees on one";
/// Between two looks at how much log a group has.
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// A group's log is never longer than this because its snapshots are large.
const LOG_BYTES_MAX: u64 = 1 << 30;
/// A group that is not snapshotted again within this time, however much it writes.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(10);

/// How often, and how long, a group that is closed waits for its last readers.
const CLOSE_POLL: Duration = Duration::from_millis(10);
const CLOSE_WAIT: Duration = Duration::from_secs(30);
/// Between two looks for groups that have stopped.
const SUPERVISE_INTERVAL: Duration = Duration::from_secs(2);
/// A group that stops again and again is opened anew at most so seldom.
const PATIENCE_MAX: Duration = Duration::from_secs(60);

/// How long a group that has stopped is left alone; it doubles.
#[derive(Debug)]
struct Patience {
    wait: Duration,
    since: Instant,
}

impl Default for Patience {
    fn default() -> Self {
        Self { wait: SUPERVISE_INTERVAL, since: Instant::now() }
    }
}

impl Patience {
    /// Whether the wait is over; then the next one begins.
    fn is_over(&mut self) -> bool {
        if self.since.elapsed() > self.wait + PATIENCE_MAX {
            *self = Self::default();
        }
        if self.since.elapsed() < self.wait {
            return false;
        }
        self.since = Instant::now();
        self.wait = (self.wait * 2).min(PATIENCE_MAX);
        true
    }
}

/// One group on this node, with the tasks that work for it.
#[derive(Debug)]
pub struct Hosted {
    /// Its Raft and its state.
    pub handle: Arc<GroupHandle>,
    /// The way into its batcher.
    pub submit: Submit,
    /// What witnesses have cosigned.
    pub(crate) cosigned: Cosigned,
    cuts: CutReports,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// The groups that live on this node.
#[derive(Debug)]
pub struct Groups {
    context: Arc<NodeContext>,
    disk: Arc<dyn Disk>,
    wal: Wal,
    dir: PathBuf,
    hosted: RwLock<BTreeMap<u64, Arc<Hosted>>>,
    /// Snapshots that go out share a limit.
    snapshot_turn: Arc<tokio::sync::Mutex<()>>,
    /// Held while a group is opened, so that it is opened once.
    opening: tokio::sync::Mutex<()>,
    /// Groups that were closed, as long as somebody reads them.
    leaving: Mutex<BTreeMap<u64, Holders>>,
    /// Why a group did not open, the last time.
    closed_by: Mutex<BTreeMap<u64, Option<String>>>,
}

impl Groups {
    /// None yet.
    #[must_use]
    pub fn new(context: Arc<NodeContext>, disk: Arc<dyn Disk>, wal: Wal, dir: PathBuf) -> Self {
        Self {
            context,
            disk,
            wal,
            dir,
            hosted: RwLock::default(),
            snapshot_turn: Arc::default(),
            opening: tokio::sync::Mutex::new(()),
            leaving: Mutex::default(),
            closed_by: Mutex::default(),
        }
    }

    /// Opens every group that has a directory here. One that does not open keeps the others from nothing.
    pub async fn open_known(self: &Arc<Self>) -> Result<(), OpenError> {
        let names = self.disk.list(&self.dir).unwrap_or_default();
        let mut known: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        known.sort_unstable();
        for group in known {
            match self.open(group).await {
                Ok(_) => {}
                // The program is older than what it finds: nothing of it can be right.
                Err(error @ OpenError::Store(StoreError::Apply { .. })) => return Err(error),
                // The others are not its fault; it is tried again.
                Err(error) => tracing::error!(group, %error, "the group does not open"),
            }
        }
        Ok(())
    }

    /// A group, when it lives here.
    pub fn get(&self, group: u64) -> Option<Arc<Hosted>> {
        self.hosted.read().expect("no holder panics").get(&group).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Hosted>> {
        self.hosted.read().expect("no holder panics").values().cloned().collect()
    }

    /// The log that they share.
    pub fn wal(&self) -> &Wal {
        &self.wal
    }

    /// A group; it is opened, empty, when it is not here yet.
    pub async fn open(self: &Arc<Self>, group: u64) -> Result<Arc<Hosted>, OpenError> {
        if let Some(hosted) = self.get(group) {
            return Ok(hosted);
        }
        let _one = self.opening.lock().await;
        if let Some(hosted) = self.get(group) {
            return Ok(hosted);
        }
        self.open_now(group).await
    }

    /// Opens a group; the caller holds `opening`.
    async fn open_now(self: &Arc<Self>, group: u64) -> Result<Arc<Hosted>, OpenError> {
        if self.is_left_behind(group) {
            return Err(OpenError::InUse { group });
        }
        let config = &self.context.config;
        let options = GroupOptions {
            cluster: config.cluster.clone(),
            group,
            node: config.node,
            heartbeat_ms: config.raft.heartbeat_ms,
            election_min_ms: config.raft.election_min_ms,
            election_max_ms: config.raft.election_max_ms,
            append_bytes_max: config.limits.append_bytes_max,
            keep_entries: config.raft.keep_entries,
            index_cache_bytes: config.limits.index_cache_bytes,
            network: NetworkOptions {
                snapshot_bytes_per_s: config.raft.snapshot_send_bytes_per_s,
                snapshot_turn: self.snapshot_turn.clone(),
                ..NetworkOptions::default()
            },
            stages: self.context.metrics.stages.clone(),
        };
        let dir = self.dir.join(group.to_string());
        let pool = self.context.pool.clone();
        let opened = GroupHandle::open(self.disk.clone(), &dir, &self.wal, pool, options).await;
        let why = opened.as_ref().err().map(ToString::to_string);
        self.closed_by.lock().expect("no holder panics").insert(group, why);
        // Opened as it is, it would meet the same damage again.
        if let Err(OpenError::Damaged { why, .. }) = &opened {
            self.note_recovery(group, Step::Reindex, why)?;
        }
        let handle = Arc::new(opened?);
        let cuts = CutReports::default();
        let (batcher, submit) = Batcher::new(self.context.clone(), handle.clone(), cuts.follow());
        let hosted = Arc::new(Hosted {
            handle,
            submit,
            cosigned: Cosigned::open(&self.context, group, dir),
            cuts,
            tasks: Mutex::default(),
        });
        self.start_tasks(&hosted, batcher);
        self.hosted.write().expect("no holder panics").insert(group, hosted.clone());
        tracing::info!(group, "the group is open");
        Ok(hosted)
    }

    /// Closes a group and opens it anew, without stopping the node: as it is, or after a recovery that
    /// is noted durably first.
    pub async fn reopen(
        self: &Arc<Self>,
        group: u64,
        how: Option<(Step, &str)>,
    ) -> Result<Arc<Hosted>, OpenError> {
        let _one = self.opening.lock().await;
        let hosted = self.hosted.write().expect("no holder panics").remove(&group);
        if let Some(hosted) = hosted {
            let tasks = std::mem::take(&mut *hosted.tasks.lock().expect("no holder panics"));
            for task in &tasks {
                task.abort();
            }
            hosted.handle.close("it is being opened anew").await;
            let holders = Holders::of(hosted.handle.replica());
            self.leaving.lock().expect("no holder panics").insert(group, holders);
        }
        self.wait_until_left(group).await?;
        if let Some((step, why)) = how {
            self.note_recovery(group, step, why)?;
        }
        self.open_now(group).await
    }

    /// Notes durably what the next opening of a group does. Nobody may have it open.
    fn note_recovery(&self, group: u64, step: Step, why: &str) -> Result<(), OpenError> {
        let dir = self.dir.join(group.to_string());
        let known = Recovery::read(&*self.disk, &dir)?;
        // A recovery that has not ended is not forgotten for a smaller one.
        let unfinished =
            known.is_some_and(|known| matches!(known.step, Step::Refetch | Step::CatchUp));
        if unfinished && step == Step::Reindex {
            drop_index(&*self.disk, &dir)?;
        } else {
            let vote = self.wal.group(group).vote();
            let recovery = Recovery { step, vote, why: why.to_owned() };
            recovery.write(&*self.disk, &dir)?;
        }
        Ok(())
    }

    /// Two owners of one index would damage it: every reader of what was closed has to be gone.
    async fn wait_until_left(&self, group: u64) -> Result<(), OpenError> {
        let gone = async {
            while self.is_left_behind(group) {
                tokio::time::sleep(CLOSE_POLL).await;
            }
        };
        let waited = tokio::time::timeout(CLOSE_WAIT, gone).await;
        waited.map_err(|_| OpenError::InUse { group })
    }

    /// Whether somebody still holds the replica of a group that was closed.
    fn is_left_behind(&self, group: u64) -> bool {
        let mut leaving = self.leaving.lock().expect("no holder panics");
        let held = leaving.get(&group).is_some_and(Holders::any);
        if !held {
            leaving.remove(&group);
        }
        held
    }

    /// Opens groups anew that an error has stopped, once there is room on the disk, and takes a replica anew
    /// whose state is not the majority's. Without a majority a quarantine waits for an operator; a poisoned log
    /// ends the process.
    pub(crate) async fn supervise(self: Arc<Self>) {
        let mut look = tokio::time::interval(SUPERVISE_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut patience: BTreeMap<u64, Patience> = BTreeMap::new();
        let mut healing = JoinSet::new();
        loop {
            look.tick().await;
            while healing.try_join_next().is_some() {}
            if let Some(group) = self.diverged().filter(|_| healing.is_empty())
                && patience.entry(group).or_default().is_over()
            {
                let (context, groups) = (self.context.clone(), self.clone());
                healing.spawn(async move {
                    monitor::examine(&context, &groups, group, None, Cause::Difference).await;
                });
            }
            for group in self.to_reopen() {
                let patience = patience.entry(group).or_default();
                if !patience.is_over() {
                    continue;
                }
                tracing::warn!(group, "the group has stopped; it is opened anew");
                // Nothing of the group may be held here while it is closed.
                let remedy = self.get(group).map(|hosted| remedy(hosted.handle.replica()));
                let opened = match remedy {
                    Some(Some((step, why))) => self.reopen(group, Some((step, &why))).await,
                    Some(None) => self.reopen(group, None).await,
                    None => self.open(group).await,
                };
                if let Err(error) = opened {
                    tracing::error!(group, %error, "the group does not open");
                }
            }
        }
    }

    /// A group whose state here is not the one that a majority agreed on.
    fn diverged(&self) -> Option<u64> {
        let hosted = self.all();
        let diverged = hosted.iter().find(|hosted| hosted.handle.replica().diverged());
        diverged.map(|hosted| hosted.handle.group())
    }

    /// Groups that stopped for a reason that may have passed.
    fn to_reopen(&self) -> Vec<u64> {
        if self.context.disk_full() {
            return Vec::new();
        }
        let stopped = |hosted: &&Arc<Hosted>| {
            !hosted.handle.replica().quarantined() && hosted.handle.status().stopped.is_some()
        };
        let hosted = self.all();
        let mut stopped: Vec<u64> =
            hosted.iter().filter(stopped).map(|hosted| hosted.handle.group()).collect();
        stopped.extend(self.unopened());
        stopped
    }

    /// Whether a group has a directory here, open or not.
    pub fn is_known(&self, group: u64) -> bool {
        self.disk.exists(&self.dir.join(group.to_string())).unwrap_or(true)
    }

    /// Groups that did not open the last time: they have a directory here, and are not hosted.
    pub fn unopened(&self) -> Vec<u64> {
        let names = self.disk.list(&self.dir).unwrap_or_default();
        let known = names.iter().filter_map(|name| name.parse::<u64>().ok());
        known.filter(|group| self.get(*group).is_none()).collect()
    }

    /// Why a group is not open, when that is known.
    pub fn closed_by(&self, group: u64) -> Option<String> {
        self.closed_by.lock().expect("no holder panics").get(&group).cloned().flatten()
    }

    fn start_tasks(self: &Arc<Self>, hosted: &Arc<Hosted>, batcher: Batcher) {
        let context = &self.context;
        let mut tasks = vec![
            tokio::spawn(batcher.run()),
            tokio::spawn(report_cuts(context.clone(), hosted.clone())),
            tokio::spawn(keep_durable(context.clone(), hosted.clone(), self.wal.clone())),
            tokio::spawn(steward::run(context.clone(), self.clone(), hosted.clone())),
        ];
        if !context.config.witnesses.is_empty() {
            tasks.push(tokio::spawn(witnesses::run(context.clone(), hosted.clone())));
        }
        if hosted.handle.recovering().is_some() {
            tasks.push(tokio::spawn(recovery::run(context.clone(), hosted.clone())));
        }
        if hosted.handle.group() == 0 {
            let (context, groups) = (context.clone(), self.clone());
            tasks.push(tokio::spawn(other_logs::run(context, groups, hosted.clone())));
        }
        if hosted.handle.group() > 0 {
            tasks.push(tokio::spawn(facts::run(self.clone(), hosted.clone())));
            tasks.push(tokio::spawn(blocks::run(hosted.clone())));
        }
        hosted.tasks.lock().expect("no holder panics").extend(tasks);
    }

    /// Stops every group; what is applied becomes durable.
    pub async fn shutdown(&self) {
        let hosted = std::mem::take(&mut *self.hosted.write().expect("no holder panics"));
        for hosted in hosted.into_values() {
            let group = hosted.handle.group();
            for task in hosted.tasks.lock().expect("no holder panics").drain(..) {
                task.abort();
            }
            if let Err(error) = hosted.handle.shutdown().await {
                tracing::warn!(group, %error, "the group did not stop cleanly");
            }
        }
    }

    /// Every member that some group knows.
    pub fn members(&self) -> BTreeMap<u64, Member> {
        let mut members = BTreeMap::new();
        for hosted in self.all() {
            members.extend(hosted.handle.status().members);
        }
        members
    }
}

/// How a replica that has stopped is opened anew: as it is, or built again, when it would meet the same
/// damage otherwise.
fn remedy(replica: &Replica) -> Option<(Step, String)> {
    let why = replica.harm().stopped_by()?;
    Some((Step::Reindex, why))
}

impl Hosted {
    /// Notes that a replica has made this cut.
    pub fn note_cut(&self, context: &NodeContext, node: u64, report: CutReport) {
        let (group, cut) = (self.handle.group(), report.tuple.log_index);
        match self.cuts.note(&self.handle.status().voters, node, report) {
            Verdict::Open | Verdict::Agreed | Verdict::Disputed { new: false } => {}
            Verdict::Disputed { new: true } => {
                context.metrics.alerts.add(1);
                tracing::error!(group, cut, node, "the voters' states differ; nothing is sealed");
            }
            Verdict::Split => {
                let replica = self.handle.replica();
                if !replica.quarantined() {
                    context.metrics.alerts.add(1);
                    monitor::note(context, group, Cause::Dispute, SPLIT);
                    replica.quarantine(SPLIT);
                }
            }
        }
    }

    /// What is wrong with its states, for people.
    pub(crate) fn dispute(&self) -> Option<&'static str> {
        let decided = self.handle.replica().progress().borrow().decided.clone();
        let disputed = self.handle.leading().is_some() && self.cuts.is_disputed(decided.as_ref());
        disputed.then_some(DISPUTED)
    }
}

/// How long a group's log is.
#[derive(Debug, Clone, Copy)]
struct LogLength {
    /// Bytes behind the last snapshot.
    fresh: u64,
    /// Bytes of all groups' log that cannot go because of this group; 0 when it keeps none from going.
    pinned: u64,
    /// Whether the log copies forward what is behind the snapshot, so that it pins nothing.
    copied: bool,
}

/// Whether a snapshot would make the log shorter. One rewrites all rows, so a group with many may have as much log.
fn wants_snapshot(log: LogLength, limit: u64, row_bytes: impl FnOnce() -> u64) -> bool {
    let pinned = if log.copied { 0 } else { log.pinned };
    let most = log.fresh.max(pinned);
    most >= limit && most >= row_bytes().min(LOG_BYTES_MAX)
}

/// Makes a snapshot when there is much log. A group that lags keeps others' segments alive with entries
/// that nobody has asked for in a long time: it keeps none behind its snapshot, and the few that are left are
/// copied forward.
async fn shorten_log(
    hosted: &Hosted,
    wal: &Wal,
    limit: u64,
    last: &mut Option<Instant>,
) -> Result<(), ClusterChange> {
    let handle = &hosted.handle;
    let lagging = wal.lagging().into_iter().find(|known| known.group == handle.group());
    let status = handle.status();
    let fresh = handle.log().bytes_after(status.snapshot);
    let pinned = |known: &Lagging| wal.segment_bytes().saturating_mul(known.segments_behind as u64);
    let length = LogLength {
        fresh,
        pinned: lagging.as_ref().map_or(0, pinned),
        copied: wal.copies_forward(status.last_log.saturating_sub(status.snapshot), fresh),
    };
    let row_bytes = || {
        let newest = handle.replica().newest_snapshot();
        newest.ok().flatten().map_or(0, |known| known.row_bytes())
    };
    let rested = last.is_none_or(|last| last.elapsed() >= SNAPSHOT_PAUSE);
    if rested && wants_snapshot(length, limit, row_bytes) {
        *last = Some(Instant::now());
        return handle.trigger_snapshot().await;
    }
    if lagging.is_some() {
        return handle.purge_to_snapshot().await;
    }
    Ok(())
}

/// Reports this replica's undecided cut to the leader until it is decided.
async fn report_cuts(context: Arc<NodeContext>, hosted: Arc<Hosted>) {
    let mut progress = hosted.handle.replica().progress();
    loop {
        let now = progress.borrow_and_update().clone();
        let decided = now.decided.as_ref().map_or(0, |tuple| tuple.log_index);
        if let Some(tuple) = now.last_cut.filter(|tuple| tuple.log_index > decided) {
            report_cut(&context, &hosted, CutReport { tuple, copied: now.copied }).await;
        }
        // Woken by what is applied; at the latest when a report may have been lost.
        let cut = now.decided.clone();
        let changed = progress.wait_for(|later| {
            later.decided != cut || later.last_cut.as_ref().map(|t| t.log_index) > Some(decided)
        });
        if matches!(tokio::time::timeout(REPORT_INTERVAL, changed).await, Ok(Err(_))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn report_cut(context: &NodeContext, hosted: &Hosted, made: CutReport) {
    let status = hosted.handle.status();
    let own = context.identity.node;
    if status.role == Role::Leader {
        return hosted.note_cut(context, own, made);
    }
    let Some((id, leader)) = status.leader.and_then(|id| Some((id, status.members.get(&id)?)))
    else {
        return;
    };
    let client = context.pool.client(id, &leader.incarnation, &leader.rpc, Lane::Control);
    let Ok(mut client) = client else { return };
    let CutReport { tuple, copied } = made;
    let report = peer::ReportCutRequest {
        group: hosted.handle.group(),
        log_index: tuple.log_index,
        size: tuple.size,
        root: tuple.root.to_vec().into(),
        state_hash: tuple.state_hash.to_vec().into(),
        copied,
    };
    let sent = tokio::time::timeout(REPORT_INTERVAL, client.report_cut(report)).await;
    if !matches!(sent, Ok(Ok(_))) {
        tracing::debug!(group = hosted.handle.group(), leader = id, "a cut was not reported");
    }
}

/// Makes applied state durable at intervals, and asks for a snapshot when there is much log.
async fn keep_durable(context: Arc<NodeContext>, hosted: Arc<Hosted>, wal: Wal) {
    let raft = &context.config.raft;
    let mut durable = tokio::time::interval(Duration::from_millis(raft.durable_interval_ms));
    durable.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut log = tokio::time::interval(LOG_CHECK_INTERVAL);
    let mut snapshotted = None;
    loop {
        tokio::select! {
            _ = durable.tick() => {
                let handle = hosted.handle.clone();
                let flush = move || handle.replica().flush(handle.log().flushed());
                match aside(flush).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => hosted.handle.replica().stop(&error.to_string()),
                    Err(error) => tracing::error!(%error, "a flush was interrupted"),
                }
            }
            _ = log.tick() => {
                let limit = raft.snapshot_log_bytes;
                if let Err(error) = shorten_log(&hosted, &wal, limit, &mut snapshotted).await {
                    tracing::warn!(group = hosted.handle.group(), %error, "the log stays long");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
