//! Where the nodes and the leaders are, as far as anyone has said. No IO: it is told, and asked.

use std::collections::BTreeMap;

use crate::ledger::TopologyResponse;

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
}

/// The answer came from another cluster than the ones before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForeignCluster(pub(super) String);

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
    /// Takes what a node says of the cluster. An older term than is known says nothing of a leader.
    pub(super) fn learn(&mut self, told: TopologyResponse) -> Result<(), ForeignCluster> {
        match &self.cluster {
            Some(known) if *known != told.cluster => return Err(ForeignCluster(told.cluster)),
            _ => self.cluster = Some(told.cluster),
        }
        self.generation += 1;
        self.nodes = told
            .nodes
            .into_iter()
            .map(|node| (node.id, Node { address: node.rpc, region: node.region }))
            .collect();
        for group in told.groups {
            let known = self.groups.entry(group.id).or_default();
            if group.term >= known.term {
                known.term = group.term;
                known.leader = (group.leader != 0).then_some(group.leader);
            }
            known.voters = group.voters.len();
            known.members = group.voters;
            known.members.extend(group.learners);
        }
        Ok(())
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

    pub(super) fn answered(&mut self, node: u64) {
        self.last_good = Some(node);
    }

    pub(super) fn knows_leader(&self, group: u64) -> bool {
        self.groups.get(&group).is_some_and(|group| group.leader.is_some())
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

    /// Every known address, the likeliest to answer first.
    pub(super) fn addresses(&self) -> Vec<String> {
        let mut nodes: Vec<(&u64, &Node)> = self.nodes.iter().collect();
        nodes.sort_by_key(|(id, _)| (Some(**id) != self.last_good, **id));
        nodes.into_iter().map(|(_, node)| node.address.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger;

    fn told(leader: u64, term: u64) -> TopologyResponse {
        let node = |id| ledger::Node {
            id,
            rpc: format!("127.0.0.1:{id}"),
            region: if id == 3 { "goma".into() } else { "kin".into() },
            admin: String::new(),
        };
        let group = ledger::Group {
            id: 1,
            leader,
            voters: vec![1, 2, 3],
            learners: vec![4],
            term,
            ..ledger::Group::default()
        };
        TopologyResponse {
            cluster: "c".into(),
            node: 1,
            nodes: (1..=5).map(node).collect(),
            groups: vec![group],
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
        assert_eq!(routes.learn(foreign), Err(ForeignCluster("d".into())));
        assert_eq!(routes.target(1, None, 0), Some(2));
    }
}
