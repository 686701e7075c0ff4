//! How one destination wants to be served.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// The least and the most messages a second that a destination may ask for.
pub const PER_SECOND: std::ops::RangeInclusive<u32> = 1..=500;
/// A destination that asks for nothing gets at most so many messages a second.
pub const PER_SECOND_DEFAULT: u32 = 100;

/// In which order a destination gets its events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeliveryMode)]
pub enum Mode {
    /// Several at once, in no order. An event that fails delays no other one.
    #[default]
    Parallel,
    /// Those of one outlet one after the other; an event that fails delays the later ones of its outlet.
    PerOutlet,
    /// One after the other; an event that fails delays all later ones until it is delivered or given up.
    Ordered,
}

/// How long an event is tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeliverySchedule)]
pub enum Schedule {
    /// Five more times, within about an hour.
    #[default]
    Short,
    /// Nine more times, over about three days, as the Standard Webhooks specification proposes.
    Long,
}

const SHORT_MS: [u64; 5] = [5 * SECOND, 25 * SECOND, 2 * MINUTE, 10 * MINUTE, 50 * MINUTE];
const LONG_MS: [u64; 9] = [
    5 * SECOND,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
];

impl Schedule {
    /// The pauses before the second attempt, the third, and so on.
    #[must_use]
    pub fn delays_ms(self) -> Vec<u64> {
        match self {
            Self::Short => SHORT_MS.to_vec(),
            Self::Long => LONG_MS.to_vec(),
        }
    }
}

/// What a destination's state machine goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The order.
    pub mode: Mode,
    /// The pauses before further attempts; there are as many.
    pub delays_ms: Vec<u64>,
    /// Messages a second at most.
    pub per_second: u32,
    /// One that has failed for so long is given up as a whole.
    pub failing_ms_max: u64,
    /// What it failed before, does not count: somebody has resumed it then.
    pub since_ms: u64,
}

impl Policy {
    /// Five days of failing end it.
    #[must_use]
    pub fn new(mode: Mode, delays_ms: Vec<u64>, per_second: u32) -> Self {
        let per_second = per_second.clamp(*PER_SECOND.start(), *PER_SECOND.end());
        Self { mode, delays_ms, per_second, failing_ms_max: 5 * 24 * HOUR, since_ms: 0 }
    }
}

/// A pause with up to a fifth more or less of it: what failed together is not tried again together.
#[must_use]
pub fn jittered(pause_ms: u64, random: u64) -> u64 {
    let spread = pause_ms / 5 * 2;
    let less = pause_ms - pause_ms / 5;
    if spread == 0 { pause_ms } else { less + random % (spread + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_varies_by_a_fifth() {
        for random in [0, 1, 7_777, u64::MAX] {
            let pause = jittered(5_000, random);
            assert!((4_000..=6_000).contains(&pause), "{pause}");
        }
        assert_eq!((jittered(5_000, 0), jittered(5_000, 2_000), jittered(3, 9)), (4_000, 6_000, 3));
        assert_ne!(jittered(5_000, 1), jittered(5_000, 2));
    }

    #[test]
    fn schedules_only_get_longer() {
        for schedule in [Schedule::Short, Schedule::Long] {
            assert!(schedule.delays_ms().is_sorted());
        }
        assert_eq!(Schedule::Short.delays_ms().len(), 5);
    }
}
