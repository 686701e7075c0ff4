//! When something may be sent, and for whom: no IO, no clock, no randomness.
//!
//! All outlets of a gateway share one destination. It gets a bounded number of invoices a second, and after an
//! attempt without an answer one batch at a time, after a pause that doubles; with each answer twice as many again.
//! Outlets take turns, one batch each; whose turn was longest ago comes first, and of those the one whose invoice
//! waits longest.

use std::collections::{BTreeMap, BTreeSet};

use crate::delivery::policy::jittered;

const MILLI: i64 = 1_000;

/// What the pace goes by.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Invoices a second, of this gateway.
    pub per_second: u32,
    /// Batches on their way at once.
    pub in_flight_max: usize,
    /// The first pause.
    pub retry_ms: u64,
    /// The longest.
    pub retry_max_ms: u64,
}

/// The place of an outlet in the queue.
type Turn = (u64, u64, String);

/// The queue of one gateway, and the destination as it is seen from here.
#[derive(Debug)]
pub struct Pace {
    limits: Limits,
    /// Outlets that have something to be sent: the turn, and since when the oldest waits.
    waiting: BTreeSet<Turn>,
    places: BTreeMap<String, (u64, u64)>,
    /// Outlets that are not to be looked at before a time.
    later: BTreeMap<String, u64>,
    in_flight: usize,
    allowed: usize,
    /// Thousandths of invoices; below zero after a batch that was larger than what was left.
    tokens: i64,
    filled_ms: u64,
    failures: u32,
    hold_until_ms: u64,
    turn: u64,
}

impl Pace {
    /// Nothing waits.
    #[must_use]
    pub fn new(limits: Limits, now_ms: u64) -> Self {
        Self {
            limits,
            waiting: BTreeSet::new(),
            places: BTreeMap::new(),
            later: BTreeMap::new(),
            in_flight: 0,
            allowed: 1,
            tokens: i64::from(limits.per_second) * MILLI,
            filled_ms: now_ms,
            failures: 0,
            hold_until_ms: 0,
            turn: 0,
        }
    }

    /// The part of the destination's rate that is this gateway's.
    pub fn set_rate(&mut self, per_second: u32) {
        self.limits.per_second = per_second.max(1);
    }

    /// An outlet has something to be sent, not before `due_ms`; the oldest since `oldest_ms`. One that waits keeps
    /// its turn.
    pub fn enqueue(&mut self, outlet_id: &str, oldest_ms: u64, due_ms: u64) {
        if self.places.contains_key(outlet_id) {
            return;
        }
        let turn = (self.turn, oldest_ms);
        self.places.insert(outlet_id.to_owned(), turn);
        self.waiting.insert((turn.0, turn.1, outlet_id.to_owned()));
        self.later.insert(outlet_id.to_owned(), due_ms);
    }

    /// Nothing of an outlet is to be sent here.
    pub fn forget(&mut self, outlet_id: &str) {
        self.later.remove(outlet_id);
        if let Some((turn, oldest_ms)) = self.places.remove(outlet_id) {
            self.waiting.remove(&(turn, oldest_ms, outlet_id.to_owned()));
        }
    }

    /// The outlet whose turn it is, if something may be sent now; `ready` says of which something may.
    pub fn next(&mut self, now_ms: u64, ready: impl Fn(&str) -> bool) -> Option<String> {
        self.fill(now_ms);
        if self.in_flight >= self.allowed || self.tokens <= 0 || now_ms < self.hold_until_ms {
            return None;
        }
        let due = |outlet: &str| self.later.get(outlet).is_none_or(|due_ms| *due_ms <= now_ms);
        let next = self.waiting.iter().find(|(_, _, outlet)| due(outlet) && ready(outlet));
        let outlet_id = next.map(|(_, _, outlet)| outlet.clone())?;
        self.forget(&outlet_id);
        self.turn += 1;
        self.in_flight += 1;
        Some(outlet_id)
    }

    fn fill(&mut self, now_ms: u64) {
        let rate = i64::from(self.limits.per_second);
        let since = i64::try_from(now_ms.saturating_sub(self.filled_ms)).unwrap_or(i64::MAX);
        let more = since.saturating_mul(rate);
        self.tokens = self.tokens.saturating_add(more).min(rate * MILLI);
        self.filled_ms = self.filled_ms.max(now_ms);
    }

    /// So many invoices are sent.
    pub fn spend(&mut self, invoices: usize) {
        self.tokens -= i64::try_from(invoices).unwrap_or(i64::MAX / MILLI) * MILLI;
    }

    /// So many of those that were counted are not sent after all.
    pub fn unspend(&mut self, invoices: usize) {
        let back = i64::try_from(invoices).unwrap_or(i64::MAX / MILLI) * MILLI;
        self.tokens = (self.tokens + back).min(i64::from(self.limits.per_second) * MILLI);
    }

    /// An attempt was answered.
    pub fn answered(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.allowed = (self.allowed * 2).min(self.limits.in_flight_max);
        self.failures = 0;
    }

    /// There was nothing to be sent after all.
    pub fn idle(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// An attempt was not answered.
    pub fn failed(&mut self, now_ms: u64, retry_after_ms: Option<u64>, random: u64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.allowed = 1;
        self.failures = self.failures.saturating_add(1);
        let pause_ms = self.pause_ms(self.failures, random).max(retry_after_ms.unwrap_or(0));
        self.hold_until_ms = self.hold_until_ms.max(now_ms + pause_ms);
    }

    /// The pause after so many attempts.
    #[must_use]
    pub fn pause_ms(&self, attempts: u32, random: u64) -> u64 {
        let doubled = self.limits.retry_ms.checked_shl(attempts.saturating_sub(1).min(32));
        jittered(doubled.unwrap_or(u64::MAX).min(self.limits.retry_max_ms), random)
    }

    /// Attempts in a row without an answer, and until when nothing is sent.
    #[must_use]
    pub fn standing(&self) -> (u32, u64) {
        (self.failures, self.hold_until_ms)
    }

    /// Outlets that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(per_second: u32, in_flight_max: usize) -> Pace {
        let limits = Limits { per_second, in_flight_max, retry_ms: 1_000, retry_max_ms: 60_000 };
        Pace::new(limits, 0)
    }

    fn next(pace: &mut Pace, now_ms: u64) -> Option<String> {
        pace.next(now_ms, |_| true)
    }

    #[test]
    fn outlets_take_turns_and_the_oldest_begins() {
        let mut pace = pace(1_000_000, 64);
        pace.enqueue("small", 50, 0);
        pace.enqueue("large", 10, 0);
        let mut order = Vec::new();
        for round in 0..6 {
            let outlet = next(&mut pace, round).expect("somebody's turn");
            pace.answered();
            // Both have more than a batch each time.
            pace.enqueue(&outlet, 10, 0);
            order.push(outlet);
        }
        assert_eq!(order, ["large", "small", "large", "small", "large", "small"]);
    }

    #[test]
    fn a_rate_is_kept_and_half_a_second_gives_half_of_it() {
        let mut pace = pace(100, 64);
        let mut sent = 0;
        for now_ms in (0..10_000).step_by(10) {
            pace.enqueue("a", 0, 0);
            if next(&mut pace, now_ms).is_some() {
                pace.spend(40);
                pace.answered();
                sent += 40;
            }
        }
        // What a second allows at once, and what ten seconds bring, and less than a batch more.
        assert!((1_000..=1_140).contains(&sent), "{sent}");
    }

    #[test]
    fn after_an_outage_one_is_tried_and_then_twice_as_many() {
        let mut pace = pace(1_000_000, 8);
        (0..100).for_each(|at| pace.enqueue(&format!("o{at:02}"), at, 0));
        assert!(next(&mut pace, 0).is_some());
        assert_eq!(next(&mut pace, 0), None, "one is on its way");
        pace.failed(0, None, 0);
        assert_eq!(next(&mut pace, 799), None);
        assert!(next(&mut pace, 800).is_some());
        pace.failed(800, Some(90_000), 0);
        assert_eq!(next(&mut pace, 90_799), None, "it asks to be left alone");
        let mut widths = Vec::new();
        for now_ms in 90_800..90_805 {
            let mut width = 0;
            while next(&mut pace, now_ms).is_some() {
                width += 1;
            }
            (0..width).for_each(|_| pace.answered());
            widths.push(width);
        }
        assert_eq!(widths[..2], [1, 2]);
        assert!(widths.iter().all(|width| *width <= 8) && widths.is_sorted(), "{widths:?}");
    }

    #[test]
    fn a_pause_doubles_up_to_the_longest() {
        let pace = pace(1, 1);
        let pauses: Vec<u64> = [1, 2, 3, 40].map(|attempts| pace.pause_ms(attempts, 0)).to_vec();
        assert_eq!(pauses, [800, 1_600, 3_200, 48_000]);
    }

    #[test]
    fn one_that_waits_or_is_paused_does_not_delay_another() {
        let mut pace = pace(1_000, 4);
        pace.enqueue("early", 0, 5_000);
        pace.enqueue("paused", 1, 0);
        pace.enqueue("ready", 2, 0);
        assert_eq!(pace.next(10, |outlet| outlet != "paused").as_deref(), Some("ready"));
        pace.forget("early");
        assert_eq!(pace.waiting(), 1);
    }
}
