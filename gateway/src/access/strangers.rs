//! Keys that are not known here: whoever invents them is not to cost the cluster anything.
//!
//! A key, or a secret of one, may be newer than what this gateway has heard, so the cluster is asked for it; but once
//! for a while for each, and a few times a second for all of them.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A key that the cluster does not know is asked for again after so long at the earliest.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5);
/// So many unknown keys are remembered, twice.
const REMEMBERED_MAX: usize = 8_192;
/// The cluster is asked so often at the most.
const LOOKUPS_PER_SECOND: u32 = 50;

/// What is known of keys that do not exist.
#[derive(Debug)]
pub(super) struct Strangers {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    since: Instant,
    young: HashSet<[u8; 16]>,
    old: HashSet<[u8; 16]>,
    lookups_from: Instant,
    lookups: u32,
}

/// Whether the cluster is asked for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Ask,
    /// It did not exist a moment ago.
    Unknown,
    /// Too many are asked for.
    Later,
}

impl Strangers {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let (young, old) = (HashSet::new(), HashSet::new());
        Self { state: Mutex::new(State { since: now, young, old, lookups_from: now, lookups: 0 }) }
    }

    /// Decides on a key that is not known here.
    pub(super) fn look(&self, key: &str) -> Look {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.turn();
        let place = place(key);
        if state.young.contains(&place) || state.old.contains(&place) {
            return Look::Unknown;
        }
        if state.lookups_from.elapsed() >= Duration::from_secs(1) {
            (state.lookups_from, state.lookups) = (Instant::now(), 0);
        }
        if state.lookups >= LOOKUPS_PER_SECOND {
            return Look::Later;
        }
        state.lookups += 1;
        Look::Ask
    }

    /// The cluster does not know it.
    pub(super) fn remember(&self, key: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.turn();
        state.young.insert(place(key));
    }
}

impl State {
    /// Half of what is remembered is forgotten at a time, so that nothing is searched.
    fn turn(&mut self) {
        if self.since.elapsed() >= FORGOTTEN_AFTER / 2 || self.young.len() >= REMEMBERED_MAX {
            self.old = std::mem::take(&mut self.young);
            self.since = Instant::now();
        }
    }
}

fn place(key: &str) -> [u8; 16] {
    let hash = blake3::hash(key.as_bytes());
    std::array::from_fn(|at| hash.as_bytes()[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_invented_key_is_asked_for_once_for_a_while() {
        let strangers = Strangers::new();
        assert_eq!(strangers.look("a"), Look::Ask);
        strangers.remember("a");
        assert_eq!(strangers.look("a"), Look::Unknown);
        tokio::time::advance(FORGOTTEN_AFTER / 2).await;
        assert_eq!(strangers.look("a"), Look::Unknown);
        tokio::time::advance(FORGOTTEN_AFTER / 2).await;
        assert_eq!(strangers.look("a"), Look::Ask, "it may exist by now");
    }

    #[tokio::test(start_paused = true)]
    async fn inventing_many_keys_costs_the_cluster_and_the_memory_little() {
        let strangers = Strangers::new();
        let asked = (0..100_000).filter(|at| {
            let id = format!("k{at}");
            let look = strangers.look(&id);
            strangers.remember(&id);
            look == Look::Ask
        });
        assert_eq!(asked.count(), LOOKUPS_PER_SECOND as usize);
        let state = strangers.state.lock().expect("whole");
        assert!(state.young.len() + state.old.len() <= 2 * REMEMBERED_MAX);
    }
}
