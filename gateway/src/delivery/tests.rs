//! Destinations and leases under random failures, on simulated time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::destination::{
    Attempt, Destination, IN_FLIGHT_MAX, LETTERS_MAX, Outcome, Position, Step, Verdict, WINDOW,
};
use super::kept::{
    ALERTS, DESTINATIONS_MAX, Kept, NOTICES, Place, RANGES_MAX, Replay, SHARD_BYTES, SHARDS, Shard,
};
use super::leases::{GATEWAYS_MAX, Leases, shard_of};
use super::policy::{Mode, Policy, Schedule};

const GROUP: u64 = 1;

fn policy(mode: Mode) -> Policy {
    Policy::new(mode, Schedule::Short.delays_ms(), 50)
}

fn place(leaf: u64) -> Place {
    Place { source: GROUP, leaf }
}

fn failed(reason: &str) -> Outcome {
    Outcome::Failed { reason: reason.to_owned(), retry_after_ms: None }
}

fn sent(destination: &mut Destination, now_ms: u64) -> Attempt {
    match destination.step(now_ms) {
        Step::Send(attempt) => attempt,
        other => panic!("{other:?}"),
    }
}

/// What a world of one destination does with random numbers: events arrive, attempts end in any way, the gateway is
/// killed and another one goes on from what was kept.
struct Simulation {
    mode: Mode,
    random: u64,
    now_ms: u64,
    destination: Destination,
    kept: Kept,
    in_flight: Vec<Attempt>,
    /// The lane of every event by its leaf.
    lanes: Vec<u32>,
    delivered: BTreeMap<u64, u32>,
    dead: BTreeSet<u64>,
    /// Since the last kill, what was settled by leaf, in its order.
    settled: Vec<u64>,
}

impl Simulation {
    fn new(mode: Mode, seed: u64) -> Self {
        let kept = Kept { scanned: BTreeMap::from([(GROUP, 0)]), ..Kept::default() };
        Self {
            mode,
            random: seed | 1,
            now_ms: 1_000_000,
            destination: Destination::new(policy(mode), &kept, 1_000_000),
            kept,
            in_flight: Vec::new(),
            lanes: Vec::new(),
            delivered: BTreeMap::new(),
            dead: BTreeSet::new(),
            settled: Vec::new(),
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn scanned(&self) -> u64 {
        match self.destination.position(GROUP) {
            Some(Position::At(leaf)) => leaf,
            other => panic!("{other:?}"),
        }
    }

    fn scan(&mut self) {
        while self.destination.room() > 0 && self.scanned() < self.lanes.len() as u64 {
            let leaf = self.scanned();
            let lane = self.lanes[usize::try_from(leaf).expect("few")];
            self.destination.offer(place(leaf), lane, self.now_ms);
            self.destination.move_to(GROUP, Position::At(leaf + 1), self.now_ms);
        }
    }

    fn send(&mut self) {
        while let Step::Send(attempt) = self.destination.step(self.now_ms) {
            let leaf = attempt.place.leaf;
            assert!(
                self.in_flight.iter().all(|other| other.place != attempt.place),
                "in flight once"
            );
            let lane = |leaf: u64| self.lanes[usize::try_from(leaf).expect("few")];
            let overtakes = self.in_flight.iter().any(|other| match self.mode {
                Mode::Parallel => false,
                Mode::PerOutlet => lane(other.place.leaf) == lane(leaf),
                Mode::Ordered => true,
            });
            assert!(!overtakes, "{leaf} overtakes what is in flight");
            self.in_flight.push(attempt);
        }
        assert!(self.in_flight.len() <= IN_FLIGHT_MAX && self.destination.pending() <= WINDOW);
        assert!(self.destination.letters().len() <= LETTERS_MAX + IN_FLIGHT_MAX);
    }

    fn end_one(&mut self, well: bool) {
        if self.in_flight.is_empty() {
            return;
        }
        let at = usize::try_from(self.random(self.in_flight.len() as u64)).expect("few");
        let attempt = self.in_flight.swap_remove(at);
        let leaf = attempt.place.leaf;
        let outcome = match if well { 0 } else { self.random(4) } {
            0 | 1 => Outcome::Delivered,
            2 => Outcome::Failed {
                reason: "503".to_owned(),
                retry_after_ms: Some(self.random(20_000)),
            },
            _ => failed("time"),
        };
        let is_delivered = outcome == Outcome::Delivered;
        let random = self.random(u64::MAX);
        let verdict = self.destination.settle(attempt.order, outcome, self.now_ms, random);
        if is_delivered {
            *self.delivered.entry(leaf).or_default() += 1;
        }
        if verdict == Verdict::Dead {
            // One that was in flight when a gateway was killed is tried once more.
            let tried = usize::try_from(attempt.number).expect("few");
            assert!(tried > policy(self.mode).delays_ms.len(), "{tried} attempts");
            self.dead.insert(leaf);
        }
        if is_delivered || verdict == Verdict::Dead {
            self.settled.push(leaf);
        }
    }

    fn keep(&mut self) {
        let letters = self.destination.letters().len();
        self.destination.logged(letters);
        self.kept = self.destination.kept(&BTreeMap::new());
    }

    /// Nothing is left of the gateway but what it has kept.
    fn kill(&mut self) {
        self.check_order();
        self.settled.clear();
        self.in_flight.clear();
        self.destination = Destination::new(policy(self.mode), &self.kept, self.now_ms);
    }

    /// Within one gateway's life, events of a lane are settled in their order.
    fn check_order(&self) {
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        for leaf in &self.settled {
            let lane = match self.mode {
                Mode::Parallel => return,
                Mode::PerOutlet => self.lanes[usize::try_from(*leaf).expect("few")],
                Mode::Ordered => 0,
            };
            let before = last.insert(lane, *leaf);
            assert!(
                before.is_none_or(|before| before < *leaf),
                "{leaf} after {before:?} in lane {lane}"
            );
        }
    }

    fn turn(&mut self) {
        match self.random(12) {
            0..=3 => {
                let lane = u32::try_from(self.random(3)).expect("few");
                self.lanes.push(lane);
            }
            4..=7 => self.end_one(false),
            8 => self.keep(),
            9 => self.now_ms += self.random(60_000),
            10 => self.now_ms += 1 + self.random(200),
            _ if self.random(8) == 0 => self.kill(),
            _ => {}
        }
        self.scan();
        self.send();
    }

    /// The destination is well from now on: everything comes to its end.
    fn drain(&mut self) {
        for _ in 0..200_000 {
            while !self.in_flight.is_empty() {
                self.end_one(true);
            }
            self.keep();
            self.scan();
            match self.destination.step(self.now_ms) {
                Step::Send(attempt) => self.in_flight.push(attempt),
                Step::Wait(until_ms) => {
                    assert!(until_ms > self.now_ms, "time goes on");
                    self.now_ms = until_ms;
                }
                Step::Idle if self.destination.pending() == 0 => break,
                Step::Idle => {}
            }
        }
        self.check_order();
        let missed = (0..self.lanes.len() as u64)
            .filter(|leaf| !self.delivered.contains_key(leaf) && !self.dead.contains(leaf));
        assert_eq!(
            missed.collect::<Vec<_>>(),
            [0_u64; 0],
            "every event is delivered or a dead letter"
        );
        assert_eq!(self.scanned(), self.lanes.len() as u64);
    }
}

proptest! {
    #[test]
    fn whatever_happens_every_event_is_delivered_or_a_dead_letter(seed: u64, mode in 0..3_u8) {
        let mode = [Mode::Parallel, Mode::PerOutlet, Mode::Ordered][usize::from(mode)];
        let mut simulation = Simulation::new(mode, seed);
        for _ in 0..600 {
            simulation.turn();
        }
        simulation.drain();
    }
}

#[test]
fn a_failing_destination_is_asked_less_and_less_and_keeps_nothing_but_places() {
    let mut destination = Destination::new(policy(Mode::Parallel), &Kept::default(), 0);
    let mut leaf = 0;
    let mut attempts = 0;
    let mut now_ms = 0;
    while now_ms < 3_600_000 {
        while destination.room() > 0 {
            destination.offer(place(leaf), 0, now_ms);
            leaf += 1;
        }
        let letters = destination.letters().len();
        destination.logged(letters);
        match destination.step(now_ms) {
            Step::Send(attempt) => {
                attempts += 1;
                destination.settle(attempt.order, failed("refused"), now_ms, 5);
            }
            Step::Wait(until_ms) => now_ms = until_ms,
            Step::Idle => panic!("there is something to send"),
        }
    }
    assert!((15..40).contains(&attempts), "{attempts} attempts in an hour");
    assert!(destination.kept(&BTreeMap::new()).pending.len() <= WINDOW);
}

#[test]
fn a_destination_that_hangs_holds_one_place_and_one_that_is_well_gets_more() {
    let mut destination = Destination::new(policy(Mode::Parallel), &Kept::default(), 0);
    (0..40).for_each(|leaf| destination.offer(place(leaf), 0, 0));
    let first = sent(&mut destination, 0);
    assert_eq!(destination.step(0), Step::Idle, "the first one is waited for");
    destination.settle(first.order, Outcome::Delivered, 1, 0);
    let both = [sent(&mut destination, 1), sent(&mut destination, 1)];
    assert_eq!(destination.step(1), Step::Idle);
    for attempt in both {
        destination.settle(attempt.order, Outcome::Delivered, 2, 0);
    }
    let many: Vec<Attempt> = (0..4).map(|_| sent(&mut destination, 2)).collect();
    destination.settle(many[0].order, failed("reset"), 3, 0);
    assert_eq!(destination.step(3), Step::Idle, "after a failure it is one again");
}

#[test]
fn retry_after_is_honoured_and_bounded() {
    for (asked_ms, earliest_ms) in [(90_000, 90_000), (100 * 3_600_000, 3_600_000), (10, 4_000)] {
        let mut destination = Destination::new(policy(Mode::Ordered), &Kept::default(), 0);
        destination.offer(place(0), 0, 0);
        let attempt = sent(&mut destination, 0);
        let outcome = Outcome::Failed { reason: "429".to_owned(), retry_after_ms: Some(asked_ms) };
        destination.settle(attempt.order, outcome, 0, 0);
        assert_eq!(destination.step(0), Step::Wait(earliest_ms));
        assert_eq!(sent(&mut destination, earliest_ms).number, 2);
    }
}

#[test]
fn a_success_that_was_in_flight_ends_no_pause_that_was_asked_for() {
    let mut destination = Destination::new(policy(Mode::Parallel), &Kept::default(), 0);
    (0..4).for_each(|leaf| destination.offer(place(leaf), 0, 0));
    let first = sent(&mut destination, 0);
    destination.settle(first.order, Outcome::Delivered, 0, 0);
    let [one, two] = [sent(&mut destination, 1), sent(&mut destination, 1)];
    let outcome = Outcome::Failed { reason: "429".to_owned(), retry_after_ms: Some(90_000) };
    destination.settle(one.order, outcome, 2, 0);
    destination.settle(two.order, Outcome::Delivered, 3, 0);
    assert_eq!(destination.step(4), Step::Wait(90_002));
    assert!(matches!(destination.step(90_002), Step::Send(_)));
}

#[test]
fn the_next_replay_begins_when_the_one_before_is_done() {
    let mut destination = Destination::new(policy(Mode::Parallel), &Kept::default(), 0);
    let replay = |number, ranges: &[(u64, u64, u64)]| Replay { number, ranges: ranges.to_vec() };
    let asked = [replay(1, &[(GROUP, 5, 6)]), replay(2, &[]), replay(3, &[(GROUP, 9, 10)])];
    destination.next_replay(&asked);
    assert_eq!((destination.replays(), destination.replaying()), ((0, true), Some((GROUP, 5, 6))));
    destination.offer_again(place(5), 0, 0);
    destination.replay_to(6);
    destination.next_replay(&asked);
    assert_eq!(destination.replays(), (0, true), "it is on its way");
    let attempt = sent(&mut destination, 0);
    destination.settle(attempt.order, Outcome::Delivered, 0, 0);
    destination.next_replay(&asked);
    assert_eq!((destination.replays(), destination.replaying()), ((2, true), Some((GROUP, 9, 10))));
    destination.replay_to(10);
    destination.next_replay(&asked);
    assert_eq!(destination.replays(), (3, false));
}

#[test]
fn the_rate_is_kept() {
    let mut destination = Destination::new(policy(Mode::Parallel), &Kept::default(), 0);
    let (mut count, mut leaf, mut now_ms) = (0, 0, 0);
    while now_ms <= 10_000 {
        while destination.room() > 0 {
            destination.offer(place(leaf), 0, now_ms);
            leaf += 1;
        }
        match destination.step(now_ms) {
            Step::Send(attempt) => {
                count += 1;
                destination.settle(attempt.order, Outcome::Delivered, now_ms, 0);
            }
            Step::Wait(until_ms) => now_ms = until_ms,
            Step::Idle => panic!("there is something to send"),
        }
    }
    assert!((540..=560).contains(&count), "{count}: a second's worth at once, then 50 a second");
}

#[test]
fn five_days_of_failing_end_it_and_410_at_once() {
    let day_ms = 24 * 3_600_000;
    let policy = Policy::new(Mode::Parallel, Schedule::Long.delays_ms(), 50);
    let mut destination = Destination::new(policy, &Kept::default(), 0);
    destination.offer(place(0), 0, 0);
    destination.offer(place(1), 0, 0);
    for day in 0..5 {
        let now_ms = day * day_ms + 1_000;
        let attempt = sent(&mut destination, now_ms);
        let verdict = destination.settle(attempt.order, failed("500"), now_ms, 0);
        assert!(matches!(verdict, Verdict::Again(_)), "day {day}: {verdict:?}");
    }
    let later = sent(&mut destination, 5 * day_ms + 1_000);
    assert_eq!(
        destination.settle(later.order, failed("500"), 5 * day_ms + 1_000, 0),
        Verdict::FailedTooLong
    );
    let last = sent(&mut destination, 6 * day_ms);
    assert_eq!(destination.settle(last.order, Outcome::Gone, 6 * day_ms, 0), Verdict::Gone);
    assert_eq!(destination.pending(), 2, "what was not delivered is not lost by that");
}

#[test]
fn two_failures_with_nothing_between_are_not_five_days_of_failing() {
    let day_ms = 24 * 3_600_000;
    let mut destination = Destination::new(policy(Mode::Parallel), &Kept::default(), 0);
    (0..2).for_each(|leaf| destination.offer(place(leaf), 0, 0));
    for now_ms in [1_000, 6 * day_ms, 12 * day_ms] {
        let attempt = sent(&mut destination, now_ms);
        let verdict = destination.settle(attempt.order, failed("500"), now_ms, 0);
        assert!(matches!(verdict, Verdict::Again(_)), "{verdict:?}");
        assert_eq!(destination.standing().failing_since_ms, now_ms);
    }

    // One that gives its only event up has nothing left that fails.
    let mut destination = Destination::new(policy(Mode::Parallel), &Kept::default(), 0);
    for day in 0..7 {
        destination.offer(place(day), 0, day * day_ms);
        let mut now_ms = day * day_ms;
        while destination.pending() > 0 {
            match destination.step(now_ms) {
                Step::Send(attempt) => {
                    let verdict = destination.settle(attempt.order, failed("500"), now_ms, 0);
                    assert_ne!(verdict, Verdict::FailedTooLong, "day {day}");
                }
                Step::Wait(until_ms) => now_ms = until_ms,
                Step::Idle => panic!("there is something to send"),
            }
        }
        assert_eq!(destination.standing().failing_since_ms, 0);
    }
}

#[test]
fn what_the_gateway_cannot_send_counts_against_nobody() {
    let mut destination = Destination::new(policy(Mode::Ordered), &Kept::default(), 0);
    destination.offer(place(0), 0, 0);
    for at in 0..1_000_u64 {
        let attempt = sent(&mut destination, at * 60_000);
        assert_eq!(attempt.number, 1);
        let outcome = Outcome::Withdrawn { pause_ms: 60_000 };
        let verdict = destination.settle(attempt.order, outcome, at * 60_000, 0);
        assert_eq!(verdict, Verdict::Settled);
        assert_eq!(destination.step(at * 60_000), Step::Wait((at + 1) * 60_000));
    }
    assert_eq!(
        (destination.standing(), destination.letters().len()),
        (&Kept::default().standing, 0)
    );
}

#[test]
fn a_replay_is_sent_once_and_is_over_when_all_is_settled() {
    let mut destination = Destination::new(policy(Mode::Parallel), &Kept::default(), 0);
    destination.begin_replay(Replay { number: 1, ranges: vec![(GROUP, 5, 7), (GROUP, 9, 10)] });
    destination.begin_replay(Replay { number: 2, ranges: vec![(GROUP, 0, 99)] });
    let mut asked = Vec::new();
    while let Some((source, leaf, _)) = destination.replaying() {
        destination.offer_again(Place { source, leaf }, 0, 0);
        destination.offer_again(Place { source, leaf }, 0, 0);
        destination.replay_to(leaf + 1);
        asked.push(leaf);
    }
    assert_eq!((asked, destination.pending()), (vec![5, 6, 9], 3));
    // A gateway that takes over goes on with it.
    let mut destination =
        Destination::new(policy(Mode::Parallel), &destination.kept(&BTreeMap::new()), 0);
    for now_ms in 0..3 {
        destination.finish_replay();
        assert_eq!(destination.replays(), (0, true));
        let attempt = sent(&mut destination, now_ms);
        assert_eq!(attempt.sequence, None);
        destination.settle(attempt.order, Outcome::Delivered, now_ms, 0);
    }
    destination.finish_replay();
    assert_eq!(destination.replays(), (1, false));
    destination.begin_replay(Replay { number: 1, ranges: vec![(GROUP, 5, 7)] });
    assert_eq!(destination.replays(), (1, false), "what was done is not done again");
}

#[test]
fn a_shard_with_its_destinations_at_their_worst_fits_into_a_document() {
    for count in [1, 10, 42, DESTINATIONS_MAX / SHARDS * 4 / 3] {
        let mut shard = Shard { holder: "0123456789abcdef".to_owned(), ..Shard::default() };
        for at in 0..count {
            let begin = (0..9).chain([NOTICES, ALERTS]).map(|source| (source, u64::MAX / 2));
            let kept = Kept { scanned: begin.collect(), ..Kept::default() };
            let mut destination = Destination::new(policy(Mode::Parallel), &kept, 0);
            destination.limit_bytes(SHARD_BYTES / count);
            let ranges = (0..RANGES_MAX as u64).map(|leaf| (GROUP, leaf << 32, u64::MAX / 2));
            destination.begin_replay(Replay { number: 1, ranges: ranges.collect() });
            let (mut now_ms, mut leaf) = (1_790_000_000_000, 1 << 40);
            for _ in 0..300 {
                while destination.room() > 0 {
                    destination.offer(Place { source: 3, leaf }, u32::MAX, now_ms);
                    leaf += 1;
                }
                assert!(destination.pending() > 0 || !destination.letters().is_empty());
                match destination.step(now_ms) {
                    Step::Send(attempt) => {
                        let reason = "\"\u{1}".repeat(60);
                        destination.settle(attempt.order, failed(&reason), now_ms, leaf);
                    }
                    Step::Wait(until_ms) => now_ms = until_ms,
                    Step::Idle => break,
                }
            }
            let kept = destination.kept(&BTreeMap::new());
            shard.destinations.insert(format!("webhook/organisation-{at:060}/{at:024}"), kept);
        }
        let bytes = serde_json::to_vec(&shard).expect("it is JSON").len();
        assert!(bytes < 240 * 1024, "{count} destinations take {bytes} bytes");
    }
}

#[test]
fn nothing_is_sent_on_a_lease_that_is_over_or_given_away() {
    let mut leases = Leases::new("me", 6_000, 0);
    leases.took(3, 1, 1_000);
    assert!(!leases.may_send(3, 1_000), "it has no place");
    leases.renewed(5, 1, 1_000, 1_000);
    assert!(leases.may_send(3, 4_999) && !leases.may_send(4, 4_999));
    assert!(
        !leases.may_send(3, 11_000),
        "it was stopped for ten seconds and looks for the first time"
    );
    assert_eq!(leases.expired(11_000), [3]);
    leases.renewed(5, 2, 11_000, 11_000);
    assert!(leases.may_send(3, 11_000), "nobody can have taken what it held");
    leases.saw_gateway(5, 3, "", 11_001);
    assert_eq!(leases.expired(11_001), [3], "somebody has written over its place");
    leases.renewed(5, 2, 11_001, 11_001);
    assert!(!leases.may_send(3, 11_001), "an answer that comes late changes nothing");
    leases.renewed(6, 1, 11_002, 11_002);
    leases.saw_shard(3, 2, "other", 11_002);
    assert_eq!(leases.expired(11_002), [3], "somebody else has it");
    leases.let_go(3);
    leases.took(4, 1, 11_002);
    leases.leave_all();
    assert!(!leases.may_send(4, 11_003));
}

#[test]
fn what_is_idle_is_renewed_by_one_small_document() {
    let mut leases = Leases::new("me", 6_000, 0);
    assert!(leases.is_due(0));
    leases.renewed(0, 1, 0, 0);
    for shard in 0..SHARDS {
        leases.took(shard, 1, 0);
    }
    assert!(!leases.is_due(1_499) && leases.is_due(1_500));
    leases.renewed(0, 2, 3_000, 3_000);
    assert!((0..SHARDS).all(|shard| leases.may_send(shard, 6_000)));
}

/// Some gateways on one directory, with clocks that have nothing in common. Writes take time, and answers are lost.
struct Cluster {
    now_ms: u64,
    random: u64,
    documents: Vec<(u64, String)>,
    gateways: Vec<Option<(Leases, u64)>>,
    places: Vec<(u64, String)>,
    made: u64,
}

impl Cluster {
    fn random(&mut self, below: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn start(&mut self, at: usize) {
        self.made += 1;
        let offset_ms = self.random(1_000_000);
        let leases = Leases::new(&format!("gateway-{}", self.made), 6_000, self.now_ms + offset_ms);
        self.gateways[at] = Some((leases, offset_ms));
    }

    /// One gateway looks, drops what is over, renews and takes. `deaf` has it not hear the answers.
    fn turn(&mut self, at: usize, deaf: bool) {
        let random = self.random(1_000);
        let Some((leases, offset_ms)) = &mut self.gateways[at] else { return };
        let now_ms = self.now_ms + *offset_ms;
        for (shard, (version, holder)) in self.documents.iter().enumerate() {
            leases.saw_shard(shard, *version, holder, now_ms);
        }
        for (place, (version, holder)) in self.places.iter().enumerate() {
            leases.saw_gateway(place, *version, holder, now_ms);
        }
        for shard in leases.expired(now_ms) {
            leases.let_go(shard);
        }
        leases.share(now_ms);
        let Some((place, version)) = leases.own_place(now_ms, random) else { return };
        let claims = leases.claims(now_ms);
        let takes = !claims.shards.is_empty();
        let held = leases.held().iter().map(|(shard, held)| (*shard, held.version));
        let writes = if takes { claims.shards } else { held.collect() };
        // All of it is taken, or nothing.
        let fits = |documents: &[(u64, String)], seen: &[(usize, u64)]| {
            seen.iter().all(|(at, version)| documents[*at].0 == *version)
        };
        if !fits(&self.places, &[&[(place, version)], &*claims.over].concat())
            || !fits(&self.documents, &writes)
        {
            return;
        }
        for (place, version) in claims.over {
            self.places[place] = (version + 1, String::new());
        }
        self.places[place] = (version + 1, leases.me().to_owned());
        if !deaf {
            leases.renewed(place, version + 1, now_ms, now_ms);
        }
        for (shard, version) in writes {
            let leaving = leases.held().get(&shard).is_some_and(|held| held.leaving);
            let holder = if leaving { String::new() } else { leases.me().to_owned() };
            self.documents[shard] = (version + 1, holder);
            if leaving {
                leases.let_go(shard);
            } else if !deaf {
                leases.took(shard, version + 1, now_ms);
            } else {
                leases.adopted(shard, version + 1);
            }
        }
    }

    fn check(&self) {
        for shard in 0..SHARDS {
            let serving = self.gateways.iter().flatten().filter(|(leases, offset_ms)| {
                let over = leases.expired(self.now_ms + offset_ms).contains(&shard);
                leases.held().contains_key(&shard) && !over
            });
            assert!(serving.count() <= 1, "shard {shard} is served twice at {}", self.now_ms);
        }
    }

    fn served(&self) -> Vec<usize> {
        let held = |gateway: &Option<(Leases, u64)>| {
            gateway.as_ref().map_or(0, |(leases, _)| leases.held().len())
        };
        self.gateways.iter().map(held).collect()
    }
}

proptest! {
    #[test]
    fn no_shard_is_served_twice_and_each_is_served_again_soon(seed: u64) {
        let mut cluster = Cluster {
            now_ms: 50_000,
            random: seed,
            documents: vec![(0, String::new()); SHARDS],
            gateways: vec![None, None, None],
            places: vec![(0, String::new()); GATEWAYS_MAX],
            made: 0,
        };
        (0..3).for_each(|at| cluster.start(at));
        for _ in 0..400 {
            cluster.now_ms += cluster.random(700);
            let at = usize::try_from(cluster.random(3)).expect("few");
            match cluster.random(40) {
                0 => cluster.gateways[at] = None,
                1 if cluster.gateways[at].is_none() => cluster.start(at),
                // It is stopped for a while and does not know it.
                2 => cluster.now_ms += cluster.random(9_000),
                3 | 4 => cluster.turn(at, true),
                _ => cluster.turn(at, false),
            }
            cluster.check();
        }
        (0..3).filter(|at| cluster.gateways[*at].is_none()).collect::<Vec<_>>().into_iter().for_each(|at| cluster.start(at));
        for _ in 0..40 {
            cluster.now_ms += 500;
            (0..3).for_each(|at| cluster.turn(at, false));
            cluster.check();
        }
        prop_assert_eq!(cluster.served(), [SHARDS / 3; 3], "each has its part, and none is left out");
    }
}

#[test]
fn shards_have_about_the_same_number_of_destinations() {
    let mut counts = [0; SHARDS];
    (0..1_200).for_each(|at| counts[shard_of(&format!("webhook/org/{at}"))] += 1);
    assert!(counts.iter().all(|count| (60..140).contains(count)), "{counts:?}");
}
