//! What time a leader may stamp with: inside the interval on which a majority of voters agrees.
//!
//! Every voter's clock is known as an offset against this node's monotonic clock, give or take half the
//! round trip and the error that a sound clock may have. A sample is carried forward by the monotonic
//! clock, so that a wall clock that jumps afterwards is noticed at once. Pure: time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

/// This node's clocks, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Unix milliseconds by the wall clock.
    pub wall_ms: u64,
    /// Since some moment of the past; never goes back.
    pub monotonic: Duration,
}

/// A look at another voter's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When the question was sent, by this node's monotonic clock.
    pub asked: Duration,
    /// When the answer came.
    pub answered: Duration,
    /// What the voter said, in Unix milliseconds.
    pub said_ms: u64,
}

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockRules {
    /// How far a sound clock may be from the true time.
    pub error_max: Duration,
    /// Older samples do not count.
    pub sample_age_max: Duration,
}

/// What a majority agrees on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// This node's clock is inside the interval: the stamp.
    Agreed {
        /// Unix milliseconds.
        stamp_ms: u64,
    },
    /// A majority agrees, and this node's clock is elsewhere.
    Alone {
        /// How far this node's clock is from the interval, in milliseconds.
        offset_ms: i64,
    },
    /// No majority agrees, or too few answer.
    None,
}

/// The voters' clocks as this node knows them.
#[derive(Debug, Default)]
pub struct VoterClocks {
    samples: BTreeMap<u64, Sample>,
}

/// Microseconds, as far from zero as times go.
type Micros = i128;

impl VoterClocks {
    /// Notes a look at a voter's clock.
    pub fn note(&mut self, voter: u64, sample: Sample) {
        self.samples.insert(voter, sample);
    }

    /// Forgets who is not a voter any more.
    pub fn keep(&mut self, voters: impl Fn(u64) -> bool) {
        self.samples.retain(|voter, _| voters(*voter));
    }

    /// What a majority of `voters` (this node, `own`, among them) agrees on now.
    #[must_use]
    pub fn agreement(
        &self,
        own: u64,
        voters: &[u64],
        now: Reading,
        rules: ClockRules,
    ) -> Agreement {
        let wall = Micros::from(now.wall_ms) * 1_000;
        let error = micros(rules.error_max);
        let intervals: Vec<(Micros, Micros)> = voters
            .iter()
            .filter_map(|voter| {
                if *voter == own {
                    return Some((wall - error, wall + error));
                }
                let sample = self.samples.get(voter)?;
                let fresh = now.monotonic.saturating_sub(sample.answered) <= rules.sample_age_max;
                fresh.then(|| interval(sample, now.monotonic, error))
            })
            .collect();
        let majority = voters.len() / 2 + 1;
        let Some((low, high)) = overlap(&intervals, majority) else { return Agreement::None };
        let sharing = intervals.iter().filter(|(low, high)| (*low..=*high).contains(&wall));
        if sharing.count() >= majority {
            return Agreement::Agreed { stamp_ms: now.wall_ms };
        }
        let off = if wall < low { wall - low } else { wall - high };
        Agreement::Alone { offset_ms: i64::try_from(off / 1_000).unwrap_or(i64::MAX) }
    }
}

/// Where a voter's clock is now: what it said, plus the time since, give or take.
fn interval(sample: &Sample, now: Duration, error: Micros) -> (Micros, Micros) {
    let said = Micros::from(sample.said_ms) * 1_000;
    let low = said + micros(now.saturating_sub(sample.answered));
    // It spoke between question and answer, and cut its time to the millisecond.
    let high = said + 1_000 + micros(now.saturating_sub(sample.asked));
    (low - error, high + error)
}

fn micros(duration: Duration) -> Micros {
    // A Duration has at most 2^64 seconds, which are fewer microseconds than an i128 holds.
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX / 4)
}

/// The stretch that most intervals share, when at least `wanted` do.
fn overlap(intervals: &[(Micros, Micros)], wanted: usize) -> Option<(Micros, Micros)> {
    let mut edges: Vec<(Micros, i8)> =
        intervals.iter().flat_map(|(low, high)| [(*low, -1), (*high, 1)]).collect();
    // At one place, beginnings come before ends: intervals that touch share a point.
    edges.sort_unstable();
    let mut open = 0_usize;
    let mut best: Option<(usize, Micros, Micros)> = None;
    for (at, (place, kind)) in edges.iter().enumerate() {
        if *kind < 0 {
            open += 1;
            let end = edges.get(at + 1).map_or(*place, |(next, _)| *next);
            if open >= wanted && best.is_none_or(|(most, ..)| open > most) {
                best = Some((open, *place, end));
            }
        } else {
            open -= 1;
        }
    }
    best.map(|(_, low, high)| (low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: ClockRules = ClockRules {
        error_max: Duration::from_millis(250),
        sample_age_max: Duration::from_secs(2),
    };
    const WALL: u64 = 1_800_000_000_000;

    fn now(wall_ms: u64) -> Reading {
        Reading { wall_ms, monotonic: Duration::from_secs(100) }
    }

    /// Voter 1 asks; the others said their wall times a second ago, over a round trip of 2 ms.
    fn agree(own_wall: u64, others: &[i64]) -> Agreement {
        let mut clocks = VoterClocks::default();
        for (voter, offset) in (2..).zip(others) {
            let said_ms = (WALL - 1_000).checked_add_signed(*offset).expect("in range");
            let sample = Sample {
                asked: Duration::from_millis(98_999),
                answered: Duration::from_millis(99_001),
                said_ms,
            };
            clocks.note(voter, sample);
        }
        let voters: Vec<u64> = (1..).take(others.len() + 1).collect();
        clocks.agreement(1, &voters, now(own_wall), RULES)
    }

    #[test]
    fn a_majority_decides() {
        let agreed = Agreement::Agreed { stamp_ms: WALL };
        assert_eq!(agree(WALL, &[0, 0]), agreed);
        assert_eq!(agree(WALL, &[40, -40]), agreed);
        assert_eq!(agree(WALL, &[300_000, 0]), agreed);
        assert_eq!(agree(WALL, &[-300_000, 3]), agreed);
        assert_eq!(agree(WALL, &[300_000, -300_000]), Agreement::None);
        assert!(
            matches!(agree(WALL + 300_000, &[0, 0]), Agreement::Alone { offset_ms } if offset_ms > 299_000)
        );
        assert!(
            matches!(agree(WALL - 300_000, &[0, 0]), Agreement::Alone { offset_ms } if offset_ms < -299_000)
        );
        assert_eq!(agree(WALL, &[300_000, 300_000, 0, 0]), agreed);
        assert_eq!(agree(WALL, &[]), agreed);
    }

    #[test]
    fn a_jump_after_the_samples_is_noticed_at_once() {
        assert!(matches!(agree(WALL + 1_500, &[0, 0]), Agreement::Alone { .. }));
        assert_eq!(agree(WALL + 200, &[0, 0]), Agreement::Agreed { stamp_ms: WALL + 200 });
    }

    #[test]
    fn old_samples_do_not_count() {
        let mut clocks = VoterClocks::default();
        for voter in [2, 3] {
            let asked = Duration::from_secs(97);
            clocks.note(voter, Sample { asked, answered: asked, said_ms: WALL - 3_000 });
        }
        assert_eq!(clocks.agreement(1, &[1, 2, 3], now(WALL), RULES), Agreement::None);
    }
}
