//! openraft's calls to other nodes.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fiscus_proto::peer;
use futures_util::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tonic::{Code, Status};

use crate::consensus::convert::{
    entry_to_bytes, log_id_from_proto, log_id_to_proto, vote_from_proto, vote_to_proto,
};
use crate::consensus::peers::{Lane, Peer, PeerPool};
use crate::consensus::state_machine::SnapshotData;
use crate::consensus::{Member, RaftVote, TypeConfig};
use crate::disk::Disk;
use crate::latency::Stages;
use crate::threads::blocking;

type Rpc = RPCError<TypeConfig>;

/// A stream is set up within this time, the connection under it included.
const STREAM_SETUP: Duration = Duration::from_secs(1);

/// How other nodes are spoken to.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Bytes of a snapshot in one message.
    pub snapshot_part_bytes: usize,
    /// Bytes of snapshots a second, so that entries have room; 0 means no limit.
    pub snapshot_bytes_per_s: u64,
    /// Whose turn it is: those who have the same one share the limit.
    pub snapshot_turn: Arc<tokio::sync::Mutex<()>>,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            snapshot_part_bytes: 1 << 20,
            snapshot_bytes_per_s: 64 << 20,
            snapshot_turn: Arc::default(),
        }
    }
}

/// Makes the connections of one group.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) group: u64,
    pub(crate) pool: PeerPool,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: NetworkOptions,
    pub(crate) stages: Arc<Stages>,
}

/// One group's connection to one node, for one purpose.
#[derive(Debug)]
pub(crate) struct Connection {
    group: u64,
    from: u64,
    target: u64,
    client: Result<Peer, String>,
    disk: Arc<dyn Disk>,
    options: NetworkOptions,
    stages: Arc<Stages>,
}

/// When the messages were sent that are not answered yet, in their order; nothing for those without entries.
#[derive(Debug, Default)]
struct SentTimes(Mutex<VecDeque<Option<Instant>>>);

impl SentTimes {
    fn sent(&self, entries: bool) {
        let now = entries.then(Instant::now);
        self.0.lock().expect("no holder panics").push_back(now);
    }

    fn answered(&self) -> Option<Instant> {
        self.0.lock().expect("no holder panics").pop_front().flatten()
    }
}

impl Network {
    fn connect(&self, target: u64, member: &Member, lane: Lane) -> Connection {
        let client = self.pool.client(target, &member.incarnation, &member.rpc, lane);
        Connection {
            group: self.group,
            from: self.pool.identity().node,
            target,
            client: client.map_err(|error| error.to_string()),
            disk: self.disk.clone(),
            options: self.options.clone(),
            stages: self.stages.clone(),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &Member) -> Connection {
        self.connect(target, node, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Connection {
        self.connect(target, node, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> Connection {
        self.connect(target, node, Lane::Snapshot)
    }
}

/// What a failed call means to Raft: a peer that is not there is tried again later.
fn failed(status: &Status) -> Rpc {
    match status.code() {
        Code::Unavailable
        | Code::FailedPrecondition
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => Unreachable::from_string(status).into(),
        _ => NetworkError::new(status).into(),
    }
}

impl Connection {
    fn client(&self) -> Result<Peer, Rpc> {
        match &self.client {
            Ok(client) => Ok(client.clone()),
            Err(why) => Err(Unreachable::from_string(why).into()),
        }
    }

    async fn within<T>(
        &self,
        action: RPCTypes,
        limit: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Rpc> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(failed(&status)),
            Err(_) => {
                let (id, target) = (self.from, self.target);
                Err(Timeout { action, id, target, timeout: limit }.into())
            }
        }
    }

    fn vote_message(&self, rpc: &VoteRequest<TypeConfig>) -> peer::VoteRequest {
        peer::VoteRequest {
            group: self.group,
            vote: Some(vote_to_proto(&rpc.vote)),
            last_log_id: rpc.last_log_id.as_ref().map(log_id_to_proto),
            leadership_transfer: rpc.leadership_transfer,
        }
    }

    /// Offers a snapshot, sends what the receiver lacks, and has it installed.
    async fn send_snapshot(
        &self,
        vote: RaftVote,
        data: &SnapshotData,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let mut client = self.client().map_err(to_streaming)?;
        let refused = |status: Status| to_streaming(failed(&status));
        let manifest = data.dir.manifest.clone();
        let offer = peer::OfferSnapshotRequest { manifest: Some(manifest) };
        let wanted = client.offer_snapshot(offer).await.map_err(refused)?.into_inner().wanted;
        let bytes: u64 = data.dir.bytes();
        tracing::info!(
            group = self.group,
            to = self.target,
            files = wanted.len(),
            bytes,
            "a snapshot is on its way"
        );
        let parts = self.parts(data, wanted);
        client.send_snapshot(parts).await.map_err(refused)?;
        let install = peer::InstallSnapshotRequest {
            group: self.group,
            vote: Some(vote_to_proto(&vote)),
            log_id: data.dir.manifest.log_id,
        };
        let answer = client.install_snapshot(install).await;
        let answer = answer.inspect_err(|status| self.suspect(data, status));
        let answer = answer.map_err(refused)?.into_inner();
        Ok(SnapshotResponse::new(vote_from_proto(answer.vote)))
    }

    /// A receiver that refuses the content may have met damage that is here.
    fn suspect(&self, data: &SnapshotData, status: &Status) {
        if status.code() != Code::DataLoss {
            return;
        }
        let (group, to) = (self.group, self.target);
        let what = status.message();
        match blocking(|| data.dir.verify(&*self.disk)) {
            Ok(()) => tracing::error!(group, to, what, "a snapshot was refused for its content"),
            Err(error) => {
                tracing::error!(group, to, what, %error, "a snapshot of this node is damaged");
            }
        }
    }

    /// Reads the wanted parts one after the other, no faster than allowed. A part that cannot be read
    /// ends the stream; the receiver keeps what it has.
    fn parts(
        &self,
        data: &SnapshotData,
        wanted: Vec<peer::FileWanted>,
    ) -> impl Stream<Item = peer::SnapshotPart> + Send + 'static {
        let (dir, disk, options) = (data.dir.clone(), self.disk.clone(), self.options.clone());
        let group = self.group;
        let files: Vec<(String, u64, u64)> = wanted
            .into_iter()
            .filter_map(|want| {
                let file = dir.manifest.files.iter().find(|file| file.name == want.name)?;
                Some((want.name, want.from, file.bytes))
            })
            .collect();
        let log_id = dir.manifest.log_id;
        futures_util::stream::unfold((files.into_iter(), None), move |(mut files, current)| {
            let (dir, disk, options) = (dir.clone(), disk.clone(), options.clone());
            async move {
                let (name, at, end): (String, u64, u64) = match current {
                    Some(current) => current,
                    None => files.next()?,
                };
                let bytes = usize::try_from(end - at)
                    .unwrap_or(usize::MAX)
                    .min(options.snapshot_part_bytes);
                let micros = bytes as u64 * 1_000_000;
                // No limit, no pause.
                if let Some(pause) = micros.checked_div(options.snapshot_bytes_per_s) {
                    let _turn = options.snapshot_turn.lock().await;
                    tokio::time::sleep(Duration::from_micros(pause)).await;
                }
                let read = blocking(|| dir.read(&*disk, &name, at, bytes));
                let data = match read {
                    Ok(data) => data.into(),
                    Err(error) => {
                        tracing::error!(group, %error, "a snapshot cannot be sent on");
                        return None;
                    }
                };
                let next = at + bytes as u64;
                let part =
                    peer::SnapshotPart { group, log_id, name: name.clone(), offset: at, data };
                let rest = (next < end).then_some((name, next, end));
                Some((part, (files, rest)))
            }
        })
    }
}

fn to_streaming(error: Rpc) -> StreamingError<TypeConfig> {
    match error {
        RPCError::Timeout(error) => error.into(),
        RPCError::Unreachable(error) => error.into(),
        RPCError::Network(error) => error.into(),
        RPCError::RemoteError(error) => {
            NetworkError::new(&io::Error::other(error.to_string())).into()
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Rpc> {
        let once = futures_util::stream::once(std::future::ready(rpc));
        let mut answers = self.stream_append(Box::pin(once), option).await?;
        match answers.next().await {
            Some(answer) => Ok(answer?.into()),
            None => Err(Unreachable::from_string("the stream ended without an answer").into()),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, Rpc>>, Rpc>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let mut client = self.client()?;
            let group = self.group;
            // openraft waits inside its stream before it tries a peer again. A peer that is down is not
            // even read from, so the first request comes before the connection: else nothing would wait.
            let Some(first) = input.next().await else {
                return Ok(futures_util::stream::empty().boxed());
            };
            let sent = Arc::new(SentTimes::default());
            let noted = sent.clone();
            let ready = futures_util::stream::once(std::future::ready(first));
            let requests = ready.chain(input).map(move |request| {
                noted.sent(!request.entries.is_empty());
                append_message(group, &request)
            });
            // A stream is made once and lives long: making it may take a new connection.
            let limit = option.hard_ttl().max(STREAM_SETUP);
            let call = client.append(requests);
            let answers = self.within(RPCTypes::AppendEntries, limit, call).await?;
            let stages = self.stages.clone();
            let answers = answers.map(move |answer| {
                if let Some(sent) = sent.answered() {
                    stages.replicate.observe(sent.elapsed());
                }
                append_result(answer)
            });
            let answers: BoxStream<'s, _> = Box::pin(answers);
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Rpc> {
        let mut client = self.client()?;
        let call = client.vote(self.vote_message(&rpc));
        Ok(vote_response(self.within(RPCTypes::Vote, option.hard_ttl(), call).await?))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Rpc> {
        let mut client = self.client()?;
        let call = client.pre_vote(self.vote_message(&rpc));
        Ok(vote_response(self.within(RPCTypes::Vote, option.hard_ttl(), call).await?))
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            sent = self.send_snapshot(vote, &snapshot.snapshot) => sent,
            closed = cancel => Err(closed.into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Rpc> {
        let mut client = self.client()?;
        let message = peer::TransferLeaderRequest {
            group: self.group,
            from: Some(vote_to_proto(req.from_leader())),
            to: *req.to_node_id(),
            last_log_id: req.last_log_id().map(log_id_to_proto),
        };
        let call = client.transfer_leader(message);
        let answer = self.within(RPCTypes::TransferLeader, option.hard_ttl(), call).await?;
        if answer.refused.is_empty() {
            return Ok(Ok(()));
        }
        Err(Unreachable::from_string(answer.refused).into())
    }
}

fn vote_response(answer: peer::VoteResponse) -> VoteResponse<TypeConfig> {
    let last = answer.last_log_id.map(log_id_from_proto);
    VoteResponse::new(vote_from_proto(answer.vote), last, answer.granted)
}

fn append_message(group: u64, request: &AppendEntriesRequest<TypeConfig>) -> peer::AppendRequest {
    peer::AppendRequest {
        group,
        vote: Some(vote_to_proto(&request.vote)),
        prev: request.prev_log_id.as_ref().map(log_id_to_proto),
        entries: request.entries.iter().map(entry_to_bytes).collect(),
        leader_commit: request.leader_commit.as_ref().map(log_id_to_proto),
    }
}

fn append_result(
    answer: Result<peer::AppendResponse, Status>,
) -> Result<StreamAppendResult<TypeConfig>, Rpc> {
    let answer = answer.map_err(|status| failed(&status))?;
    match answer.result {
        Some(peer::append_response::Result::Matched(matched)) => {
            Ok(Ok(matched.log_id.map(log_id_from_proto)))
        }
        Some(peer::append_response::Result::Conflict(id)) => {
            Ok(Err(StreamAppendError::Conflict(log_id_from_proto(id))))
        }
        Some(peer::append_response::Result::HigherVote(vote)) => {
            Ok(Err(StreamAppendError::HigherVote(vote_from_proto(Some(vote)))))
        }
        None => Err(Unreachable::from_string("the peer answers in a way not known here").into()),
    }
}
