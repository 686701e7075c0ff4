//! Numbers are lent to a terminal, sealed without the cluster, and come back: in order, twice, late or never.
//!
//! Modelled: one outlet whose ledger applies one command after the other; a terminal that seals in the order of its
//! numbers until its credential ends, however long it is not heard; a network that delivers what was sealed in any order
//! and any number of times; a block that is returned, revoked or expired while seals are on their way. Not modelled:
//! signatures, links between seals, money, credit notes. Bounds: two blocks of two numbers, two online seals.

use std::collections::BTreeSet;

use stateright::{Model, Property};

const BLOCKS_MAX: usize = 2;
const BLOCK_NUMBERS: u8 = 2;
const ONLINE_MAX: u8 = 2;

/// Which steps there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// As the product has them.
    Right,
    /// Wrong: a grant does not move the series.
    GrantReusesNumbers,
    /// Wrong: what comes after the block was closed is refused.
    LateIsRefused,
    /// Wrong: a late number stays flagged.
    LateStaysMissing,
    /// Wrong: closing forgets what waits for its predecessor.
    CloseForgetsWaiting,
}

/// What the ledger knows of one lent number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Nothing.
    Empty,
    /// Its seal came before the one of the number before.
    Waiting,
    /// It is in the journal.
    Appended,
}

/// Where a credential is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Age {
    /// The terminal seals.
    Valid,
    /// It seals no more; what it has sealed is on its way.
    Ended,
    /// The grace is over, too.
    PastGrace,
}

/// A block, as the ledger and as the terminal have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Block {
    first: u8,
    slots: Vec<Slot>,
    open: bool,
    age: Age,
    /// How many numbers the terminal has sealed and printed; each of them may be delivered at any time.
    printed: u8,
    /// How many of them were printed when the ledger took the block away: later ones are not honoured.
    honoured: Option<u8>,
}

/// The outlet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    last: u8,
    online: u8,
    blocks: Vec<Block>,
    /// Each number in the order of the journal.
    journal: Vec<u8>,
    missing: BTreeSet<u8>,
    /// Numbers that were printed in time and refused.
    refused: BTreeSet<u8>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// An invoice is sealed by the cluster.
    SealOnline,
    /// A block is lent.
    Grant,
    /// The terminal seals the next number of a block.
    SealOffline(usize),
    /// A seal of a block arrives, by its place.
    Deliver(usize, u8),
    /// A credential becomes older.
    Age(usize),
    /// The terminal stops and gives the block back.
    Return(usize),
    /// An operator withdraws the credential, of which the terminal hears later.
    Revoke(usize),
    /// The cluster closes a block whose grace is over.
    Expire(usize),
}

impl Block {
    fn number(&self, place: u8) -> u8 {
        self.first + place
    }
}

impl State {
    fn append(&mut self, at: usize, place: u8, rules: Rules) {
        let block = &mut self.blocks[at];
        block.slots[usize::from(place)] = Slot::Appended;
        let number = block.number(place);
        self.journal.push(number);
        if rules != Rules::LateStaysMissing {
            self.missing.remove(&number);
        }
    }

    /// Appends what has waited for this.
    fn append_waiting(&mut self, at: usize, from: u8, rules: Rules) {
        for place in from..BLOCK_NUMBERS {
            if self.blocks[at].slots[usize::from(place)] != Slot::Waiting {
                break;
            }
            self.append(at, place, rules);
        }
    }

    fn deliver(&mut self, at: usize, place: u8, rules: Rules) {
        let block = &self.blocks[at];
        if block.slots[usize::from(place)] != Slot::Empty {
            return;
        }
        let in_time = block.honoured.is_none_or(|honoured| place < honoured);
        if !in_time {
            return;
        }
        if !block.open && rules == Rules::LateIsRefused {
            self.refused.insert(block.number(place));
            return;
        }
        let follows = place == 0 || block.slots[usize::from(place) - 1] == Slot::Appended;
        if block.open && !follows {
            self.blocks[at].slots[usize::from(place)] = Slot::Waiting;
            return;
        }
        self.append(at, place, rules);
        self.append_waiting(at, place + 1, rules);
        let block = &self.blocks[at];
        if block.open && block.slots.iter().all(|slot| *slot == Slot::Appended) {
            self.blocks[at].open = false;
        }
    }

    fn close(&mut self, at: usize, rules: Rules) {
        for place in 0..BLOCK_NUMBERS {
            let slot = &mut self.blocks[at].slots[usize::from(place)];
            if *slot == Slot::Waiting && rules != Rules::CloseForgetsWaiting {
                self.append(at, place, rules);
            }
        }
        let block = &mut self.blocks[at];
        block.open = false;
        let empty =
            (0..BLOCK_NUMBERS).filter(|place| block.slots[usize::from(*place)] == Slot::Empty);
        self.missing.extend(empty.map(|place| block.number(place)));
    }

    /// In how many of the states that a number can have it is.
    fn states_of(&self, number: u8) -> usize {
        let sealed = self.journal.iter().filter(|sealed| **sealed == number).count();
        let lent = |block: &&Block| {
            let place = number.checked_sub(block.first).filter(|place| *place < BLOCK_NUMBERS);
            let slot = place.map(|place| block.slots[usize::from(place)]);
            block.open && slot.is_some_and(|slot| slot != Slot::Appended)
        };
        let lent = self.blocks.iter().filter(lent).count();
        sealed + lent + usize::from(self.missing.contains(&number))
    }
}

impl Model for Rules {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            last: 0,
            online: 0,
            blocks: Vec::new(),
            journal: Vec::new(),
            missing: BTreeSet::new(),
            refused: BTreeSet::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.online < ONLINE_MAX {
            actions.push(Action::SealOnline);
        }
        if state.blocks.len() < BLOCKS_MAX {
            actions.push(Action::Grant);
        }
        for (at, block) in state.blocks.iter().enumerate() {
            if block.age == Age::Valid && block.printed < BLOCK_NUMBERS {
                actions.push(Action::SealOffline(at));
            }
            actions.extend((0..block.printed).map(|place| Action::Deliver(at, place)));
            if block.age != Age::PastGrace {
                actions.push(Action::Age(at));
            }
            if block.open {
                actions.push(Action::Revoke(at));
                if block.age == Age::Valid {
                    actions.push(Action::Return(at));
                }
                if block.age == Age::PastGrace {
                    actions.push(Action::Expire(at));
                }
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::SealOnline => {
                state.online += 1;
                state.last += 1;
                state.journal.push(state.last);
            }
            Action::Grant => {
                state.blocks.push(Block {
                    first: state.last + 1,
                    slots: vec![Slot::Empty; usize::from(BLOCK_NUMBERS)],
                    open: true,
                    age: Age::Valid,
                    printed: 0,
                    honoured: None,
                });
                if *self != Self::GrantReusesNumbers {
                    state.last += BLOCK_NUMBERS;
                }
            }
            Action::SealOffline(at) => state.blocks[at].printed += 1,
            Action::Deliver(at, place) => state.deliver(at, place, *self),
            Action::Age(at) => {
                let block = &mut state.blocks[at];
                block.age = if block.age == Age::Valid { Age::Ended } else { Age::PastGrace };
            }
            Action::Return(at) => {
                state.blocks[at].age = Age::Ended;
                state.close(at, *self);
            }
            Action::Revoke(at) => {
                state.blocks[at].honoured = Some(state.blocks[at].printed);
                state.close(at, *self);
            }
            Action::Expire(at) => state.close(at, *self),
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a number is on one invoice", |_, state: &State| {
                let numbers: BTreeSet<&u8> = state.journal.iter().collect();
                numbers.len() == state.journal.len()
            }),
            Property::always("each number is sealed, lent or flagged", |_, state: &State| {
                (1..=state.last).all(|number| state.states_of(number) == 1)
            }),
            Property::always("what was printed in time is taken", |_, state: &State| {
                state.refused.is_empty()
            }),
            Property::sometimes(
                "a number comes late and is flagged no more",
                |_, state: &State| {
                    state.blocks.iter().any(|block| !block.open && block.printed == 2)
                        && state.missing.is_empty()
                },
            ),
            Property::sometimes("a number is lost for good", |_, state: &State| {
                !state.missing.is_empty()
            }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use stateright::Checker as _;

    use super::*;

    #[test]
    fn each_lent_number_ends_as_one_thing() {
        let checked = Rules::Right.checker().spawn_bfs().join();
        println!("{} states", checked.unique_state_count());
        checked.assert_properties();
    }

    #[test]
    fn every_other_order_loses_or_doubles_a_number() {
        let rows = [
            (Rules::GrantReusesNumbers, "a number is on one invoice"),
            (Rules::LateIsRefused, "what was printed in time is taken"),
            (Rules::LateStaysMissing, "each number is sealed, lent or flagged"),
            (Rules::CloseForgetsWaiting, "each number is sealed, lent or flagged"),
        ];
        for (rules, broken) in rows {
            rules.checker().spawn_bfs().join().assert_any_discovery(broken);
        }
    }
}
