//! One group on this node: its log, its replica and its Raft.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
#[cfg(feature = "planted-bugs")]
use fiscus_ledger::planted::{Bug, is_planted};
use fiscus_proto::peer;
use futures_util::{Stream, StreamExt};
use openraft::async_runtime::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, LinearizableReadError, RaftError};
use openraft::impls::ProgressResponder;
use openraft::raft::{ReadPolicy, TransferLeaderRequest};
use openraft::storage::{Snapshot, SnapshotMeta};
use openraft::{ChangeMembers, Raft, ServerState};
use tokio::sync::{Mutex, watch};
use tonic::Status;

use crate::consensus::convert::{
    append_request, append_response, log_id_from_proto, stored_membership, vote_from_proto,
    vote_message, vote_request, vote_to_proto,
};
use crate::consensus::errors::{
    ClusterChange, OpenError, ProposeError, ReadIndexError, RecoveryError,
};
use crate::consensus::log_store::LogStore;
use crate::consensus::network::Network;
use crate::consensus::options::{GroupOptions, raft_config};
use crate::consensus::peers::PeerPool;
use crate::consensus::recover::recover;
use crate::consensus::state_machine::{LogEnds, SnapshotData, StateMachine};
use crate::consensus::{Member, Proposal, RaftMembership, TypeConfig};
use crate::disk::Disk;
use crate::store::{ApplyReply, Incoming, Replica, ReplicaOptions, Step};
use crate::threads::blocking;
use crate::wal::{GroupLog, Wal};

/// What a node is to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It proposes.
    Leader,
    /// It follows, and votes.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It follows, and does not vote.
    Learner,
    /// It does not run.
    Stopped,
}

impl Role {
    /// The name for people and scripts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Learner => "learner",
            Self::Stopped => "stopped",
        }
    }
}

/// How a group stands, seen from this node.
#[derive(Debug, Clone)]
pub struct GroupStatus {
    /// This node's part.
    pub role: Role,
    /// The term.
    pub term: u64,
    /// The leader, when it is known.
    pub leader: Option<u64>,
    /// The last entry of the log here.
    pub last_log: u64,
    /// The last entry known to be committed.
    pub committed: u64,
    /// The last entry applied here.
    pub applied: u64,
    /// The entry of the newest snapshot here.
    pub snapshot: u64,
    /// Members.
    pub members: BTreeMap<u64, Member>,
    /// Those that vote.
    pub voters: BTreeSet<u64>,
    /// Followers' last matching entries; only the leader knows them.
    pub replication: BTreeMap<u64, u64>,
    /// Milliseconds since a majority last answered the leader; only the leader knows.
    pub quorum_ack_ms: Option<u64>,
    /// Why it does not run.
    pub stopped: Option<String>,
    /// Why it neither votes nor leads.
    pub recovering: Option<String>,
}

/// One group on this node.
#[derive(Debug)]
pub struct GroupHandle {
    group: u64,
    raft: Raft<TypeConfig, StateMachine>,
    replica: Arc<Replica>,
    log: GroupLog,
    recovering: watch::Sender<Option<Arc<str>>>,
    snapshot_failure: watch::Receiver<String>,
    incoming: Mutex<Option<Incoming>>,
}

impl GroupHandle {
    /// Opens a group's state and starts its Raft.
    pub async fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        wal: &Wal,
        pool: PeerPool,
        options: GroupOptions,
    ) -> Result<Self, OpenError> {
        let group = options.group;
        let log = wal.group(group);
        let replica_options = ReplicaOptions {
            log_purged: log.purged().map_or(0, |id| id.index),
            ..ReplicaOptions::new(&options.cluster, group, options.index_cache_bytes)
        };
        let open = || blocking(|| Replica::open(disk.clone(), dir, replica_options.clone()));
        let (replica, recovering) = recover(&*disk, dir, wal, &pool, group, open).await?;
        let quarantine = recovering.as_ref().filter(|known| known.step == Step::Quarantine);
        let quarantine = quarantine.map(|known| known.why.clone());
        let recovering = recovering.map(|known| known.why);
        let replica = Arc::new(replica);
        let config = raft_config(&options, recovering.is_none())
            .map_err(|error| OpenError::Options { group, detail: error.to_string() })?;
        let stages = options.stages.clone();
        let network = Network {
            group,
            pool,
            disk: disk.clone(),
            options: options.network.clone(),
            stages: stages.clone(),
        };
        let store = LogStore::new(log.clone(), options.append_bytes_max, stages.clone());
        let ends = {
            let (flushed, purged, purge) = (log.clone(), log.clone(), log.clone());
            LogEnds {
                flushed: Arc::new(move || flushed.flushed()),
                purged: Arc::new(move || purged.purged()),
                purge: Arc::new(move |upto| {
                    let log = purge.clone();
                    Box::pin(async move { log.purge_durably(upto).await })
                }),
            }
        };
        let machine = StateMachine::new(replica.clone(), ends, stages);
        let snapshot_failure = machine.snapshot_failure();
        let raft = Raft::new(options.node, Arc::new(config), network, store, machine)
            .await
            .map_err(|error| match replica.harm().stopped_by() {
                Some(why) => OpenError::Damaged { group, why },
                None => OpenError::Raft { group, detail: error.to_string() },
            })?;
        if let Some(why) = quarantine {
            replica.quarantine(&why);
        }
        if let Some(why) = &recovering {
            tracing::warn!(group, why, "the replica is recovering: it neither votes nor leads");
        }
        let (recovering, _) = watch::channel(recovering.map(Into::into));
        let incoming = Mutex::new(None);
        Ok(Self { group, raft, replica, log, recovering, snapshot_failure, incoming })
    }

    /// Why the replica neither votes nor leads: it may have forgotten something.
    pub fn recovering(&self) -> Option<Arc<str>> {
        self.recovering.borrow().clone()
    }

    /// Ends the recovery. The caller has had a leader confirm an index after this group was opened,
    /// and has seen that index applied here. Says whether all of it is durable, too.
    pub async fn finish_recovery(&self) -> Result<bool, RecoveryError> {
        if !blocking(|| self.replica.flush(self.log.flushed()))? {
            return Ok(false);
        }
        self.log.clear_damage().await?;
        if !blocking(|| self.replica.end_recovery())? {
            return Ok(false);
        }
        self.recovering.send_replace(None);
        tracing::info!(group = self.group, "the replica has recovered");
        Ok(true)
    }

    /// Stops its Raft and lets nobody read its replica any more, to open the group anew.
    pub async fn close(&self, why: &str) {
        self.replica.stop(why);
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(group = self.group, %error, "the group's Raft did not end by itself");
        }
    }

    fn check_full_member(&self) -> Result<(), Status> {
        match self.recovering() {
            None => Ok(()),
            Some(why) => Err(Status::failed_precondition(format!(
                "group {} is recovering on this node: {why}",
                self.group
            ))),
        }
    }

    /// The group's number.
    pub fn group(&self) -> u64 {
        self.group
    }

    /// What was applied.
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// The log.
    pub fn log(&self) -> &GroupLog {
        &self.log
    }

    /// Begins a group with its first voters. One node does it, once.
    pub async fn initialize(&self, members: BTreeMap<u64, Member>) -> Result<(), ClusterChange> {
        self.raft.initialize(members).await.map_err(|error| refused(&error))
    }

    /// Stops it; the log and the state stay.
    pub async fn shutdown(&self) -> Result<(), String> {
        self.raft.shutdown().await.map_err(|error| error.to_string())?;
        for _ in 0..FLUSH_TRIES {
            let flushed = blocking(|| self.replica.flush(self.log.flushed()));
            if flushed.map_err(|error| error.to_string())? {
                return Ok(());
            }
            // What was applied because a majority has it is still on its way to this node's disk.
            tokio::time::sleep(FLUSH_POLL).await;
        }
        Err("the log did not become durable in time".to_owned())
    }

    // What peers ask.

    /// A vote.
    pub async fn vote(&self, request: peer::VoteRequest) -> Result<peer::VoteResponse, Status> {
        self.check_full_member()?;
        let answer = self.raft.vote(vote_request(request)).await.map_err(|e| fatal(&e))?;
        Ok(vote_message(&answer))
    }

    /// Whether a vote would be granted.
    pub async fn pre_vote(&self, request: peer::VoteRequest) -> Result<peer::VoteResponse, Status> {
        self.check_full_member()?;
        let answer = self.raft.pre_vote(vote_request(request)).await.map_err(|e| fatal(&e))?;
        Ok(vote_message(&answer))
    }

    /// Entries and heartbeats, in order; answers in the same order.
    pub fn append(
        &self,
        requests: impl Stream<Item = peer::AppendRequest> + Send + 'static,
    ) -> impl Stream<Item = Result<peer::AppendResponse, Status>> + Send + 'static {
        let requests = requests.map(append_request).take_while(|request| {
            // A message that cannot be read ends the stream; the leader starts another.
            std::future::ready(request.is_ok())
        });
        // Raft says of every message that it has stopped, in the log; the leader need only be told once.
        let progress = self.replica.progress();
        let requests =
            requests.take_while(move |_| std::future::ready(progress.borrow().stopped.is_none()));
        let requests = requests.filter_map(|request| std::future::ready(request.ok()));
        self.raft.stream_append(requests).map(|result| match result {
            Ok(result) => Ok(append_response(&result)),
            Err(error) => Err(fatal(&error)),
        })
    }

    /// The leader wants another node to lead.
    pub async fn handle_transfer(
        &self,
        request: peer::TransferLeaderRequest,
    ) -> Result<peer::TransferLeaderResponse, Status> {
        if let Err(status) = self.check_full_member() {
            return Ok(peer::TransferLeaderResponse { refused: status.message().to_owned() });
        }
        let last = request.last_log_id.map(log_id_from_proto);
        let request = TransferLeaderRequest::new(vote_from_proto(request.from), request.to, last);
        let answer = self.raft.handle_transfer_leader(request).await.map_err(|e| fatal(&e))?;
        let refused = answer.err().map_or_else(String::new, |error| error.to_string());
        Ok(peer::TransferLeaderResponse { refused })
    }

    /// A snapshot is offered: says what is missing.
    pub async fn offer_snapshot(
        &self,
        manifest: peer::SnapshotManifest,
    ) -> Result<peer::OfferSnapshotResponse, Status> {
        let mut incoming = self.incoming.lock().await;
        let (begun, wanted) = blocking(|| self.replica.receive(manifest))
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        *incoming = Some(begun);
        Ok(peer::OfferSnapshotResponse { wanted })
    }

    /// A part of the offered snapshot.
    pub async fn take_part(&self, part: &peer::SnapshotPart) -> Result<u64, Status> {
        let incoming = self.incoming.lock().await;
        let Some(begun) = incoming.as_ref().filter(|i| i.manifest().log_id == part.log_id) else {
            return Err(Status::failed_precondition(
                "this snapshot was not offered; offer it first",
            ));
        };
        blocking(|| begun.write(&part.name, part.offset, &part.data))
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(part.data.len() as u64)
    }

    /// The offered snapshot is complete: checks it, builds its state and puts it into use.
    pub async fn install_snapshot(
        &self,
        request: peer::InstallSnapshotRequest,
    ) -> Result<peer::InstallSnapshotResponse, Status> {
        let mut incoming = self.incoming.lock().await;
        let Some(begun) = incoming.take().filter(|i| i.manifest().log_id == request.log_id) else {
            return Err(Status::failed_precondition(
                "this snapshot was not offered; offer it first",
            ));
        };
        let failed = |error: &dyn std::error::Error| Status::data_loss(error.to_string());
        let dir = blocking(|| begun.finish()).map_err(|error| failed(&error))?;
        let name = blocking(|| self.replica.prepare_install(&dir)).map_err(|e| failed(&e))?;
        let manifest = &dir.manifest;
        let membership =
            stored_membership(manifest.membership_log_id, manifest.membership.as_ref());
        let meta = SnapshotMeta {
            last_log_id: manifest.log_id.map(log_id_from_proto),
            last_membership: membership.map_err(|error| failed(&error))?,
        };
        let prepared = Some(name.clone());
        let snapshot = Snapshot { meta, snapshot: SnapshotData { dir, prepared } };
        let answer = self
            .raft
            .install_full_snapshot(vote_from_proto(request.vote), snapshot)
            .await
            .map_err(|error| fatal(&error))?;
        // The answer comes when the state is in use, or refused: what is not in use now never will be.
        blocking(|| self.replica.forget_prepared(&name));
        Ok(peer::InstallSnapshotResponse { vote: Some(vote_to_proto(&answer.vote)) })
    }

    // What this node asks.

    /// The term in which this node leads, when it does. What has stopped may have led, and does not know better.
    pub fn leading(&self) -> Option<u64> {
        let leader = self.raft.as_leader().ok()?;
        self.stopped().is_none().then(|| leader.term())
    }

    /// Why the group does not run here, when it does not.
    fn stopped(&self) -> Option<String> {
        let replica = self.replica.progress().borrow().stopped.as_deref().map(str::to_owned);
        replica.or_else(|| {
            let metrics = self.raft.metrics();
            let running = metrics.borrow_watched();
            running.running_state.as_ref().err().map(ToString::to_string)
        })
    }

    /// Proposes an entry in the term `term`; answers when it was applied here.
    pub async fn propose(&self, term: u64, bytes: Bytes) -> Result<ApplyReply, ProposeError> {
        let answer = self.begin_propose(term, bytes).await?;
        answer.await
    }

    /// Hands an entry to Raft; entries are taken in the order of these calls. The second future answers
    /// when the entry was applied here.
    pub async fn begin_propose(
        &self,
        term: u64,
        bytes: Bytes,
    ) -> Result<impl Future<Output = Result<ApplyReply, ProposeError>> + Send + use<>, ProposeError>
    {
        let leader = self
            .raft
            .as_leader()
            .map_err(|forward| ProposeError::NotLeader { leader: forward.leader_id })?;
        if leader.term() != term {
            return Err(ProposeError::NotLeader { leader: None });
        }
        let expected = leader.to_committed_leader_id();
        let (responder, answer) = ProgressResponder::complete_only();
        self.raft
            .write(Proposal(bytes))
            .with_leader(expected)
            .responder(responder)
            .await
            .map_err(|error| ProposeError::Stopped(error.to_string()))?;
        Ok(async move {
            match answer.await {
                Ok(Ok(response)) => Ok(response.data),
                Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                    Err(ProposeError::NotLeader { leader: forward.leader_id })
                }
                Ok(Err(error)) => Err(ProposeError::Unknown(error.to_string())),
                Err(_) => Err(ProposeError::Unknown("this node's Raft has stopped".to_owned())),
            }
        })
    }

    /// The index that a linearizable read must have applied; this node must lead.
    pub async fn read_index(&self) -> Result<u64, ReadIndexError> {
        #[cfg(feature = "planted-bugs")]
        if is_planted(Bug::StaleRead) && self.leading().is_some() {
            return Ok(self.status().applied);
        }
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ReadIndexError::NotLeader { leader: forward.leader_id })
            }
            Err(error) => Err(ReadIndexError::Unavailable(error.to_string())),
        }
    }

    /// Waits until an entry was applied here.
    pub async fn wait_applied(&self, index: u64, limit: Duration) -> Result<(), String> {
        let mut progress = self.replica.progress();
        let reached = progress.wait_for(|now| {
            now.stopped.is_some() || now.applied.is_some_and(|id| id.index >= index)
        });
        match tokio::time::timeout(limit, reached).await {
            Ok(Ok(now)) => match &now.stopped {
                Some(why) => Err(why.to_string()),
                None => Ok(()),
            },
            Ok(Err(_)) => Err("the replica was closed".to_owned()),
            Err(_) => Err(format!("entry {index} was not applied here within {limit:?}")),
        }
    }

    /// Lets this node campaign, or not; while it recovers it never does.
    pub fn allow_campaign(&self, allowed: bool) {
        self.raft.runtime_config().elect(allowed && self.recovering.borrow().is_none());
    }

    /// Asks another voter to lead. It is checked to be reachable and caught up first.
    pub async fn transfer(&self, to: u64) -> Result<(), ClusterChange> {
        let status = self.status();
        if status.role != Role::Leader {
            return Err(ClusterChange::NotLeader { leader: status.leader });
        }
        if !status.voters.contains(&to) {
            return Err(ClusterChange::Refused(format!("node {to} is not a voter of the group")));
        }
        let behind = status.last_log.saturating_sub(*status.replication.get(&to).unwrap_or(&0));
        if behind > TRANSFER_LAG_MAX {
            let what = format!("node {to} is {behind} entries behind; wait until it has caught up");
            return Err(ClusterChange::NotYet(what));
        }
        self.raft.trigger().transfer_leader(to).await.map_err(|error| refused(&error))
    }

    /// Adds a node that follows and does not vote.
    pub async fn add_learner(&self, id: u64, member: Member) -> Result<(), ClusterChange> {
        self.raft.add_learner(id, member, false).await.map(|_| ()).map_err(change_failed)
    }

    /// Makes exactly these nodes the voters; the others are dropped, or stay as learners.
    pub async fn set_voters(
        &self,
        voters: BTreeSet<u64>,
        keep_learners: bool,
    ) -> Result<(), ClusterChange> {
        let change = ChangeMembers::ReplaceAllVoters(voters);
        self.raft.change_membership(change, keep_learners).await.map(|_| ()).map_err(change_failed)
    }

    /// Drops nodes that do not vote.
    pub async fn remove_learners(&self, ids: BTreeSet<u64>) -> Result<(), ClusterChange> {
        let change = ChangeMembers::RemoveNodes(ids);
        self.raft.change_membership(change, true).await.map(|_| ()).map_err(change_failed)
    }

    /// Asks for a snapshot; it is made beside apply.
    pub async fn trigger_snapshot(&self) -> Result<(), ClusterChange> {
        self.raft.trigger().snapshot().await.map_err(|error| refused(&error))
    }

    /// Makes a snapshot of all that is applied now, or says why none is made.
    pub async fn make_snapshot(&self, limit: Duration) -> Result<(), ClusterChange> {
        let applied = self.status().applied;
        let mut failure = self.snapshot_failure.clone();
        failure.mark_unchanged();
        let made = async {
            loop {
                self.trigger_snapshot().await?;
                // While an older one is being made no other is begun: then this one is asked for again.
                let made = self.wait_status(SNAPSHOT_POLL, |status| status.snapshot >= applied);
                tokio::select! {
                    made = made => if made.is_ok() { return Ok(()) },
                    Ok(()) = failure.changed() => {
                        let why = failure.borrow().clone();
                        return Err(ClusterChange::Refused(format!("no snapshot is made: {why}")));
                    }
                }
            }
        };
        let late = || ClusterChange::NotYet(format!("no snapshot was made within {limit:?}"));
        tokio::time::timeout(limit, made).await.unwrap_or_else(|_| Err(late()))
    }

    /// Lets the log forget all that a snapshot covers, what is kept for late followers included.
    pub async fn purge_to_snapshot(&self) -> Result<(), ClusterChange> {
        let snapshot = self.status().snapshot;
        self.raft.trigger().purge_log(snapshot).await.map_err(|error| refused(&error))
    }

    /// How the group stands.
    pub fn status(&self) -> GroupStatus {
        let stopped = self.stopped();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let role = match metrics.state {
            _ if stopped.is_some() => Role::Stopped,
            ServerState::Leader => Role::Leader,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner => Role::Learner,
            _ => Role::Stopped,
        };
        let index = |id: &Option<openraft::LogId<_>>| id.as_ref().map_or(0, |id| id.index);
        GroupStatus {
            role,
            term: metrics.current_term,
            // What has stopped knows no leader, least of all itself.
            leader: metrics.current_leader.filter(|_| stopped.is_none()),
            last_log: metrics.last_log_index.unwrap_or(0),
            committed: index(&metrics.local_committed),
            applied: index(&metrics.last_applied),
            snapshot: index(&metrics.snapshot),
            members: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
            voters: membership.voter_ids().collect(),
            replication: metrics
                .replication
                .iter()
                .flatten()
                .map(|(id, matching)| (*id, index(matching)))
                .collect(),
            quorum_ack_ms: metrics
                .last_quorum_acked
                .as_ref()
                .map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
            stopped,
            recovering: self.recovering.borrow().as_deref().map(str::to_owned),
        }
    }

    /// Waits until the status satisfies `wanted`.
    pub async fn wait_status(
        &self,
        limit: Duration,
        wanted: impl Fn(&GroupStatus) -> bool,
    ) -> Result<GroupStatus, String> {
        let mut metrics = self.raft.metrics();
        let waiting = async {
            loop {
                let status = self.status();
                if wanted(&status) {
                    return Ok(status);
                }
                if metrics.changed().await.is_err() {
                    return Err("the group has stopped".to_owned());
                }
            }
        };
        match tokio::time::timeout(limit, waiting).await {
            Ok(reached) => reached,
            Err(_) => Err(format!("it did not happen within {limit:?}: {:?}", self.status())),
        }
    }

    /// The membership as it is stored.
    pub fn membership(&self) -> RaftMembership {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().clone()
    }
}

/// How often, and how many times, a group that stops looks whether its log is durable.
const FLUSH_POLL: Duration = Duration::from_millis(5);
const FLUSH_TRIES: u32 = 400;
/// How often a snapshot is asked for again while an older one is being made.
const SNAPSHOT_POLL: Duration = Duration::from_secs(1);
/// A transfer's target may lack this many entries; it gets them during the transfer.
const TRANSFER_LAG_MAX: u64 = 64;

fn refused(error: &dyn std::error::Error) -> ClusterChange {
    ClusterChange::Refused(error.to_string())
}

fn change_failed(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ClusterChange {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            ClusterChange::NotLeader { leader: forward.leader_id }
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            error @ (ChangeMembershipError::InProgress(_)
            | ChangeMembershipError::UncommittedLeaderLog(_)),
        )) => ClusterChange::NotYet(error.to_string()),
        error => refused(&error),
    }
}

fn fatal<E: std::error::Error>(error: &E) -> Status {
    Status::unavailable(format!("the group does not run here: {error}"))
}
