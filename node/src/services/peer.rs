//! What other nodes ask.
//!
//! Invariants: which node speaks is what its certificate says, never the header alone; a node that was
//! removed is heard no more; a group comes into being here only on the word of a member, or while this
//! node has heard of no members at all.
//!
//! Not here: whether what is asked fits the term and the log, which the group itself decides.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use fiscus_ledger::state::group::{APPLY_VERSION_MAX, CheckpointTuple};
use fiscus_proto::peer::{self as wire, peer_server::Peer};
use fiscus_proto::tls::{Role, peer_node_ids};
use fiscus_raft::consensus::{Member, ReadIndexError, metadata};
use fiscus_raft::entry::DIRECTORY_GROUP;
use futures_util::{Stream, StreamExt, TryStreamExt};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::context::NodeContext;
use crate::cuts::CutReport;
use crate::groups::{DATA_GROUPS_MAX, Groups, Hosted};
use crate::services::{members, require, still_open};
use crate::{checkpoints, witnesses};

/// Leaves sent in one repair call.
const FETCH_LEAVES_MAX: u64 = 10_000;

/// Serves other nodes.
#[derive(Debug, Clone)]
pub(crate) struct PeerService {
    pub(crate) context: Arc<NodeContext>,
    pub(crate) groups: Arc<Groups>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl PeerService {
    /// Checks that a node of this cluster speaks, and that it means this node.
    fn check<T>(&self, request: &Request<T>) -> Result<Sender, Status> {
        require(&self.context, request, &[Role::Node])?;
        let headers = request.metadata();
        let own = &self.context.identity;
        let cluster = text(headers, metadata::CLUSTER)?;
        if cluster != own.cluster {
            let what = format!("this node belongs to cluster {}, not to {cluster}", own.cluster);
            return Err(Status::failed_precondition(what));
        }
        let to = text(headers, metadata::TO)?;
        if to != own.node.to_string() {
            let what = format!("this is node {}, not node {to}", own.node);
            return Err(Status::failed_precondition(what));
        }
        let known = text(headers, metadata::TO_INCARNATION)?;
        if !known.is_empty() && known != own.incarnation {
            let what = format!(
                "node {to} has lost the directory that the cluster knows; remove it and add this one \
                 under a new id"
            );
            return Err(Status::failed_precondition(what));
        }
        let from: u64 = text(headers, metadata::FROM)?
            .parse()
            .map_err(|_| Status::invalid_argument("the sender's node id is not a number"))?;
        if self.context.config.tls.is_some() {
            let named = peer_node_ids(request);
            let named = named.map_err(|error| Status::unauthenticated(error.to_string()))?;
            check_name(from, &named)?;
        }
        let incarnation = text(headers, metadata::INCARNATION)?;
        let members = self.groups.members();
        match members.get(&from) {
            Some(member) => check_incarnation(from, member, incarnation)?,
            None if self.has_left(from) => {
                let what = format!("node {from} was removed; an id is never used again");
                return Err(Status::permission_denied(what));
            }
            None => {}
        }
        Ok(Sender { node: from, members })
    }

    /// Whether the directory, as this node has it, notes that an id has left.
    fn has_left(&self, id: u64) -> bool {
        let Some(directory) = self.groups.get(DIRECTORY_GROUP) else { return false };
        let reading = directory.handle.replica().read();
        let noted = reading
            .map_err(|error| Status::data_loss(error.to_string()))
            .and_then(|reading| members::note(&reading, id));
        noted.map_or_else(
            |error| {
                // A directory that cannot be read must not keep its own repair away.
                tracing::warn!(node = id, %error, "whether the node was removed is not known");
                false
            },
            |note| note.is_some(),
        )
    }

    /// A group, opened when a peer speaks of it first. One that is here and does not open is tried again
    /// by the node itself, not by every message.
    async fn group(&self, group: u64, from: &Sender) -> Result<Arc<Hosted>, Status> {
        if group > DATA_GROUPS_MAX {
            return Err(Status::invalid_argument(format!("there is no group {group}")));
        }
        if let Some(hosted) = self.groups.get(group) {
            return Ok(hosted);
        }
        if self.groups.is_known(group) {
            return Err(Status::unavailable(format!("group {group} is not open on this node now")));
        }
        if !from.may_open() {
            let node = from.node;
            let what =
                format!("node {node} is no member here, so group {group} is not opened for it");
            return Err(Status::permission_denied(what));
        }
        let opened = self.groups.open(group).await;
        opened.map_err(|error| Status::unavailable(error.to_string()))
    }
}

/// Who speaks, and whom this node knew when it did.
#[derive(Debug, Clone)]
struct Sender {
    node: u64,
    members: BTreeMap<u64, Member>,
}

impl Sender {
    /// A node that has heard of no members yet waits to be told of its groups by anyone of the cluster.
    fn may_open(&self) -> bool {
        self.members.is_empty() || self.members.contains_key(&self.node)
    }
}

/// Refuses a sender that its certificate does not name.
fn check_name(from: u64, named: &[u64]) -> Result<(), Status> {
    if named == [from] {
        return Ok(());
    }
    let what = match named.first() {
        None => format!(
            "the certificate of node {from} does not say which node it is; make one with `fiscus admin \
             pki issue --role node --node-id {from}`"
        ),
        Some(other) => format!("the certificate is that of node {other}, not of node {from}"),
    };
    Err(Status::permission_denied(what))
}

fn check_incarnation(from: u64, member: &Member, incarnation: &str) -> Result<(), Status> {
    if member.incarnation.is_empty() || member.incarnation == incarnation {
        return Ok(());
    }
    let what = format!("node {from} is known with another directory; a wiped node needs a new id");
    Err(Status::permission_denied(what))
}

impl PeerService {
    /// The first message names the group; all others of the stream are of the same one.
    async fn append_to_group(
        self,
        mut requests: Streaming<wire::AppendRequest>,
        from: Sender,
    ) -> Result<Answers<wire::AppendResponse>, Status> {
        let Some(first) = requests.message().await? else {
            return Ok(Box::pin(futures_util::stream::empty()));
        };
        let group = first.group;
        let hosted = self.group(group, &from).await?;
        let rest = requests.take_while(move |request| {
            std::future::ready(request.as_ref().is_ok_and(|request| request.group == group))
        });
        let rest = rest.filter_map(|request| std::future::ready(request.ok()));
        let all = futures_util::stream::once(std::future::ready(first)).chain(rest);
        Ok(Box::pin(hosted.handle.append(all)))
    }
}

fn text<'a>(headers: &'a MetadataMap, name: &'static str) -> Result<&'a str, Status> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| Status::invalid_argument(format!("the call lacks the header {name}")))
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn hello(
        &self,
        request: Request<wire::HelloRequest>,
    ) -> Result<Response<wire::HelloResponse>, Status> {
        require(&self.context, &request, &[Role::Node, Role::Admin])?;
        let config = &self.context.config;
        let groups = self.groups.all();
        let members = groups.iter().map(|hosted| wire::Members {
            ids: hosted.handle.status().members.into_keys().collect(),
        });
        Ok(Response::new(wire::HelloResponse {
            cluster: config.cluster.clone(),
            node: Some(wire::NodeInfo {
                id: config.node,
                rpc: config.advertised(),
                region: config.region.clone(),
                incarnation: self.context.identity.incarnation.clone(),
                admin: format!("http://{}", config.admin_listen),
            }),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            apply_version_max: APPLY_VERSION_MAX,
            members: members.collect(),
            groups: groups.iter().map(|hosted| hosted.handle.group()).collect(),
        }))
    }

    async fn vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let from = self.check(&request)?;
        let request = request.into_inner();
        let hosted = self.group(request.group, &from).await?;
        hosted.handle.vote(request).await.map(Response::new)
    }

    async fn pre_vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let from = self.check(&request)?;
        let request = request.into_inner();
        let hosted = self.group(request.group, &from).await?;
        hosted.handle.pre_vote(request).await.map(Response::new)
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        let from = self.check(&request)?;
        let request = request.into_inner();
        let hosted = self.group(request.group, &from).await?;
        hosted.handle.handle_transfer(request).await.map(Response::new)
    }

    async fn read_index(
        &self,
        request: Request<wire::ReadIndexRequest>,
    ) -> Result<Response<wire::ReadIndexResponse>, Status> {
        let from = self.check(&request)?;
        let hosted = self.group(request.into_inner().group, &from).await?;
        match hosted.handle.read_index().await {
            Ok(index) => Ok(Response::new(wire::ReadIndexResponse {
                index,
                not_leader: false,
                leader: self.context.identity.node,
                last_log: hosted.handle.log().last().map_or(0, |id| id.index),
            })),
            Err(ReadIndexError::NotLeader { leader }) => {
                Ok(Response::new(wire::ReadIndexResponse {
                    index: 0,
                    not_leader: true,
                    leader: leader.unwrap_or(0),
                    last_log: 0,
                }))
            }
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }

    async fn clock(
        &self,
        request: Request<wire::ClockRequest>,
    ) -> Result<Response<wire::ClockResponse>, Status> {
        self.check(&request)?;
        let unix_ms = self.context.clock.read().wall_ms;
        Ok(Response::new(wire::ClockResponse { unix_ms }))
    }

    async fn report_cut(
        &self,
        request: Request<wire::ReportCutRequest>,
    ) -> Result<Response<wire::ReportCutResponse>, Status> {
        let from = self.check(&request)?;
        let request = request.into_inner();
        let hosted = self.group(request.group, &from).await?;
        let hash = |bytes: &[u8]| {
            bytes.try_into().map_err(|_| Status::invalid_argument("a hash has 32 bytes"))
        };
        let tuple = CheckpointTuple {
            log_index: request.log_index,
            size: request.size,
            root: hash(&request.root)?,
            state_hash: hash(&request.state_hash)?,
        };
        let report = CutReport { tuple, copied: request.copied };
        hosted.note_cut(&self.context, from.node, report);
        Ok(Response::new(wire::ReportCutResponse {}))
    }

    async fn report_cosigned(
        &self,
        request: Request<wire::ReportCosignedRequest>,
    ) -> Result<Response<wire::ReportCosignedResponse>, Status> {
        let from = self.check(&request)?;
        let request = request.into_inner();
        let hosted = self.group(request.group, &from).await?;
        witnesses::take(&self.context, &hosted, &request.note);
        Ok(Response::new(wire::ReportCosignedResponse {}))
    }

    async fn signed_checkpoints(
        &self,
        request: Request<wire::SignedCheckpointsRequest>,
    ) -> Result<Response<wire::SignedCheckpointsResponse>, Status> {
        self.check(&request)?;
        let data = self.groups.all().into_iter();
        let data = data.filter(|hosted| hosted.handle.group() != DIRECTORY_GROUP);
        let signed = data.filter_map(|hosted| {
            let group = hosted.handle.group();
            let decided = hosted.handle.replica().progress().borrow().decided.clone()?;
            // A node without the log's key shows nothing; others have it.
            let note =
                checkpoints::signed(&self.context, group, decided.size, &decided.root).ok()?;
            Some(wire::SignedCheckpoint { group, note })
        });
        let checkpoints = signed.collect();
        Ok(Response::new(wire::SignedCheckpointsResponse { checkpoints }))
    }

    type AppendStream = Answers<wire::AppendResponse>;

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let from = self.check(&request)?;
        let service = self.clone();
        let requests = request.into_inner();
        // The answer begins at once: the leader waits for it before it has anything to send.
        let answers =
            futures_util::stream::once(service.append_to_group(requests, from)).try_flatten();
        Ok(Response::new(Box::pin(answers)))
    }

    async fn offer_snapshot(
        &self,
        request: Request<wire::OfferSnapshotRequest>,
    ) -> Result<Response<wire::OfferSnapshotResponse>, Status> {
        let from = self.check(&request)?;
        let manifest = request.into_inner().manifest;
        let manifest =
            manifest.ok_or_else(|| Status::invalid_argument("the offer has no manifest"))?;
        let hosted = self.group(manifest.group, &from).await?;
        hosted.handle.offer_snapshot(manifest).await.map(Response::new)
    }

    async fn send_snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotPart>>,
    ) -> Result<Response<wire::SendSnapshotResponse>, Status> {
        let from = self.check(&request)?;
        let mut parts = request.into_inner();
        let mut bytes = 0;
        while let Some(part) = parts.message().await? {
            let hosted = self.group(part.group, &from).await?;
            bytes += hosted.handle.take_part(&part).await?;
        }
        Ok(Response::new(wire::SendSnapshotResponse { bytes }))
    }

    async fn install_snapshot(
        &self,
        request: Request<wire::InstallSnapshotRequest>,
    ) -> Result<Response<wire::InstallSnapshotResponse>, Status> {
        let from = self.check(&request)?;
        let request = request.into_inner();
        let hosted = self.group(request.group, &from).await?;
        hosted.handle.install_snapshot(request).await.map(Response::new)
    }

    type FetchLeavesStream = Answers<wire::FetchLeavesResponse>;

    async fn fetch_leaves(
        &self,
        request: Request<wire::FetchLeavesRequest>,
    ) -> Result<Response<Self::FetchLeavesStream>, Status> {
        let from = self.check(&request)?;
        let request = request.into_inner();
        let hosted = self.group(request.group, &from).await?;
        let to = request.to.min(request.from.saturating_add(FETCH_LEAVES_MAX));
        let hosted = Arc::downgrade(&hosted);
        let leaves = (request.from..to).map(move |leaf| {
            let hosted = still_open(&hosted)?;
            let read = || -> Result<_, fiscus_raft::store::StoreError> {
                let reading = hosted.handle.replica().read()?;
                Ok((reading.leaf(leaf)?, reading.record(leaf)?))
            };
            let (entry, found) = read().map_err(|error| Status::data_loss(error.to_string()))?;
            let entry = entry.ok_or_else(|| Status::out_of_range(format!("no leaf {leaf}")))?;
            let signature = found.as_ref().and_then(|found| found.signature);
            Ok(wire::FetchLeavesResponse {
                leaf,
                hash: entry.hash.to_vec().into(),
                record: found.map_or_else(Default::default, |found| found.record.into()),
                signature: signature.map_or_else(Default::default, |s| s.to_vec().into()),
            })
        });
        Ok(Response::new(Box::pin(futures_util::stream::iter(leaves))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_who_its_certificate_says() {
        for (from, named, accepted) in [
            (2, vec![2], true),
            (2, vec![3], false),
            (2, vec![], false),
            (2, vec![2, 3], false),
            (3, vec![2, 3], false),
        ] {
            assert_eq!(check_name(from, &named).is_ok(), accepted, "{from} {named:?}");
        }
    }

    #[test]
    fn members_open_groups_and_anyone_does_where_none_are_known() {
        let known: BTreeMap<u64, Member> = [1, 2].map(|id| (id, Member::default())).into();
        for (node, members, may) in
            [(1, known.clone(), true), (3, known, false), (3, BTreeMap::new(), true)]
        {
            assert_eq!(Sender { node, members }.may_open(), may, "{node}");
        }
    }
}
