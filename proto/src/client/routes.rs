//! Where the nodes and the leaders are, as far as anyone has said. No IO: it is told, and asked.

use std::collections::BTreeMap;

use super::Place;
use crate::ledger::{self, TopologyResponse};

/// The group whose members are all nodes.
const DIRECTORY: u64 = 0;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    address: String,
    region: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Group {
    leader: Option<u64>,
    members: Vec<u64>,
    voters: usize,
    term: u64,
    preferred_region: String,
    /// How far whoever named the members had applied the group: they are replaced by no older answer.
    applied: u64,
}

/// Why an answer teaches nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotLearnt {
    /// It came from another cluster than the ones before.
    #[error("it is of cluster {0}")]
    Foreign(String),
    /// Its node knows neither members nor groups: it waits to be added, or was emptied.
    #[error("it belongs to no cluster yet")]
    Empty,
    /// It is older than what is known, and knows no leader that would be news.
    #[error("it is behind, and may have left the cluster")]
    Behind,
}

impl Group {
    fn learn(&mut self, told: ledger::Group) {
        if told.term >= self.term {
            self.term = told.term;
            self.leader = (told.leader != 0).then_some(told.leader);
        }
        if told.applied >= self.applied && !told.voters.is_empty() {
            self.applied = told.applied;
            self.preferred_region = told.preferred_region;
            self.voters = told.voters.len();
            self.members = told.voters;
            self.members.extend(told.learners);
        }
    }
}

/// What is known of the cluster.
#[derive(Debug, Default)]
pub(super) struct Routes {
    cluster: Option<String>,
    nodes: BTreeMap<u64, Node>,
    groups: BTreeMap<u64, Group>,
    /// The node that answered last; it is likely to answer again, and to be near.
    last_good: Option<u64>,
    /// How often the topology was learnt.
    pub(super) generation: u64,
}

impl Routes {
    /// Takes what a node says of the cluster. An older term than is known says nothing of a leader, and
    /// a node that has applied less of the directory than is known says nothing of the nodes: it lags, or
    /// it was removed and does not know it. Says whether the nodes were learnt.
    pub(super) fn learn(&mut self, told: TopologyResponse) -> Result<bool, NotLearnt> {
        if self.cluster.as_ref().is_some_and(|known| *known != told.cluster) {
            return Err(NotLearnt::Foreign(told.cluster));
        }
        if told.nodes.is_empty() || told.groups.iter().all(|group| group.voters.is_empty()) {
            return Err(NotLearnt::Empty);
        }
        let TopologyResponse { cluster, nodes, groups, .. } = told;
        let of_directory = groups.iter().find(|group| group.id == DIRECTORY);
        let applied = of_directory.map_or(0, |group| group.applied);
        let newest = self.groups.get(&DIRECTORY).map_or(0, |known| known.applied);
        let behind = !self.nodes.is_empty() && applied < newest;
        let leads = |group: &ledger::Group| {
            let term = self.groups.get(&group.id).map_or(0, |known| known.term);
            group.leader != 0 && group.term >= term
        };
        let of_use = !behind || groups.iter().all(leads);
        self.cluster = Some(cluster);
        for group in groups {
            self.groups.entry(group.id).or_default().learn(group);
        }
        if !of_use {
            return Err(NotLearnt::Behind);
        }
        self.generation += 1;
        if !behind {
            let route = |node: ledger::Node| Node { address: node.rpc, region: node.region };
            self.nodes = nodes.into_iter().map(|node| (node.id, route(node))).collect();
        }
        Ok(!behind)
    }

    /// Takes a node's word that another one leads. Whether that is a known node.
    pub(super) fn hint(&mut self, group: u64, leader: u64) -> bool {
        let known = self.nodes.contains_key(&leader);
        if known {
            self.groups.entry(group).or_default().leader = Some(leader);
        }
        known
    }

    /// A node turned out not to lead, or not to be there.
    pub(super) fn forget_leader(&mut self, group: u64, node: u64) {
        if let Some(known) = self.groups.get_mut(&group)
            && known.leader == Some(node)
        {
            known.leader = None;
        }
    }

    /// Every group that has been told of.
    pub(super) fn groups(&self) -> Vec<u64> {
        self.groups.keys().copied().collect()
    }

    pub(super) fn answered(&mut self, node: u64) {
        self.last_good = Some(node);
    }

    /// The groups that hold outlets, each with the region that it is led from when it can be.
    pub(super) fn data_groups(&self) -> Vec<(u64, String)> {
        let data = self.groups.iter().filter(|(id, _)| **id != DIRECTORY);
        data.map(|(id, group)| (*id, group.preferred_region.clone())).collect()
    }

    /// Whether it is known who leads, and where that node is: a node that lags may have told the first only.
    pub(super) fn knows_leader(&self, group: u64) -> bool {
        let leader = self.groups.get(&group).and_then(|group| group.leader);
        leader.is_some_and(|leader| self.nodes.contains_key(&leader))
    }

    /// The node to send a command to: the leader, or the voters in turn, who will say who leads. The
    /// one that has just failed is only taken when there is no other.
    pub(super) fn target(&self, group: u64, failed: Option<u64>, turn: usize) -> Option<u64> {
        let known = self.groups.get(&group);
        let here = |node: &u64| self.nodes.contains_key(node);
        let leader = known.and_then(|known| known.leader).filter(here);
        if let Some(leader) = leader.filter(|leader| Some(*leader) != failed) {
            return Some(leader);
        }
        let voters = known.map_or(&[][..], |known| &known.members[..known.voters]);
        let mut all: Vec<u64> = voters.iter().copied().filter(here).collect();
        if all.is_empty() {
            all = self.nodes.keys().copied().collect();
        }
        let others: Vec<u64> = all.iter().copied().filter(|node| Some(*node) != failed).collect();
        let from = if others.is_empty() { all } else { others };
        (!from.is_empty()).then(|| from[turn % from.len()])
    }

    /// The nodes to read from, the likeliest first: the one that answered last, those of the client's
    /// region, the others.
    pub(super) fn readers(&self, group: u64, region: Option<&str>) -> Vec<u64> {
        let members = self.groups.get(&group).map_or(&[][..], |known| &known.members);
        let mut nodes: Vec<u64> =
            members.iter().copied().filter(|node| self.nodes.contains_key(node)).collect();
        if nodes.is_empty() {
            nodes = self.nodes.keys().copied().collect();
        }
        nodes.sort_by_key(|node| {
            let near = region.is_some_and(|region| self.nodes[node].region == region);
            (Some(*node) != self.last_good, !near, *node)
        });
        nodes
    }

    pub(super) fn address(&self, node: u64) -> Option<&str> {
        self.nodes.get(&node).map(|node| &*node.address)
    }

    /// Where every known node is, the likeliest to answer first.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        let mut nodes: Vec<(&u64, &Node)> = self.nodes.iter().collect();
        nodes.sort_by_key(|(id, _)| (Some(**id) != self.last_good, **id));
        nodes.into_iter().map(|(id, node)| (node.address.clone(), Some(*id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(leader: u64, term: u64) -> TopologyResponse {
        let node = |id| ledger::Node {
            id,
            rpc: format!("127.0.0.1:{id}"),
            region: if id == 3 { "goma".into() } else { "kin".into() },
            admin: String::new(),
        };
        let group = |id, applied| ledger::Group {
            id,
            leader,
            voters: vec![1, 2, 3],
            learners: vec![4],
            term,
            applied,
            ..ledger::Group::default()
        };
        TopologyResponse {
            cluster: "c".into(),
            node: 1,
            nodes: (1..=5).map(node).collect(),
            groups: vec![group(0, 10), group(1, 10)],
            disk_free_bytes: 0,
        }
    }

    #[test]
    fn commands_go_to_the_leader_or_to_who_may_know_it() {
        let mut routes = Routes::default();
        assert_eq!(routes.target(1, None, 0), None);
        routes.learn(told(2, 5)).unwrap();
        assert_eq!(routes.target(1, None, 7), Some(2));
        assert_eq!(
            [0, 1, 2].map(|turn| routes.target(1, Some(2), turn)),
            [Some(1), Some(3), Some(1)]
        );
        routes.learn(told(1, 4)).unwrap();
        assert_eq!(routes.target(1, None, 0), Some(2), "an older term says nothing");
        assert!(routes.hint(1, 3) && !routes.hint(1, 99));
        assert_eq!(routes.target(1, None, 0), Some(3));
        routes.forget_leader(1, 2);
        assert!(routes.knows_leader(1));
        routes.forget_leader(1, 3);
        assert!(!routes.knows_leader(1));
        assert_eq!([0, 1, 2].map(|turn| routes.target(1, None, turn)), [Some(1), Some(2), Some(3)]);
        assert_eq!(routes.target(9, None, 4), Some(5), "of an unknown group, anyone is asked");
    }

    #[test]
    fn a_leader_that_only_who_lags_has_told_of_is_not_known() {
        let mut routes = Routes::default();
        let mut known = told(2, 5);
        known.nodes.retain(|node| node.id < 4);
        known.groups[0].applied = 20;
        routes.learn(known.clone()).unwrap();
        // A new node leads already, and whoever tells of it has not applied that it came.
        let mut lagging = told(4, 6);
        lagging.nodes.retain(|node| node.id < 4);
        assert_eq!(routes.learn(lagging), Ok(false));
        assert!(!routes.knows_leader(1), "nobody knows where node 4 is");
        let mut newest = told(4, 6);
        newest.groups[0].applied = 21;
        assert_eq!(routes.learn(newest), Ok(true));
        assert!(routes.knows_leader(1));
        assert_eq!(routes.target(1, None, 0), Some(4));
    }

    #[test]
    fn reads_go_to_the_nearest_member() {
        let mut routes = Routes::default();
        routes.learn(told(2, 5)).unwrap();
        assert_eq!(routes.readers(1, Some("goma")), [3, 1, 2, 4]);
        routes.answered(4);
        assert_eq!(routes.readers(1, Some("goma")), [4, 3, 1, 2]);
    }

    #[test]
    fn another_cluster_is_not_believed() {
        let mut routes = Routes::default();
        routes.learn(told(2, 5)).unwrap();
        let foreign = TopologyResponse { cluster: "d".into(), ..told(1, 9) };
        assert_eq!(routes.learn(foreign), Err(NotLearnt::Foreign("d".into())));
        assert_eq!(routes.target(1, None, 0), Some(2));
    }

    #[test]
    fn a_node_without_a_cluster_teaches_nothing() {
        let mut routes = Routes::default();
        let nobody = TopologyResponse { nodes: vec![], groups: vec![], ..told(0, 0) };
        let mut unfounded = told(0, 0);
        unfounded.groups.iter_mut().for_each(|group| group.voters.clear());
        for empty in [nobody.clone(), unfounded.clone()] {
            assert_eq!(routes.learn(empty), Err(NotLearnt::Empty));
        }
        assert_eq!(routes.generation, 0);
        routes.learn(told(2, 5)).unwrap();
        for empty in [nobody, unfounded] {
            assert_eq!(routes.learn(empty), Err(NotLearnt::Empty));
        }
        assert_eq!((routes.target(1, None, 0), routes.places().count()), (Some(2), 5));
    }

    #[test]
    fn who_lags_or_has_left_takes_no_node_away() {
        let at = |applied: u64, nodes: std::ops::RangeInclusive<u64>, leader, term| {
            let mut answer = told(leader, term);
            answer.nodes.retain(|node| nodes.contains(&node.id));
            answer.groups[0].applied = applied;
            answer
        };
        let mut routes = Routes::default();
        routes.learn(at(20, 2..=4, 4, 5)).unwrap();
        routes.answered(4);
        // What is asked of a node that was removed, and of one that lags and knows the next leader.
        assert_eq!(routes.learn(at(19, 1..=3, 1, 4)), Err(NotLearnt::Behind));
        assert_eq!(routes.learn(at(19, 1..=3, 0, 5)), Err(NotLearnt::Behind));
        assert_eq!(routes.learn(at(19, 1..=3, 3, 6)), Ok(false));
        assert_eq!(routes.target(1, None, 0), Some(3), "a newer term is believed");
        let nodes: Vec<_> = routes.places().map(|(_, node)| node.unwrap()).collect();
        assert_eq!(nodes, [4, 2, 3]);
        assert_eq!(routes.learn(at(20, 2..=5, 3, 6)), Ok(true));
        assert_eq!(routes.places().count(), 4, "as new as what is known");
    }
}
