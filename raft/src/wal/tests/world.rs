//! A workload on the log, and the model that knows what the log may say after a power cut.
//!
//! The model keeps every state a group went through, one for each accepted operation. After a cut the
//! log must be in one of them, and not in one before the last operation that was acknowledged.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::disk::SimulatedDisk;
use crate::wal::{LogEntry, LogId, Vote, Wal, WalError, WalOptions};

pub(super) const DIR: &str = "/wal";
pub(super) const GROUPS: u64 = 3;

/// A small deterministic generator.
#[derive(Debug, Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

pub(super) fn options() -> WalOptions {
    let mut options = WalOptions::new(0xf15c);
    options.segment_bytes = 4 << 10;
    options.cache_bytes = 1 << 10;
    options.lag_segments = 3;
    options
}

pub(super) fn open(disk: &SimulatedDisk, options: WalOptions) -> Result<Wal, WalError> {
    Wal::open_inline(Arc::new(disk.clone()), Path::new(DIR), options)
}

/// Polls an operation, driving the log in between, until it is ready.
pub(super) fn finish<T>(wal: &Wal, operation: impl Future<Output = T>) -> T {
    let mut operation = pin!(operation);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000 {
        if let Poll::Ready(ready) = operation.as_mut().poll(&mut context) {
            return ready;
        }
        wal.drive();
    }
    panic!("the operation never ends");
}

/// What a group's log says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct State {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) entries: BTreeMap<u64, (u64, Bytes)>,
}

impl State {
    pub(super) fn last(&self) -> Option<LogId> {
        let last = self.entries.last_key_value();
        last.map(|(index, (term, _))| LogId { term: *term, index: *index }).or(self.purged)
    }

    /// Reads all of it through the front door, and checks that the parts agree.
    pub(super) fn of(wal: &Wal, group: u64) -> Self {
        let log = wal.group(group);
        let read = log.read(.., usize::MAX).expect("readable");
        let state = Self {
            vote: log.vote(),
            committed: log.committed(),
            purged: log.purged(),
            entries: read.iter().map(|e| (e.id.index, (e.id.term, e.bytes.clone()))).collect(),
        };
        assert_eq!(log.last(), state.last());
        assert_eq!(log.first_index(), state.entries.keys().next().copied());
        let indexes: Vec<u64> = read.iter().map(|entry| entry.id.index).collect();
        assert!(indexes.windows(2).all(|pair| pair[1] == pair[0] + 1), "a hole: {indexes:?}");
        state
    }
}

#[derive(Debug, Default)]
pub(super) struct Model {
    /// Per group the states after each accepted operation.
    pub(super) states: BTreeMap<u64, Vec<State>>,
    /// Per group which of them was acknowledged.
    pub(super) acknowledged: BTreeMap<u64, usize>,
}

impl Model {
    pub(super) fn now(&self, group: u64) -> State {
        self.states.get(&group).and_then(|states| states.last()).cloned().unwrap_or_default()
    }

    fn accept(&mut self, group: u64, state: State) -> usize {
        let states = self.states.entry(group).or_insert_with(|| vec![State::default()]);
        states.push(state);
        states.len() - 1
    }

    fn acknowledge(&mut self, group: u64, at: usize) {
        let acknowledged = self.acknowledged.entry(group).or_default();
        assert!(at > *acknowledged, "acknowledged out of order");
        *acknowledged = at;
    }

    /// The reopened log must be in a state that is not older than what was acknowledged.
    pub(super) fn check(&self, wal: &Wal) -> Result<(), String> {
        for (group, states) in &self.states {
            let found = State::of(wal, *group);
            let least = self.acknowledged.get(group).copied().unwrap_or(0);
            if !states[least..].contains(&found) {
                return Err(format!("group {group} lost what it had acknowledged: {found:?}"));
            }
        }
        Ok(())
    }
}

/// Runs operations until they are done or the power fails.
pub(super) fn run(disk: &SimulatedDisk, options: WalOptions, seed: u64, ops: u32) -> Model {
    let model = Arc::new(Mutex::new(Model::default()));
    let mut dice = Dice(seed);
    if let Ok(wal) = open(disk, options) {
        for _ in 0..ops {
            let result = step(&wal, &model, &mut dice);
            if result.is_err() {
                break;
            }
        }
    }
    let mut model = model.lock().expect("lock");
    std::mem::take(&mut *model)
}

fn step(wal: &Wal, model: &Arc<Mutex<Model>>, dice: &mut Dice) -> Result<(), WalError> {
    // The last group is slow: it writes seldom and hardly purges, so that it comes to lag.
    let group = if dice.below(12) == 0 { GROUPS } else { 1 + dice.below(GROUPS - 1) };
    let mut state = model.lock().expect("lock").now(group);
    let log = wal.group(group);
    match dice.below(12) {
        0 | 1 => {
            let term = state.vote.map_or(1, |vote| vote.term + dice.below(2));
            let vote = Vote { term, node: dice.below(3), committed: dice.below(2) == 0 };
            state.vote = Some(vote);
            let at = model.lock().expect("lock").accept(group, state);
            finish(wal, log.save_vote(vote))?;
            model.lock().expect("lock").acknowledge(group, at);
        }
        2 => {
            let back = dice.below(4);
            let index = state.last().map_or(0, |last| last.index.saturating_sub(back));
            let Some((term, _)) = state.entries.get(&index) else { return Ok(()) };
            let after = LogId { term: *term, index };
            state.entries.retain(|at, _| *at <= index);
            model.lock().expect("lock").accept(group, state);
            finish(wal, log.truncate_after(Some(after)))?;
        }
        3 if group != GROUPS || dice.below(6) == 0 => {
            let Some(last) = state.last() else { return Ok(()) };
            let index = last.index.saturating_sub(dice.below(3));
            let Some((term, _)) = state.entries.get(&index) else { return Ok(()) };
            let upto = LogId { term: *term, index };
            state.entries.retain(|at, _| *at > index);
            state.purged = Some(upto);
            model.lock().expect("lock").accept(group, state);
            finish(wal, log.purge(upto))?;
        }
        4 => {
            state.committed = state.last();
            let committed = state.committed;
            model.lock().expect("lock").accept(group, state);
            finish(wal, log.save_committed(committed))?;
        }
        5 => wal.drive_idle(),
        _ => append(wal, model, dice, group, state)?,
    }
    if dice.below(3) > 0 {
        wal.drive();
    }
    Ok(())
}

fn append(
    wal: &Wal,
    model: &Arc<Mutex<Model>>,
    dice: &mut Dice,
    group: u64,
    mut state: State,
) -> Result<(), WalError> {
    let last = state.last().unwrap_or(LogId { term: 1, index: 0 });
    let term = last.term + u64::from(dice.below(5) == 0);
    let mut entries = Vec::new();
    for index in last.index + 1..=last.index + 1 + dice.below(3) {
        let len = usize::try_from(dice.below(700)).expect("small");
        let fill = u8::try_from(dice.below(256)).expect("a byte");
        let bytes = Bytes::from(vec![fill; len]);
        state.entries.insert(index, (term, bytes.clone()));
        entries.push(LogEntry { id: LogId { term, index }, bytes });
    }
    let at = model.lock().expect("lock").accept(group, state);
    let told = Arc::clone(model);
    let done = Box::new(move |result: Result<(), WalError>| {
        if result.is_ok() {
            told.lock().expect("lock").acknowledge(group, at);
        }
    });
    finish(wal, wal.group(group).append(entries, done))
}
