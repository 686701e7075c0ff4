//! What operators ask.

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fiscus_ledger::facts::Environment;
use fiscus_ledger::seal::authority_id;
use fiscus_ledger::state::group::APPLY_VERSION_MAX;
use fiscus_proto::admin as wire;
use fiscus_proto::admin::admin_server::Admin;
use fiscus_proto::command as proto;
use fiscus_proto::ledger::submit_response::Result as Answer;
use fiscus_proto::ledger::{self as ledger_wire, SubmitResponse};
use fiscus_proto::tls::Role;
use fiscus_raft::wal::SYNC_BUCKETS_US;
use futures_util::Stream;
use tonic::{Request, Response, Status};

use crate::clock::Agreement;
use crate::context::NodeContext;
use crate::expiry;
use crate::groups::{DATA_GROUPS_MAX, Groups, Hosted};
use crate::services::ledger::LedgerService;
use crate::services::members::{changed, not_leader};
use crate::services::require;
use crate::signer::Signable;
use crate::steward;

const OPERATORS: [Role; 1] = [Role::Admin];
const LOOKERS: [Role; 4] = [Role::Admin, Role::Node, Role::Gateway, Role::Auditor];
/// A snapshot is complete within this time.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(600);
/// A command without a limit of its own is given up after so long.
pub(super) const EXECUTE_WAIT: Duration = Duration::from_secs(10);

/// Serves operators.
#[derive(Debug, Clone)]
pub(crate) struct AdminService {
    pub(crate) context: Arc<NodeContext>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) ledger: LedgerService,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl AdminService {
    pub(super) fn group(&self, group: u64) -> Result<Arc<Hosted>, Status> {
        let hosted = self.groups.get(group);
        hosted.ok_or_else(|| Status::not_found(format!("group {group} does not live on this node")))
    }

    fn node_status(&self) -> wire::NodeStatus {
        let config = &self.context.config;
        let voters: BTreeSet<u64> =
            self.groups.all().iter().flat_map(|hosted| hosted.handle.status().voters).collect();
        let voters: Vec<u64> = voters.into_iter().collect();
        let agreement = self.context.clock.agreement(config.node, &voters);
        let (free, total) = self.context.disk();
        wire::NodeStatus {
            id: config.node,
            rpc: config.advertised(),
            admin: format!("http://{}", config.admin_listen),
            region: config.region.clone(),
            incarnation: self.context.identity.incarnation.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            apply_version_max: APPLY_VERSION_MAX,
            disk_free_bytes: free,
            disk_total_bytes: total,
            wal_bytes: self.groups.wal().bytes_on_disk(),
            fsync_p99_us: fsync_p99(&self.groups),
            clock_offset_ms: match agreement {
                Agreement::Agreed { .. } => Some(0),
                Agreement::Alone { offset_ms } => Some(offset_ms),
                Agreement::None => None,
            },
            clock_agreed: matches!(agreement, Agreement::Agreed { .. }),
            draining: self.context.draining(),
            uptime_s: self.context.uptime().as_secs(),
            memory_bytes: memory_bytes(),
            pid: std::process::id(),
        }
    }

    fn replica_status(&self, hosted: &Hosted) -> wire::ReplicaStatus {
        let status = hosted.handle.status();
        let replica = hosted.handle.replica();
        let progress = replica.progress().borrow().clone();
        let (state_index, state_hash) = replica.state_hash();
        let learners = status.members.keys().filter(|id| !status.voters.contains(id));
        let group = hosted.handle.group();
        wire::ReplicaStatus {
            group,
            role: status.role.as_str().to_owned(),
            leader: status.leader.unwrap_or(0),
            term: status.term,
            last_log: status.last_log,
            committed: status.committed,
            applied: progress.applied.map_or(0, |id| id.index),
            durable: replica.durable().map_or(0, |id| id.index),
            snapshot: status.snapshot,
            leaves: progress.leaves,
            signed_leaves: progress.signed_leaves,
            state_hash: state_hash.to_vec().into(),
            state_index,
            stopped: status.stopped.clone().unwrap_or_default(),
            learners: learners.copied().collect(),
            voters: status.voters.iter().copied().collect(),
            replication: status
                .replication
                .iter()
                .map(|(node, index)| wire::Matching { node: *node, index: *index })
                .collect(),
            preferred_region: steward::preferred_region(&self.groups, group).unwrap_or_default(),
            apply_version: progress.apply_version,
            time_ms: progress.time_ms,
            recovering: status.recovering.clone().unwrap_or_default(),
        }
    }

    fn alerts(&self, node: &wire::NodeStatus, replicas: &[wire::ReplicaStatus]) -> Vec<String> {
        let mut alerts = Vec::new();
        if replicas.is_empty() {
            alerts.push("it belongs to no cluster yet".to_owned());
        }
        if self.context.disk_full() {
            alerts.push("its disk is nearly full; nothing is accepted".to_owned());
        }
        if !node.clock_agreed && !replicas.is_empty() {
            alerts.push(match node.clock_offset_ms {
                Some(off) => format!("its clock is {off} ms from what a majority agrees on"),
                None => "no majority agrees on the time".to_owned(),
            });
        }
        let now_s = i64::try_from(self.context.clock.read().wall_ms / 1_000).unwrap_or(i64::MAX);
        let ends_s = self.context.certificate_ends_s;
        alerts.extend(ends_s.and_then(|ends_s| expiry::warning(ends_s, now_s)));
        for group in self.groups.unopened() {
            let why =
                self.groups.closed_by(group).unwrap_or_else(|| "see the node's log".to_owned());
            alerts.push(format!("group {group} is not open: {why}"));
        }
        for hosted in self.groups.all() {
            let harm = hosted.handle.replica().harm();
            if let Some(last) = harm.last() {
                let (group, met) = (hosted.handle.group(), harm.met());
                alerts.push(format!("group {group}: damage was met {met} times, last: {last}"));
            }
            let group = hosted.handle.group();
            alerts.extend(hosted.dispute().map(|what| format!("group {group}: {what}")));
            let witnessed = hosted.cosigned.alerts().into_iter();
            alerts.extend(witnessed.map(|what| format!("group {group}: {what}")));
        }
        alerts.extend(self.context.metrics.integrity.alerts());
        for replica in replicas {
            if !replica.stopped.is_empty() {
                alerts.push(format!("group {}: {}", replica.group, replica.stopped));
            } else if !replica.recovering.is_empty() {
                alerts
                    .push(format!("group {} is recovering: {}", replica.group, replica.recovering));
            } else if replica.leader == 0 {
                alerts.push(format!("group {} has no leader", replica.group));
            }
        }
        alerts
    }
}

/// The upper bound of the bucket that holds the 99th percentile.
fn fsync_p99(groups: &Groups) -> u64 {
    let stats = groups.wal().sync_stats();
    let all: u64 = stats.buckets.iter().sum();
    let mut below = 0;
    for (bound, count) in SYNC_BUCKETS_US.iter().zip(stats.buckets) {
        below += count;
        if below * 100 >= all * 99 {
            return *bound;
        }
    }
    SYNC_BUCKETS_US.last().copied().unwrap_or(0)
}

/// The resident memory of this process; 0 where the system does not tell.
fn memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        require(&self.context, &request, &LOOKERS)?;
        let node = self.node_status();
        let replicas: Vec<_> =
            self.groups.all().iter().map(|hosted| self.replica_status(hosted)).collect();
        let members = self.groups.members().into_iter().map(|(id, member)| ledger_wire::Node {
            id,
            rpc: member.rpc,
            region: member.region,
            admin: member.admin,
        });
        Ok(Response::new(wire::StatusResponse {
            cluster: self.context.config.cluster.clone(),
            alerts: self.alerts(&node, &replicas),
            node: Some(node),
            replicas,
            members: members.collect(),
        }))
    }

    async fn init(
        &self,
        request: Request<wire::InitRequest>,
    ) -> Result<Response<wire::Done>, Status> {
        require(&self.context, &request, &OPERATORS)?;
        let request = request.into_inner();
        if !(1..=DATA_GROUPS_MAX).contains(&request.data_groups) {
            let what = format!("a cluster has 1 to {DATA_GROUPS_MAX} data groups");
            return Err(Status::invalid_argument(what));
        }
        let founding = self.first_members(&request.nodes).await?;
        self.found(&founding, request.data_groups).await?;
        let detail = format!(
            "the cluster {} has {} nodes and {} data groups",
            self.context.config.cluster,
            founding.members.len(),
            request.data_groups
        );
        Ok(Response::new(wire::Done { detail }))
    }

    async fn change_members(
        &self,
        request: Request<wire::ChangeMembersRequest>,
    ) -> Result<Response<wire::Done>, Status> {
        require(&self.context, &request, &OPERATORS)?;
        let request = request.into_inner();
        let change = request.change;
        let change = change.ok_or_else(|| Status::invalid_argument("the request has no change"))?;
        let hosted = self.group(request.group)?;
        if hosted.handle.leading().is_none() {
            return Err(not_leader(hosted.handle.status().leader));
        }
        let detail = self.change(&hosted, change).await?;
        Ok(Response::new(wire::Done { detail }))
    }

    async fn transfer(
        &self,
        request: Request<wire::TransferRequest>,
    ) -> Result<Response<wire::Done>, Status> {
        require(&self.context, &request, &OPERATORS)?;
        let request = request.into_inner();
        let hosted = self.group(request.group)?;
        hosted.handle.transfer(request.to).await.map_err(changed)?;
        let to = request.to;
        let led =
            hosted.handle.wait_status(Duration::from_secs(5), |status| status.leader == Some(to));
        led.await.map_err(Status::unavailable)?;
        let detail = format!("node {to} leads group {}", request.group);
        Ok(Response::new(wire::Done { detail }))
    }

    async fn drain(
        &self,
        request: Request<wire::DrainRequest>,
    ) -> Result<Response<wire::Done>, Status> {
        require(&self.context, &request, &OPERATORS)?;
        let resume = request.into_inner().resume;
        self.context.set_draining(!resume);
        let node = self.context.identity.node;
        let detail = if resume {
            format!("node {node} may lead again")
        } else {
            format!("node {node} gives its groups away and takes none")
        };
        Ok(Response::new(wire::Done { detail }))
    }

    async fn snapshot(
        &self,
        request: Request<wire::SnapshotRequest>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        require(&self.context, &request, &OPERATORS)?;
        let hosted = self.group(request.into_inner().group)?;
        hosted.handle.make_snapshot(SNAPSHOT_WAIT).await.map_err(changed)?;
        let newest = hosted.handle.replica().newest_snapshot();
        let newest = newest.map_err(|error| Status::data_loss(error.to_string()))?;
        let dir = newest.ok_or_else(|| Status::unavailable("there is no snapshot"))?;
        Ok(Response::new(wire::SnapshotResponse {
            index: dir.log_id().map_or(0, |id| id.index),
            bytes: dir.bytes(),
            files: dir.manifest.files.len() as u64,
        }))
    }

    type ScrubStream = Answers<wire::Progress>;

    async fn scrub(
        &self,
        request: Request<wire::ScrubRequest>,
    ) -> Result<Response<Self::ScrubStream>, Status> {
        require(&self.context, &request, &OPERATORS)?;
        let request = request.into_inner();
        self.group(request.group)?;
        let (context, groups) = (self.context.clone(), self.groups.clone());
        let progress = crate::scrub::start(context, groups, request.group, request.repair, None);
        Ok(Response::new(Box::pin(progress)))
    }

    type BackupStream = Answers<wire::Progress>;

    async fn backup(
        &self,
        request: Request<wire::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        require(&self.context, &request, &OPERATORS)?;
        let request = request.into_inner();
        let hosted = self.group(request.group)?;
        let progress = crate::backup::start(hosted, Path::new(&request.path));
        Ok(Response::new(Box::pin(progress)))
    }

    async fn keys(
        &self,
        request: Request<wire::KeysRequest>,
    ) -> Result<Response<wire::KeysResponse>, Status> {
        require(&self.context, &request, &OPERATORS)?;
        let keys = self.context.signer.keys().into_iter().map(|key| {
            let environment = match key.environment {
                None => proto::Environment::Unspecified,
                Some(Environment::Live) => proto::Environment::Live,
                Some(Environment::Sandbox) => proto::Environment::Sandbox,
            };
            wire::Key {
                authority_id: match key.environment {
                    None => String::new(),
                    Some(_) => key.authority_id(),
                },
                name: key.name,
                purpose: key.purpose.as_str().to_owned(),
                environment: environment.into(),
                group: key.group,
                public_key: key.public_key.to_vec().into(),
            }
        });
        Ok(Response::new(wire::KeysResponse { keys: keys.collect() }))
    }

    async fn prove_authority(
        &self,
        request: Request<wire::ProveAuthorityRequest>,
    ) -> Result<Response<wire::ProveAuthorityResponse>, Status> {
        require(&self.context, &request, &OPERATORS)?;
        let request = request.into_inner();
        let public_key = (&*request.public_key)
            .try_into()
            .map_err(|_| Status::invalid_argument("a public key has 32 bytes"))?;
        let authority_id = authority_id(&request.name, &public_key);
        let node = self.context.identity.node;
        if self.context.authority_key(&authority_id).is_none() {
            let signature = bytes::Bytes::new();
            return Ok(Response::new(wire::ProveAuthorityResponse { node, signature }));
        }
        let proof = Signable::AuthorityProof {
            cluster: &self.context.config.cluster,
            group: request.group,
            voter: node,
            authority_id: &authority_id,
        };
        let signed = self.context.signer.sign(&public_key, &proof);
        let signature = signed.map_err(|error| Status::internal(error.to_string()))?;
        let signature = signature.to_vec().into();
        Ok(Response::new(wire::ProveAuthorityResponse { node, signature }))
    }

    async fn config(
        &self,
        request: Request<wire::ConfigRequest>,
    ) -> Result<Response<wire::ConfigResponse>, Status> {
        require(&self.context, &request, &OPERATORS)?;
        let toml = self.context.config.to_toml();
        Ok(Response::new(wire::ConfigResponse { toml }))
    }

    async fn execute(
        &self,
        request: Request<wire::ExecuteRequest>,
    ) -> Result<Response<SubmitResponse>, Status> {
        require(&self.context, &request, &OPERATORS)?;
        let request = request.into_inner();
        let limit = match request.timeout_ms {
            0 => EXECUTE_WAIT,
            ms => Duration::from_millis(ms.into()),
        };
        let command = request.command;
        let command = command.ok_or_else(|| Status::invalid_argument("there is no command"))?;
        let answer: Answer = self.ledger.execute(request.group, command, limit).await;
        Ok(Response::new(SubmitResponse { request: 0, result: Some(answer) }))
    }
}
