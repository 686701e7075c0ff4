//! How a group is run, and what openraft is told of it.

use std::sync::Arc;

use openraft::{Config, SnapshotPolicy};

use crate::consensus::network::NetworkOptions;
use crate::latency::Stages;

/// How a group is run.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// The cluster's name.
    pub cluster: String,
    /// The group.
    pub group: u64,
    /// This node.
    pub node: u64,
    /// Between two heartbeats.
    pub heartbeat_ms: u64,
    /// A follower that hears nothing campaigns after at least so long,
    pub election_min_ms: u64,
    /// and at most so long.
    pub election_max_ms: u64,
    /// Bytes of entries in one message to a follower.
    pub append_bytes_max: usize,
    /// Entries kept behind a snapshot, for followers that are a little late.
    pub keep_entries: u64,
    /// Bytes of index pages kept in memory.
    pub index_cache_bytes: usize,
    /// How other nodes are spoken to.
    pub network: NetworkOptions,
    /// Where the time goes.
    pub stages: Arc<Stages>,
}

pub(crate) fn raft_config(
    options: &GroupOptions,
    may_lead: bool,
) -> Result<Config, openraft::ConfigError> {
    // A follower waits for the lease, which openraft makes as long as the longest election time-out, and
    // then for its own time-out. What is configured is both together.
    let lease_ms = options.election_max_ms / 2;
    let config = Config {
        cluster_name: format!("{}/{}", options.cluster, options.group),
        heartbeat_interval: options.heartbeat_ms,
        election_timeout_min: options.election_min_ms.saturating_sub(lease_ms),
        election_timeout_max: lease_ms,
        enable_pre_vote: Some(true),
        enable_elect: may_lead,
        // A follower whose disk lost something comes back with less than it acknowledged. It does not
        // vote until it has all of it again, so its leader may go on with it.
        allow_log_reversion: Some(true),
        // An entry is up to 1 MiB; what one message carries is bounded by bytes where it is read.
        max_payload_entries: 64,
        max_append_entries: Some(64),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: options.keep_entries,
        purge_batch_size: 64,
        api_channel_size: Some(1024),
        notification_channel_size: Some(1024),
        state_machine_channel_size: Some(64),
        install_snapshot_timeout: 600_000,
        ..Config::default()
    };
    config.validate()
}
