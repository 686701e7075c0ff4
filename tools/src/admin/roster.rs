//! Who is in a cluster: its nodes and groups, put together from what all nodes say.
//!
//! Invariant: of a group, the leader of the highest term is believed; without one, the replica that has
//! applied most.

use std::collections::{BTreeMap, BTreeSet};

use fiscus_proto::admin::{ReplicaStatus, StatusResponse};

use super::Failure;
use super::cluster::{Cluster, NodeView};

/// A cluster at a moment.
#[derive(Debug)]
pub(super) struct Roster {
    pub(super) views: Vec<NodeView>,
    groups: BTreeMap<u64, GroupView>,
}

/// A group at a moment.
#[derive(Debug, Clone)]
pub(super) struct GroupView {
    /// The node that leads it, if one does.
    pub(super) leader: Option<u64>,
    pub(super) voters: BTreeSet<u64>,
    pub(super) learners: BTreeSet<u64>,
    /// What the best-informed replica says.
    pub(super) best: ReplicaStatus,
}

impl GroupView {
    pub(super) fn has(&self, node: u64) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }

    /// The entries that a follower lacks, as the leader knows.
    pub(super) fn lag_of(&self, node: u64) -> u64 {
        let known = self.best.replication.iter().find(|matching| matching.node == node);
        self.best.last_log.saturating_sub(known.map_or(0, |matching| matching.index))
    }
}

impl Roster {
    /// Asks every node. Fails when nobody answers, or when there is no cluster yet.
    pub(super) async fn read(cluster: &Cluster) -> Result<Self, Failure> {
        let views = cluster.views().await;
        let silent = || {
            let said = views.iter().map(|view| match &view.status {
                Ok(_) => format!("{} belongs to no cluster yet", view.address),
                Err(error) => format!("{}: {error}", view.address),
            });
            said.collect::<Vec<_>>().join("; ")
        };
        let groups = groups(&views);
        if groups.is_empty() {
            return Err(Failure::new(2, "CLUSTER_UNREACHABLE", &silent()));
        }
        Ok(Self { views, groups })
    }

    pub(super) fn groups(&self) -> &BTreeMap<u64, GroupView> {
        &self.groups
    }

    /// The data groups that a cluster has; they are numbered from 1.
    pub(super) fn data_groups(&self) -> u64 {
        self.groups.last_key_value().map_or(0, |(last, _)| *last)
    }

    pub(super) fn group(&self, group: u64) -> Result<&GroupView, Failure> {
        self.groups.get(&group).ok_or_else(|| {
            let last = self.data_groups();
            Failure::argument(format!("there is no group {group}; the groups are 0 to {last}"))
        })
    }

    /// A data group, which outlets may live in.
    pub(super) fn data_group(&self, group: u64) -> Result<&GroupView, Failure> {
        if group == 0 {
            return Err(Failure::argument("group 0 is the directory; outlets live in data groups"));
        }
        self.group(group)
    }

    /// The groups that a node is part of.
    pub(super) fn groups_of(&self, node: u64) -> Vec<u64> {
        let with = self.groups.iter().filter(|(_, group)| group.has(node));
        with.map(|(id, _)| *id).collect()
    }

    pub(super) fn node(&self, node: u64) -> Result<&NodeView, Failure> {
        self.views.iter().find(|view| view.id == Some(node)).ok_or_else(|| {
            let ids = self.views.iter().filter_map(|view| view.id);
            let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
            Failure::argument(format!("there is no node {node}; the nodes are {}", ids.join(", ")))
        })
    }

    /// The address of a node that answers.
    pub(super) fn answering(&self, node: u64) -> Result<&str, Failure> {
        let view = self.node(node)?;
        match &view.status {
            Ok(_) => Ok(&view.address),
            Err(error) => {
                Err(Failure::refused(format!("node {node} at {}: {error}", view.address)))
            }
        }
    }

    /// What a node says of itself, when it answers.
    pub(super) fn status_of(&self, node: u64) -> Option<&StatusResponse> {
        let view = self.views.iter().find(|view| view.id == Some(node))?;
        view.status.as_ref().ok()
    }

    pub(super) fn lives(&self, node: u64) -> bool {
        self.status_of(node).is_some()
    }

    /// Every node that votes somewhere.
    pub(super) fn voters(&self) -> BTreeSet<u64> {
        self.groups.values().flat_map(|group| &group.voters).copied().collect()
    }
}

fn groups(views: &[NodeView]) -> BTreeMap<u64, GroupView> {
    let mut best: BTreeMap<u64, (u64, &ReplicaStatus)> = BTreeMap::new();
    let rank = |replica: &ReplicaStatus| (replica.role == "leader", replica.term, replica.applied);
    for view in views {
        let (Some(id), Ok(status)) = (view.id, &view.status) else { continue };
        for replica in &status.replicas {
            let known = best.get(&replica.group);
            // A replica that was never told its members knows nothing of the group.
            let informed = !replica.voters.is_empty();
            if informed && known.is_none_or(|(_, known)| rank(known) < rank(replica)) {
                best.insert(replica.group, (id, replica));
            }
        }
    }
    let view = |(group, (id, best)): (u64, (u64, &ReplicaStatus))| {
        let view = GroupView {
            leader: (best.role == "leader").then_some(id),
            voters: best.voters.iter().copied().collect(),
            learners: best.learners.iter().copied().collect(),
            best: best.clone(),
        };
        (group, view)
    };
    best.into_iter().map(view).collect()
}

/// Ids in words.
pub(super) fn listed<'i>(ids: impl IntoIterator<Item = &'i u64>) -> String {
    let ids: Vec<String> = ids.into_iter().map(ToString::to_string).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(",") }
}

/// Ids as JSON.
pub(super) fn numbers<'i>(ids: impl IntoIterator<Item = &'i u64>) -> String {
    fiscus_ledger::payload::array(ids.into_iter().map(ToString::to_string))
}
