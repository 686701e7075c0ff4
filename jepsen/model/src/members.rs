//! The voters of a group change while a node comes by a snapshot.
//!
//! Modelled: elections, replication, commitment, compaction and the installing of snapshots, each as one step between
//! two nodes; a change of the voters by way of a joint configuration, which is an entry of the log and counts from the
//! moment that it is in a node's log. A node that hears nothing for a while is one that takes no step. Not modelled:
//! messages that are late or lost (a step that does not happen), reads, entries that nobody needs to tell leaders apart.
//! Bounds: nodes 1 to 3 vote and node 4 takes the place of node 1; two more elections, each by no more votes than it
//! takes; one leader makes one snapshot.

use stateright::{Model, Property};

const NODES: usize = 4;
const OLD: u8 = 0b0111;
const NEW: u8 = 0b1110;
const TERM_MAX: u8 = 3;

/// Which steps there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// As the product has them.
    Right,
    /// Wrong: the new voters count at once, without the old ones.
    NotJoint,
    /// Wrong: a snapshot does not tell who votes.
    SnapshotWithoutVoters,
    /// Wrong: what a majority of either configuration has counts as committed.
    EitherMajority,
}

/// Who votes: a majority of each of these.
pub type Voters = Vec<u8>;

/// What is in the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What a leader begins with.
    Blank,
    /// Who votes from here on.
    Members(Voters),
}

/// An entry with the term of the leader that made it.
type Entry = (u8, Kind);

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    term: u8,
    leads: bool,
    /// The entries that a snapshot stands for, its last one's term, and who votes by it.
    snapshot: (usize, u8, Voters),
    log: Vec<Entry>,
    committed: usize,
}

/// The cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    nodes: Vec<Node>,
    /// Everything that anybody has ever called committed.
    truth: Vec<Entry>,
    /// Somebody has called something else committed at the same place.
    split: bool,
    /// Somebody has ever taken a snapshot.
    installed: bool,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A node is elected by these.
    Elect(usize, u8),
    /// A leader takes an entry.
    Propose(usize, Kind),
    /// A leader brings a node up to date, and sees what a majority has.
    Replicate(usize, usize),
    /// A leader puts what is committed into a snapshot.
    Compact(usize),
}

fn is_majority(of: u8, have: u8) -> bool {
    (of & have).count_ones() * 2 > of.count_ones()
}

impl Node {
    fn end(&self) -> usize {
        self.snapshot.0 + self.log.len()
    }

    fn last(&self) -> (u8, usize) {
        (self.log.last().map_or(self.snapshot.1, |(term, _)| *term), self.end())
    }

    /// Who votes by what is in the log before a place.
    fn voters_at(&self, place: usize) -> &Voters {
        let known = self.log[..place - self.snapshot.0].iter().rev();
        let told = known.filter_map(|(_, kind)| match kind {
            Kind::Members(voters) => Some(voters),
            _ => None,
        });
        told.into_iter().next().unwrap_or(&self.snapshot.2)
    }

    fn voters(&self) -> &Voters {
        self.voters_at(self.end())
    }

    fn has_majority(&self, have: u8, rules: Rules) -> bool {
        let mut voters = self.voters().iter();
        match rules {
            Rules::EitherMajority => voters.any(|of| is_majority(*of, have)),
            _ => voters.all(|of| is_majority(*of, have)),
        }
    }
}

impl State {
    /// The nodes for which something holds, as bits.
    fn those(&self, holds: impl Fn(&Node) -> bool) -> u8 {
        let held = (0..NODES).filter(|at| holds(&self.nodes[*at]));
        held.fold(0, |bits, at| bits | 1 << at)
    }

    fn replicate(&mut self, from: usize, to: usize, rules: Rules) {
        let leader = self.nodes[from].clone();
        let follower = &mut self.nodes[to];
        follower.term = leader.term;
        follower.leads = false;
        // Nobody may take away what somebody has called committed.
        self.split |= leader.end() < follower.committed;
        if self.split {
            return;
        }
        let kept = leader.snapshot.0.saturating_sub(follower.snapshot.0);
        let joins =
            kept == 0 || follower.log.get(kept - 1).is_some_and(|e| e.0 == leader.snapshot.1);
        if !joins {
            follower.snapshot = leader.snapshot.clone();
            if rules == Rules::SnapshotWithoutVoters {
                follower.snapshot.2 = vec![OLD];
            }
            follower.log = leader.log.clone();
            self.installed = true;
        } else if follower.snapshot.0 <= leader.snapshot.0 {
            follower.log.truncate(kept);
            follower.log.extend(leader.log.iter().cloned());
        } else {
            let ahead = follower.snapshot.0 - leader.snapshot.0;
            follower.log = leader.log[ahead..].to_vec();
        }
        follower.committed = follower.committed.max(leader.committed);
    }

    /// What a leader sees of its own term in the logs of a majority.
    fn commit(&mut self, leader: usize, rules: Rules) {
        let node = &self.nodes[leader];
        let enough = |place: &usize| {
            let own = node.log[place - 1 - node.snapshot.0].0 == node.term;
            let have = self.those(|other| other.term == node.term && other.end() >= *place);
            own && node.has_majority(have, rules)
        };
        let Some(place) = (node.committed + 1..=node.end()).rev().find(enough) else { return };
        for at in node.committed.max(node.snapshot.0)..place {
            let entry = &node.log[at - node.snapshot.0];
            match self.truth.get(at) {
                Some(known) => self.split |= known != entry,
                None => self.truth.push(entry.clone()),
            }
        }
        self.nodes[leader].committed = place;
    }
}

impl Model for Rules {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let begun = (1, Kind::Blank);
        let voter = Node {
            term: 1,
            leads: false,
            snapshot: (0, 0, vec![OLD]),
            log: vec![begun.clone()],
            committed: 1,
        };
        // The leader of the first term has begun, and node 4 is new.
        let leader = Node { leads: true, ..voter.clone() };
        let new = Node { term: 0, log: Vec::new(), committed: 0, ..voter.clone() };
        let nodes = vec![leader, voter.clone(), voter, new];
        vec![State { nodes, truth: vec![begun], split: false, installed: false }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (at, node) in state.nodes.iter().enumerate() {
            let own = 1 << at;
            let may_vote = node.voters().iter().any(|of| of & own != 0);
            if !node.leads && may_vote && node.term < TERM_MAX {
                let enough = |votes: u8| node.has_majority(votes, *self);
                let spare = |votes: u8| {
                    let mut others =
                        (0..NODES).map(|at| 1 << at).filter(|bit| bit & votes & !own != 0);
                    others.any(|bit| enough(votes & !bit))
                };
                let votes = (0..1_u8 << NODES).filter(|votes| votes & own != 0);
                let votes = votes.filter(|votes| enough(*votes) && !spare(*votes));
                actions.extend(votes.map(|votes| Action::Elect(at, votes)));
            }
            if node.leads {
                let settled =
                    node.log[..].iter().all(|(_, kind)| !matches!(kind, Kind::Members(_)))
                        || node.voters() == node.voters_at(node.committed.max(node.snapshot.0));
                let next = match node.voters()[..] {
                    [OLD] if *self == Self::NotJoint => Some(vec![NEW]),
                    [OLD] => Some(vec![OLD, NEW]),
                    [OLD, NEW] => Some(vec![NEW]),
                    _ => None,
                };
                if let Some(next) = next.filter(|_| settled) {
                    actions.push(Action::Propose(at, Kind::Members(next)));
                }
                let others = (0..NODES).filter(|to| *to != at);
                actions.extend(others.map(|to| Action::Replicate(at, to)));
                let first = state.nodes.iter().all(|other| other.snapshot.0 == 0);
                if first && node.committed > 1 {
                    actions.push(Action::Compact(at));
                }
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        if before.split {
            return None;
        }
        let mut state = before.clone();
        match action {
            Action::Elect(candidate, votes) => {
                let term = state.nodes[candidate].term + 1;
                let last = state.nodes[candidate].last();
                for at in (0..NODES).filter(|at| votes & 1 << at != 0) {
                    let voter = &mut state.nodes[at];
                    if voter.term >= term || voter.last() > last {
                        return None;
                    }
                    (voter.term, voter.leads) = (term, false);
                }
                let leader = &mut state.nodes[candidate];
                leader.leads = true;
                leader.log.push((term, Kind::Blank));
            }
            Action::Propose(leader, kind) => {
                let node = &mut state.nodes[leader];
                node.log.push((node.term, kind));
            }
            Action::Replicate(from, to) => {
                if state.nodes[to].term > state.nodes[from].term {
                    return None;
                }
                state.replicate(from, to, *self);
                state.commit(from, *self);
            }
            Action::Compact(at) => {
                let node = &mut state.nodes[at];
                let covered = node.committed - node.snapshot.0;
                let voters = node.voters_at(node.committed).clone();
                let term = node.log[covered - 1].0;
                node.log.drain(..covered);
                node.snapshot = (node.committed, term, voters);
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what is committed stays", |_, state: &State| !state.split),
            Property::always("one leader a term", |_, state: &State| {
                let leaders =
                    |term| state.nodes.iter().filter(|n| n.leads && n.term == term).count();
                (1..=TERM_MAX).all(|term| leaders(term) <= 1)
            }),
            Property::sometimes(
                "the new voters are settled, with one by a snapshot",
                |_, state: &State| {
                    let settled = |(_, kind): &Entry| *kind == Kind::Members(vec![NEW]);
                    state.installed && state.truth.iter().any(settled)
                },
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use stateright::Checker as _;

    use super::*;

    #[test]
    fn voters_change_and_nothing_committed_is_lost() {
        let checked = Rules::Right.checker().spawn_bfs().join();
        println!("{} states", checked.unique_state_count());
        checked.assert_properties();
    }

    #[test]
    fn every_other_order_splits_the_group() {
        for rules in [Rules::NotJoint, Rules::SnapshotWithoutVoters, Rules::EitherMajority] {
            let checked = rules.checker().spawn_bfs().join();
            assert!(
                checked.discovery("what is committed stays").is_some()
                    || checked.discovery("one leader a term").is_some(),
                "{rules:?} is not refuted"
            );
        }
    }
}
