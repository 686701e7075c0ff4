//! Between openraft's types and this product's messages.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use fiscus_proto::peer;
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, VoteRequest};
use openraft::vote::RaftLeaderId;
use prost::Message;

use crate::consensus::{
    Member, Proposal, RaftEntry, RaftLogId, RaftMembership, RaftVote, StoredMembership, TypeConfig,
};
use crate::wal::{LogEntry, LogId, Vote};

type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>;

pub(crate) fn log_id_to_wal(id: &RaftLogId) -> LogId {
    LogId { term: id.leader_id.term, index: id.index }
}

pub(crate) fn log_id_from_wal(id: LogId) -> RaftLogId {
    RaftLogId { leader_id: LeaderId::new(id.term, 0).to_committed(), index: id.index }
}

pub(crate) fn log_id_to_proto(id: &RaftLogId) -> peer::LogId {
    peer::LogId { term: id.leader_id.term, index: id.index }
}

pub(crate) fn log_id_from_proto(id: peer::LogId) -> RaftLogId {
    log_id_from_wal(LogId { term: id.term, index: id.index })
}

pub(crate) fn vote_to_wal(vote: &RaftVote) -> Vote {
    let leader = &vote.leader_id;
    Vote { term: leader.term, node: leader.voted_for, committed: vote.committed }
}

pub(crate) fn vote_from_wal(vote: Vote) -> RaftVote {
    RaftVote { leader_id: LeaderId::new(vote.term, vote.node), committed: vote.committed }
}

/// A vote as it is sent.
#[must_use]
pub fn vote_to_proto(vote: &RaftVote) -> peer::Vote {
    let leader = &vote.leader_id;
    peer::Vote { term: leader.term, node: leader.voted_for, committed: vote.committed }
}

/// A vote as it came; an absent one is nobody's.
#[must_use]
pub fn vote_from_proto(vote: Option<peer::Vote>) -> RaftVote {
    let vote = vote.unwrap_or_default();
    vote_from_wal(Vote { term: vote.term, node: vote.node, committed: vote.committed })
}

/// A membership as it is stored and sent.
#[must_use]
pub fn membership_to_proto(membership: &RaftMembership) -> peer::Membership {
    let configs = membership.get_joint_config().iter();
    let nodes = membership.nodes().map(|(id, member)| peer::NodeInfo {
        id: *id,
        rpc: member.rpc.clone(),
        region: member.region.clone(),
        incarnation: member.incarnation.clone(),
        admin: member.admin.clone(),
    });
    peer::Membership {
        configs: configs
            .map(|voters| peer::VoterSet { voters: voters.iter().copied().collect() })
            .collect(),
        nodes: nodes.collect(),
    }
}

pub(crate) fn member_from_proto(node: &peer::NodeInfo) -> Member {
    Member {
        rpc: node.rpc.clone(),
        region: node.region.clone(),
        incarnation: node.incarnation.clone(),
        admin: node.admin.clone(),
    }
}

pub(crate) fn membership_from_proto(membership: &peer::Membership) -> io::Result<RaftMembership> {
    let sets = membership.configs.iter();
    let configs: Vec<BTreeSet<u64>> =
        sets.map(|set| set.voters.iter().copied().collect()).collect();
    let nodes: BTreeMap<u64, Member> =
        membership.nodes.iter().map(|node| (node.id, member_from_proto(node))).collect();
    if configs.is_empty() && nodes.is_empty() {
        return Ok(RaftMembership::default());
    }
    RaftMembership::new(configs, nodes)
        .map_err(|error| io::Error::other(format!("a stored membership is not valid: {error}")))
}

pub(crate) fn stored_membership(
    log_id: Option<peer::LogId>,
    membership: Option<&peer::Membership>,
) -> io::Result<StoredMembership> {
    let membership = membership.map(membership_from_proto).transpose()?.unwrap_or_default();
    Ok(StoredMembership::new(log_id.map(log_id_from_proto), membership))
}

/// An entry as it is stored and sent.
pub(crate) fn entry_to_bytes(entry: &RaftEntry) -> Bytes {
    let payload = match &entry.payload {
        EntryPayload::Blank => peer::raft_entry::Payload::Blank(peer::Blank {}),
        EntryPayload::Normal(proposal) => peer::raft_entry::Payload::Normal(proposal.0.clone()),
        EntryPayload::Membership(membership) => {
            peer::raft_entry::Payload::Membership(membership_to_proto(membership))
        }
    };
    let message =
        peer::RaftEntry { id: Some(log_id_to_proto(&entry.log_id)), payload: Some(payload) };
    message.encode_to_vec().into()
}

/// Reads an entry; its commands stay as they are.
pub(crate) fn entry_from_bytes(bytes: Bytes) -> io::Result<RaftEntry> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let message = peer::RaftEntry::decode(bytes)
        .map_err(|error| invalid(format!("an entry of the log cannot be read: {error}")))?;
    let id = message.id.ok_or_else(|| invalid("an entry of the log has no id".to_owned()))?;
    let payload = match message.payload {
        Some(peer::raft_entry::Payload::Blank(_)) => EntryPayload::Blank,
        Some(peer::raft_entry::Payload::Normal(bytes)) => EntryPayload::Normal(Proposal(bytes)),
        Some(peer::raft_entry::Payload::Membership(membership)) => {
            EntryPayload::Membership(membership_from_proto(&membership)?)
        }
        None => {
            let index = id.index;
            return Err(invalid(format!(
                "entry {index} of the log is of a kind that this version does not know; upgrade \
                 this node"
            )));
        }
    };
    Ok(RaftEntry { log_id: log_id_from_proto(id), payload })
}

pub(crate) fn entry_to_wal(entry: &RaftEntry) -> LogEntry {
    LogEntry { id: log_id_to_wal(&entry.log_id), bytes: entry_to_bytes(entry) }
}

pub(crate) fn vote_request(request: peer::VoteRequest) -> VoteRequest<TypeConfig> {
    let last = request.last_log_id.map(log_id_from_proto);
    let mut vote = VoteRequest::new(vote_from_proto(request.vote), last);
    vote.leadership_transfer = request.leadership_transfer;
    vote
}

pub(crate) fn vote_message(
    answer: &openraft::raft::VoteResponse<TypeConfig>,
) -> peer::VoteResponse {
    peer::VoteResponse {
        vote: Some(vote_to_proto(&answer.vote)),
        granted: answer.vote_granted,
        last_log_id: answer.last_log_id.as_ref().map(log_id_to_proto),
    }
}

pub(crate) fn append_request(
    request: peer::AppendRequest,
) -> io::Result<AppendEntriesRequest<TypeConfig>> {
    let entries = request.entries.into_iter().map(entry_from_bytes);
    Ok(AppendEntriesRequest {
        vote: vote_from_proto(request.vote),
        prev_log_id: request.prev.map(log_id_from_proto),
        entries: entries.collect::<io::Result<_>>()?,
        leader_commit: request.leader_commit.map(log_id_from_proto),
    })
}

pub(crate) fn append_response(
    result: &Result<Option<RaftLogId>, StreamAppendError<TypeConfig>>,
) -> peer::AppendResponse {
    let result = match result {
        Ok(matched) => {
            let log_id = matched.as_ref().map(log_id_to_proto);
            peer::append_response::Result::Matched(peer::Matched { log_id })
        }
        Err(StreamAppendError::Conflict(id)) => {
            peer::append_response::Result::Conflict(log_id_to_proto(id))
        }
        Err(StreamAppendError::HigherVote(vote)) => {
            peer::append_response::Result::HigherVote(vote_to_proto(vote))
        }
    };
    peer::AppendResponse { result: Some(result) }
}
