//! A checkpoint is cut in the log, told by the voters, decided in the log, and only then signed.
//!
//! Modelled: three replicas of one log; a leader whose tail may be lost when another one is elected, and who may not
//! have heard of it; one replica whose state may go wrong at any time. Not modelled: how the log is replicated (what a
//! majority has is simply committed), witnesses, who holds which key. Bounds: two records, two cuts, one election.

use std::collections::BTreeSet;

use stateright::{Model, Property};

const NODES: usize = 3;
const RECORDS_MAX: usize = 2;
const CUTS_MAX: usize = 2;

/// Which steps there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// As the product has them.
    Right,
    /// Wrong: a replica signs its own cut as soon as it has applied it.
    SignCut,
    /// Wrong: a leader signs a cut that is not committed yet.
    SignUncommitted,
    /// Wrong: what a single voter has told is decided.
    NoMajority,
}

/// What is in the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entry {
    /// A record, told apart by the term in which it was proposed and its number in it.
    Record(u8),
    /// Take the root here.
    Cut,
    /// The root at a cut, which a majority has told.
    Decided(Root),
}

/// The records that a tree has; a root stands for them.
pub type Root = Vec<u8>;

/// The log, its leaders and its replicas.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    committed: Vec<Entry>,
    term: u8,
    /// What the leader has proposed and no majority has.
    tail: Vec<Entry>,
    /// A leader that has not heard of its successor, with its tail.
    deposed: Option<Vec<Entry>>,
    applied: [usize; NODES],
    /// The replica that is wrong, and the record from which on it is.
    wrong: Option<(usize, usize)>,
    quarantined: [bool; NODES],
    told: BTreeSet<(usize, Root)>,
    signed: BTreeSet<Root>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The leader proposes a record,
    Record,
    /// or a cut,
    Cut,
    /// or what voters have told alike.
    Decide(Root),
    /// The first proposal is with a majority.
    Commit,
    /// Another leader, who has so much of the tail.
    Elect(usize),
    /// A replica applies the next entry, and tells what a cut comes to.
    Apply(usize),
    /// A replica's last record becomes another one.
    Spoil(usize),
    /// A replica signs the entry at this place.
    Sign(usize, usize),
    /// A leader signs what its tail would come to; the deposed one, too.
    SignTail(bool),
}

/// The records among entries.
fn records<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Root {
    let record = |entry: &Entry| if let Entry::Record(id) = entry { Some(*id) } else { None };
    entries.into_iter().filter_map(record).collect()
}

impl State {
    /// What a replica takes for the records before a place of the log.
    fn root(&self, node: usize, place: usize) -> Root {
        let mut root = records(&self.committed[..place]);
        if let Some((_, from)) = self.wrong.filter(|(wrong, _)| *wrong == node)
            && let Some(record) = root.get_mut(from)
        {
            *record += 100;
        }
        root
    }

    fn proposed(&self, kind: impl Fn(&Entry) -> bool) -> usize {
        self.committed.iter().chain(&self.tail).filter(|entry| kind(entry)).count()
    }

    /// Roots that so many replicas have told, and that are neither decided nor proposed.
    fn to_decide(&self, voices: usize) -> impl Iterator<Item = Root> {
        let roots: BTreeSet<&Root> = self.told.iter().map(|(_, root)| root).collect();
        let enough = |root: &&Root| {
            let told = self.told.iter().filter(|(_, told)| told == *root).count();
            let decided =
                |entry: &Entry| matches!(entry, Entry::Decided(known) if known.len() >= root.len());
            told >= voices && self.proposed(decided) == 0
        };
        roots.into_iter().filter(enough).cloned().collect::<Vec<_>>().into_iter()
    }
}

impl Model for Rules {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            committed: Vec::new(),
            term: 0,
            tail: Vec::new(),
            deposed: None,
            applied: [0; NODES],
            wrong: None,
            quarantined: [false; NODES],
            told: BTreeSet::new(),
            signed: BTreeSet::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.proposed(|entry| matches!(entry, Entry::Record(_))) < RECORDS_MAX {
            actions.push(Action::Record);
        }
        let last = state.tail.last().or(state.committed.last());
        if matches!(last, Some(Entry::Record(_)))
            && state.proposed(|entry| *entry == Entry::Cut) < CUTS_MAX
        {
            actions.push(Action::Cut);
        }
        let voices = if *self == Self::NoMajority { 1 } else { 2 };
        actions.extend(state.to_decide(voices).map(Action::Decide));
        if !state.tail.is_empty() {
            actions.push(Action::Commit);
        }
        if state.term == 0 {
            actions.extend((0..=state.tail.len()).map(Action::Elect));
        }
        if *self == Self::SignUncommitted {
            actions.extend([Action::SignTail(false), Action::SignTail(true)]);
        }
        for node in (0..NODES).filter(|node| !state.quarantined[*node]) {
            if state.applied[node] < state.committed.len() {
                actions.push(Action::Apply(node));
            }
            if state.wrong.is_none() && !state.root(node, state.applied[node]).is_empty() {
                actions.push(Action::Spoil(node));
            }
            for (place, entry) in state.committed[..state.applied[node]].iter().enumerate() {
                match entry {
                    Entry::Cut if *self == Self::SignCut => actions.push(Action::Sign(node, place)),
                    Entry::Decided(_) => actions.push(Action::Sign(node, place)),
                    _ => {}
                }
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Record => {
                let number = u8::try_from(state.proposed(|_| true)).ok()?;
                state.tail.push(Entry::Record(state.term * 10 + number));
            }
            Action::Cut => state.tail.push(Entry::Cut),
            Action::Decide(root) => state.tail.push(Entry::Decided(root)),
            Action::Commit => state.committed.push(state.tail.remove(0)),
            Action::Elect(kept) => {
                // Only one that signs of itself can do any harm.
                let harmful = *self == Self::SignUncommitted;
                state.deposed = harmful.then(|| state.tail.clone());
                state.tail.truncate(kept);
                state.term = 1;
            }
            Action::Apply(node) => {
                let place = state.applied[node];
                state.applied[node] += 1;
                let own = state.root(node, place);
                match &state.committed[place] {
                    Entry::Record(_) => {}
                    Entry::Cut => {
                        state.told.insert((node, own));
                    }
                    // Whoever has another state than a majority serves no more.
                    Entry::Decided(root) => {
                        state.quarantined[node] = own[..root.len()] != root[..];
                    }
                }
            }
            Action::Spoil(node) => {
                let records = state.root(node, state.applied[node]).len();
                state.wrong = Some((node, records - 1));
            }
            Action::Sign(node, place) => {
                let root = match &state.committed[place] {
                    Entry::Decided(root) => root.clone(),
                    _ => state.root(node, place),
                };
                state.signed.insert(root);
            }
            Action::SignTail(deposed) => {
                let tail = if deposed { state.deposed.clone()? } else { state.tail.clone() };
                let cut = tail.iter().position(|entry| *entry == Entry::Cut)?;
                state.signed.insert(records(state.committed.iter().chain(&tail[..cut])));
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one root a size", |_, state: &State| {
                let sizes: BTreeSet<usize> = state.signed.iter().map(Vec::len).collect();
                sizes.len() == state.signed.len()
            }),
            Property::always("what is signed is the log's", |_, state: &State| {
                let log = records(&state.committed);
                state.signed.iter().all(|root| log.starts_with(root))
            }),
            Property::sometimes("both cuts are signed", |_, state: &State| state.signed.len() == 2),
            Property::sometimes(
                "a wrong replica is found and the rest goes on",
                |_, state: &State| state.quarantined.contains(&true) && !state.signed.is_empty(),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use stateright::Checker as _;

    use super::*;

    #[test]
    fn a_checkpoint_that_is_decided_first_is_the_logs() {
        let checked = Rules::Right.checker().spawn_bfs().join();
        println!("{} states", checked.unique_state_count());
        checked.assert_properties();
    }

    #[test]
    fn every_other_order_signs_what_the_log_does_not_have() {
        for rules in [Rules::SignCut, Rules::SignUncommitted, Rules::NoMajority] {
            let checked = rules.checker().spawn_bfs().join();
            checked.assert_any_discovery("what is signed is the log's");
        }
    }
}
