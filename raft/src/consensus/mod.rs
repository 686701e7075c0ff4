//! The thin adapter between openraft and what this product stores, sends and applies.
//!
//! openraft's own types never reach the disk or the wire: `convert` turns them into this product's
//! messages and back.

mod convert;
mod elsewhere;
mod errors;
mod group;
mod log_store;
mod network;
mod options;
mod peers;
mod recover;
mod state_machine;
#[cfg(test)]
mod tests;

pub use convert::{membership_to_proto, vote_from_proto, vote_to_proto};
pub use errors::{ClusterChange, OpenError, ProposeError, ReadIndexError, RecoveryError};
pub use group::{GroupHandle, GroupStatus, Role};
pub use network::NetworkOptions;
pub use options::GroupOptions;
pub use peers::{Identity, Lane, PeerPool, metadata};

use std::fmt;

use bytes::Bytes;

use crate::store::ApplyReply;

/// A node of the cluster, as the membership names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// host:port of its RPC listener.
    pub rpc: String,
    /// Where it stands.
    pub region: String,
    /// Made with its directory: a node that lost it is another node.
    pub incarnation: String,
    /// URL of its listener of health and metrics.
    pub admin: String,
}

/// What is proposed: an encoded entry of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal(pub Bytes);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of commands", self.0.len())
    }
}

openraft::declare_raft_types!(
    /// How openraft is used here: one leader a term, log ids of term and index.
    pub TypeConfig:
        D = Proposal,
        R = ApplyReply,
        NodeId = u64,
        Node = Member,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
);

pub(crate) type RaftLogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(crate) type RaftVote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type RaftEntry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type RaftMembership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
