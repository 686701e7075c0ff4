//! One destination: what is pending, what is sent next and when, and what becomes of it. No IO, no clock, no
//! randomness: times and random numbers are arguments, attempts and verdicts are answers.
//!
//! ```text
//! offer ─► pending ─ step ─► Send ─ settle ─► delivered
//!             ▲                       ├──────► again, after a pause ─┐
//!             │                       └──────► a dead letter         │
//!             └──────────────────────────────────────────────────────┘
//! ```
//!
//! Invariants: an event is in flight once at most; in an ordered mode nothing overtakes an unsettled event of its
//! lane; there are at most [`WINDOW`] pending events, whatever the destination does; what was offered is pending
//! until it is delivered or a dead letter.

use std::collections::{BTreeMap, BTreeSet};

use super::kept::{
    DeadLetter, Kept, KeptPending, PENDING_BYTES, Place, Replay, SHARD_BYTES, Standing, is_journal,
    weight,
};
use super::policy::{Mode, Policy, jittered};

/// So many events are pending at most.
pub const WINDOW: usize = 64;
/// So many while it fails, so that many of them that fail at once fit into what is kept.
pub const WINDOW_FAILING: usize = 16;
/// So many are in flight at most, when it goes well.
pub const IN_FLIGHT_MAX: usize = 8;
/// So many dead letters wait for being logged at most; until they are, nothing is sent.
pub const LETTERS_MAX: usize = 16;
/// One dead letter waits for so many bytes that a destination has, at least one.
const LETTERS_PART: usize = 1_200;
/// From so many failures in a row on, the destination as a whole is left alone for a while.
const BREAKS_AT: u32 = 5;
const BREAK_FIRST_MS: u64 = 10_000;
const BREAK_MS_MAX: u64 = 5 * 60_000;
/// A destination that wants to be left alone is, for so long at most.
const RETRY_AFTER_MS_MAX: u64 = 60 * 60_000;
/// After a longer time without an attempt nobody knows that it failed all the while: the longest pause of a schedule
/// is a day, and a fifth of it more; then the destination may want to be left alone.
const QUIET_MS: u64 = 29 * 60 * 60_000 + RETRY_AFTER_MS_MAX;
/// What could not even be tried is left alone for so long.
const WITHDRAWN_PAUSE_MS: u64 = 1_000;
const REASON_CHARS_MAX: usize = 120;
const MILLI: u64 = 1_000;

/// Where the search for a source's events stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Everything that was ever handed out has been looked at.
    Live,
    /// This leaf is the first that was not.
    At(u64),
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send this.
    Send(Attempt),
    /// Nothing before that time.
    Wait(u64),
    /// Nothing until something is offered or settled.
    Idle,
}

/// One attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Names it when it is settled.
    pub order: u64,
    /// The event.
    pub place: Place,
    /// Its number at this destination.
    pub sequence: Option<u64>,
    /// From 1.
    pub number: u32,
}

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Delivered,
    /// It was not, or nobody knows.
    Failed {
        /// What went wrong.
        reason: String,
        /// How long the destination wants to be left alone.
        retry_after_ms: Option<u64>,
    },
    /// The destination says that it is there no more.
    Gone,
    /// There is nothing to send, whoever tries.
    Undeliverable {
        /// Why.
        reason: String,
    },
    /// Nobody tried, or could: it says nothing of the destination.
    Withdrawn {
        /// It is left alone for so long, a second at least.
        pause_ms: u64,
    },
}

/// What became of the event, and of the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is settled, or nothing is known of it.
    Settled,
    /// It is tried again then.
    Again(u64),
    /// It is a dead letter.
    Dead,
    /// The destination is to be disabled: it says that it is gone.
    Gone,
    /// The destination is to be disabled: it has failed for too long.
    FailedTooLong,
}

#[derive(Debug, Clone)]
struct Pending {
    kept: KeptPending,
    in_flight: bool,
}

/// One destination.
#[derive(Debug, Clone)]
pub struct Destination {
    policy: Policy,
    /// What is kept of it has about so many bytes at most.
    bytes_max: usize,
    /// By the order in which they were offered.
    pending: BTreeMap<u64, Pending>,
    next_order: u64,
    next_sequence: u64,
    positions: BTreeMap<u64, Position>,
    scanned_ms: u64,
    in_flight: usize,
    /// How many may be in flight: it grows with success.
    allowed: usize,
    /// Thousandths of a message that may be sent at once, as of `filled_ms`.
    tokens: u64,
    filled_ms: u64,
    letters: Vec<DeadLetter>,
    replay: Option<Replay>,
    replayed: u64,
    standing: Standing,
}

impl Destination {
    /// A destination as it was kept.
    #[must_use]
    pub fn new(policy: Policy, kept: &Kept, now_ms: u64) -> Self {
        let pending = kept.pending.iter().cloned().map(|kept| Pending { kept, in_flight: false });
        let pending: BTreeMap<u64, Pending> = (0..).zip(pending).collect();
        Self {
            next_order: pending.len() as u64,
            pending,
            next_sequence: kept.next_sequence,
            positions: kept
                .scanned
                .iter()
                .map(|(source, leaf)| (*source, Position::At(*leaf)))
                .collect(),
            scanned_ms: kept.scanned_ms,
            in_flight: 0,
            allowed: 1,
            tokens: u64::from(policy.per_second) * MILLI,
            filled_ms: now_ms,
            letters: kept.letters.clone(),
            replay: kept.replay.clone(),
            replayed: kept.replayed,
            standing: kept.standing.clone(),
            bytes_max: SHARD_BYTES,
            policy,
        }
    }

    /// What is to be kept; `live` says how far each source was handed out.
    #[must_use]
    pub fn kept(&self, live: &BTreeMap<u64, u64>) -> Kept {
        let scanned = self.positions.iter().filter_map(|(source, position)| match position {
            Position::At(leaf) => Some((*source, *leaf)),
            Position::Live => live.get(source).map(|leaf| (*source, *leaf)),
        });
        Kept {
            scanned: scanned.collect(),
            is_live: self.is_live(),
            scanned_ms: self.scanned_ms,
            next_sequence: self.next_sequence,
            pending: self.pending.values().map(|pending| pending.kept.clone()).collect(),
            letters: self.letters.clone(),
            replayed: self.replayed,
            replay: self.replay.clone(),
            standing: self.standing.clone(),
        }
    }

    /// It is to be served in another way from now on.
    pub fn change_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// What is kept of it has its part of a document only; one event may be pending in any case.
    pub fn limit_bytes(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Somebody says that it is well again: it is tried at once.
    pub fn resume(&mut self) {
        self.standing.failures = 0;
        self.standing.hold_until_ms = 0;
        self.pending.values_mut().for_each(|pending| pending.kept.due_ms = 0);
    }

    /// Where the search in a source stands.
    #[must_use]
    pub fn position(&self, source: u64) -> Option<Position> {
        self.positions.get(&source).copied()
    }

    fn is_live(&self) -> bool {
        let mut groups =
            self.positions.iter().filter(|(source, _)| is_journal(**source)).peekable();
        groups.peek().is_some() && groups.all(|(_, position)| *position == Position::Live)
    }

    /// The search in a source has come so far; the last thing that was looked at happened then.
    pub fn move_to(&mut self, source: u64, position: Position, time_ms: u64) {
        self.positions.insert(source, position);
        self.scanned_ms = self.scanned_ms.max(time_ms);
    }

    /// How many more events may be offered.
    #[must_use]
    pub fn room(&self) -> usize {
        let window = if self.standing.failures > 0 { WINDOW_FAILING } else { WINDOW };
        if self.letters.len() >= self.letters_max() {
            return 0;
        }
        let (sources, pending) = (self.positions.len(), self.pending.len());
        let weight = weight(sources, pending, &self.letters, self.replay.as_ref());
        let fits = self.bytes_max.saturating_sub(weight) / PENDING_BYTES;
        window.saturating_sub(pending).min(fits.max(usize::from(pending == 0)))
    }

    /// Dead letters that may wait for being logged: they are larger than the events that they were.
    fn letters_max(&self) -> usize {
        (self.bytes_max / LETTERS_PART).clamp(1, LETTERS_MAX)
    }

    /// Takes an event; there must be room.
    pub fn offer(&mut self, place: Place, lane: u32, time_ms: u64) {
        let sequence = Some(self.next_sequence);
        self.next_sequence += 1;
        self.push(KeptPending {
            place,
            lane,
            time_ms,
            sequence,
            attempts: 0,
            due_ms: 0,
            replay: false,
        });
    }

    /// Takes an event that is sent once more. One that is pending is not taken twice.
    pub fn offer_again(&mut self, place: Place, lane: u32, time_ms: u64) {
        if self.pending.values().any(|pending| pending.kept.place == place) {
            return;
        }
        self.push(KeptPending {
            place,
            lane,
            time_ms,
            sequence: None,
            attempts: 0,
            due_ms: 0,
            replay: true,
        });
    }

    fn push(&mut self, kept: KeptPending) {
        assert!(self.pending.len() < WINDOW, "whoever offers has asked for room");
        self.pending.insert(self.next_order, Pending { kept, in_flight: false });
        self.next_order += 1;
    }

    /// What is to be done now. An answer of `Send` counts as done.
    pub fn step(&mut self, now_ms: u64) -> Step {
        if self.in_flight >= self.allowed || self.letters.len() >= self.letters_max() {
            return Step::Idle;
        }
        let Some((order, due_ms)) = self.next_due(now_ms) else { return Step::Idle };
        let ready_ms = due_ms.max(self.standing.hold_until_ms).max(self.token_ms(now_ms));
        if ready_ms > now_ms {
            return Step::Wait(ready_ms);
        }
        self.tokens -= MILLI;
        self.in_flight += 1;
        let pending = self.pending.get_mut(&order).expect("it was found there");
        pending.in_flight = true;
        pending.kept.attempts += 1;
        let KeptPending { place, sequence, attempts: number, .. } = pending.kept;
        Step::Send(Attempt { order, place, sequence, number })
    }

    /// The first event that may be sent now, else the one that may be soonest.
    fn next_due(&self, now_ms: u64) -> Option<(u64, u64)> {
        let mut lanes = BTreeSet::new();
        let mut soonest: Option<(u64, u64)> = None;
        for (order, pending) in &self.pending {
            let first = match self.policy.mode {
                Mode::Parallel => true,
                Mode::PerOutlet => lanes.insert(pending.kept.lane),
                Mode::Ordered => lanes.insert(0),
            };
            if !first || pending.in_flight {
                continue;
            }
            let due_ms = pending.kept.due_ms;
            if due_ms <= now_ms {
                return Some((*order, due_ms));
            }
            if soonest.is_none_or(|(_, known)| due_ms < known) {
                soonest = Some((*order, due_ms));
            }
        }
        soonest
    }

    /// When the rate allows for one more. A second's worth may be sent at once.
    fn token_ms(&mut self, now_ms: u64) -> u64 {
        let rate = u64::from(self.policy.per_second);
        let since = now_ms.saturating_sub(self.filled_ms);
        self.tokens = self.tokens.saturating_add(since.saturating_mul(rate)).min(rate * MILLI);
        self.filled_ms = self.filled_ms.max(now_ms);
        let missing = MILLI.saturating_sub(self.tokens);
        now_ms + missing.div_ceil(rate)
    }

    /// Takes in how an attempt went.
    pub fn settle(&mut self, order: u64, outcome: Outcome, now_ms: u64, random: u64) -> Verdict {
        let Some(pending) = self.pending.get_mut(&order).filter(|pending| pending.in_flight) else {
            return Verdict::Settled;
        };
        pending.in_flight = false;
        self.in_flight -= 1;
        match outcome {
            Outcome::Delivered => self.delivered(order, now_ms),
            Outcome::Undeliverable { reason } => self.give_up(order, &reason, now_ms),
            Outcome::Withdrawn { pause_ms } => {
                pending.kept.attempts -= 1;
                pending.kept.due_ms = now_ms + pause_ms.max(WITHDRAWN_PAUSE_MS);
                Verdict::Settled
            }
            Outcome::Gone => {
                self.failed(None, now_ms, random);
                Verdict::Gone
            }
            Outcome::Failed { reason, retry_after_ms } => {
                let verdict = self.again(order, &reason, retry_after_ms, now_ms, random);
                self.failed(retry_after_ms, now_ms, random);
                let since_ms = self.standing.failing_since_ms.max(self.policy.since_ms);
                let failing_ms = now_ms.saturating_sub(since_ms);
                if self.pending.is_empty() {
                    // It was given up and nothing else is tried: what fails next begins anew.
                    self.standing.failing_since_ms = 0;
                }
                if failing_ms >= self.policy.failing_ms_max {
                    Verdict::FailedTooLong
                } else {
                    verdict
                }
            }
        }
    }

    fn delivered(&mut self, order: u64, now_ms: u64) -> Verdict {
        self.pending.remove(&order);
        self.allowed = (self.allowed * 2).min(IN_FLIGHT_MAX);
        let standing = &mut self.standing;
        standing.delivered += 1;
        standing.succeeded_ms = now_ms;
        standing.failing_since_ms = 0;
        standing.failures = 0;
        // A hold stays: what was in flight when the destination asked to be left alone takes nothing of that back.
        Verdict::Settled
    }

    fn again(
        &mut self,
        order: u64,
        reason: &str,
        retry_after_ms: Option<u64>,
        now_ms: u64,
        random: u64,
    ) -> Verdict {
        let pending = self.pending.get_mut(&order).expect("whoever asks has found it");
        let tried = usize::try_from(pending.kept.attempts).unwrap_or(usize::MAX);
        let Some(delay_ms) = self.policy.delays_ms.get(tried.saturating_sub(1)) else {
            return self.give_up(order, reason, now_ms);
        };
        let pause_ms = jittered(*delay_ms, random);
        let asked_ms = retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX);
        pending.kept.due_ms = now_ms + pause_ms.max(asked_ms);
        Verdict::Again(pending.kept.due_ms)
    }

    fn failed(&mut self, retry_after_ms: Option<u64>, now_ms: u64, random: u64) {
        self.allowed = 1;
        let standing = &mut self.standing;
        standing.failed += 1;
        let quiet_ms = now_ms.saturating_sub(standing.failed_ms);
        standing.failed_ms = now_ms;
        standing.failures = standing.failures.saturating_add(1);
        if standing.failing_since_ms == 0 || quiet_ms > QUIET_MS {
            standing.failing_since_ms = now_ms;
        }
        let broken_ms = standing.failures.checked_sub(BREAKS_AT).map_or(0, |more| {
            let pause_ms = BREAK_FIRST_MS.checked_shl(more.min(16)).unwrap_or(BREAK_MS_MAX);
            jittered(pause_ms.min(BREAK_MS_MAX), random)
        });
        let asked_ms = retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX);
        standing.hold_until_ms = standing.hold_until_ms.max(now_ms + broken_ms.max(asked_ms));
    }

    fn give_up(&mut self, order: u64, reason: &str, now_ms: u64) -> Verdict {
        let pending = self.pending.remove(&order).expect("whoever gives up has found it");
        let KeptPending { place: Place { source, leaf }, sequence, attempts, .. } = pending.kept;
        let shown = |character: char| if character.is_ascii_control() { ' ' } else { character };
        let reason = reason.chars().take(REASON_CHARS_MAX).map(shown).collect();
        self.letters.push(DeadLetter { source, leaf, sequence, attempts, time_ms: now_ms, reason });
        self.standing.dead += 1;
        Verdict::Dead
    }

    /// Group and leaf of a pending event that somebody has asked for again.
    #[must_use]
    pub fn replayed_place(&self, order: u64) -> Option<(u64, u64)> {
        let pending = self.pending.get(&order).filter(|pending| pending.kept.replay)?;
        Some((pending.kept.place.source, pending.kept.place.leaf))
    }

    /// Dead letters that are not in the log yet.
    #[must_use]
    pub fn letters(&self) -> &[DeadLetter] {
        &self.letters
    }

    /// The first so many dead letters are in the log.
    pub fn logged(&mut self, count: usize) {
        self.letters.drain(..count.min(self.letters.len()));
    }

    /// Ends the replay under way when it is done, and begins the next one that was not done before.
    pub fn next_replay(&mut self, asked: &[Replay]) {
        loop {
            self.finish_replay();
            let next = asked.iter().find(|replay| replay.number > self.replayed);
            match next.filter(|_| self.replay.is_none()) {
                Some(next) => self.begin_replay(next.clone()),
                None => return,
            }
        }
    }

    /// Begins a replay, when none is under way and this one was not done before.
    pub fn begin_replay(&mut self, replay: Replay) {
        if self.replay.is_none() && replay.number > self.replayed {
            self.replay = Some(replay);
        }
    }

    /// The next leaf of the replay under way: group, leaf, and the one after the last of its range.
    #[must_use]
    pub fn replaying(&self) -> Option<(u64, u64, u64)> {
        self.replay.as_ref()?.ranges.first().copied()
    }

    /// The replay has come to this leaf of its first range.
    pub fn replay_to(&mut self, leaf: u64) {
        let Some(replay) = &mut self.replay else { return };
        if let Some(first) = replay.ranges.first_mut() {
            first.1 = leaf;
            if first.1 >= first.2 {
                replay.ranges.remove(0);
            }
        }
    }

    /// Notes that a replay is done, when it is.
    pub fn finish_replay(&mut self) {
        let over = self.replay.as_ref().is_some_and(|replay| replay.ranges.is_empty());
        if over && !self.pending.values().any(|pending| pending.kept.replay) {
            let done = self.replay.take();
            self.replayed = done.map_or(self.replayed, |done| done.number);
        }
    }

    /// The last replay that is done, and whether one is under way.
    #[must_use]
    pub fn replays(&self) -> (u64, bool) {
        (self.replayed, self.replay.is_some())
    }

    /// How it has been going.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Events that are pending.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Events that are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// When the oldest event that is not settled happened.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<u64> {
        self.pending.values().map(|pending| pending.kept.time_ms).min()
    }

    /// When the last event that was looked at happened.
    #[must_use]
    pub fn scanned_ms(&self) -> u64 {
        self.scanned_ms
    }
}
