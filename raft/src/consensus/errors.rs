//! Why a group does not do what it is asked.

use std::path::PathBuf;

use crate::store::StoreError;
use crate::wal::WalError;

/// Why a group cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its state.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its timing.
    #[error("group {group} cannot be run so: {detail}")]
    Options {
        /// The group.
        group: u64,
        /// What is wrong.
        detail: String,
    },
    /// The log.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// Somebody still reads what was opened before; two owners would damage it.
    #[error("group {group} is still being read; it is tried again")]
    InUse {
        /// The group.
        group: u64,
    },
    /// Its state is lost, and no peer can have it.
    #[error(
        "group {group} stays closed on this node and nothing in {dir} was touched: {why}; {who}, so \
         that this may be the only copy. What is left: {left}. Put back a copy of the directory that \
         was taken while the node was stopped, or restore a backup as a new cluster; keep the \
         directory until that has succeeded",
        dir = dir.display()
    )]
    OnlyCopy {
        /// The group.
        group: u64,
        /// Where it is.
        dir: PathBuf,
        /// What is lost.
        why: String,
        /// Why nobody else is known to have it.
        who: &'static str,
        /// What is still there.
        left: String,
    },
    /// Its state is lost, and no peer says now that it has it.
    #[error(
        "group {group} stays closed on this node and nothing in {dir} was touched: {why}; none of the \
         nodes {asked:?} leads the group with a majority now, so that this may be the only copy. What \
         is left: {left}. It is tried again; start the other nodes. If none of them opens the group \
         either, start the version of the program that ran before",
        dir = dir.display()
    )]
    Unconfirmed {
        /// The group.
        group: u64,
        /// Where it is.
        dir: PathBuf,
        /// What is lost.
        why: String,
        /// Who was asked.
        asked: Vec<u64>,
        /// What is still there.
        left: String,
    },
    /// The state is damaged where the log was replayed into it. It is built again, or it stays so.
    #[error("group {group} does not start: {why}")]
    Damaged {
        /// The group.
        group: u64,
        /// What is damaged.
        why: String,
    },
    /// Raft does not start from what is stored.
    #[error("group {group} does not start: {detail}")]
    Raft {
        /// The group.
        group: u64,
        /// What is wrong.
        detail: String,
    },
}

/// Why a recovery cannot end.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The state.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log.
    #[error(transparent)]
    Wal(#[from] WalError),
}

/// Why a proposal has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It was not taken; nothing has happened.
    #[error("another node leads the group")]
    NotLeader {
        /// Which, when it is known.
        leader: Option<u64>,
    },
    /// Nobody knows whether it will be applied.
    #[error("whether it happened is not known: {0}")]
    Unknown(String),
    /// It was not taken: the group does not run here.
    #[error("the group does not run on this node: {0}")]
    Stopped(String),
}

/// Why a read index is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadIndexError {
    /// Ask the leader.
    #[error("another node leads the group")]
    NotLeader {
        /// Which, when it is known.
        leader: Option<u64>,
    },
    /// No majority confirms that this node leads.
    #[error("no majority confirms the leader: {0}")]
    Unavailable(String),
}

/// Why the members of a group, or its leader, cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterChange {
    /// Ask the leader.
    #[error("another node leads the group")]
    NotLeader {
        /// Which, when it is known.
        leader: Option<u64>,
    },
    /// It will be possible soon: ask again.
    #[error("{0}")]
    NotYet(String),
    /// It is not possible.
    #[error("{0}")]
    Refused(String),
}
