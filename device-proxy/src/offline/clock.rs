//! The time of offline seals: the cluster's as it was heard last, carried on by this machine's clocks.
//!
//! ```text
//! while the process lives:  heard + what the machine has been up since      a wall clock that goes back is told
//! after a restart:          wall clock + (heard − wall clock then)          checked against the last time on the disk
//! ```
//!
//! A wall clock that is set forward while the power is off cannot be told from a night that has passed: such seals
//! carry a later time, stay within the credential's window, and are delivered when the cluster's time has passed them.

use std::time::{SystemTime, UNIX_EPOCH};

use fiscus_ledger::time::UnixMs;

/// Clocks of two machines, and of one before and after a correction, differ by so much without anybody's doing.
const TOLERANCE_MS: u64 = 2_000;

/// What the machine's clocks say at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The wall clock, Unix milliseconds.
    pub(crate) wall_ms: u64,
    /// Since the machine started, sleep included; never goes back while the process lives.
    pub(crate) up_ms: u64,
}

impl Moment {
    /// Now.
    pub(crate) fn now() -> Self {
        // A machine whose clock lies before 1970 has one that is wrong like any other.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let up_s = u64::try_from(up.tv_sec).unwrap_or(0);
        let up_ms = u64::try_from(up.tv_nsec / 1_000_000).unwrap_or(0);
        Self {
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            up_ms: up_s.saturating_mul(1_000).saturating_add(up_ms),
        }
    }
}

/// The clock was set back: the time that it shows lies before one that is known to have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SetBack {
    pub(crate) shown: UnixMs,
    pub(crate) known: UnixMs,
}

/// The time, and what it may never go behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock {
    /// A moment of this process and the time that it was.
    from: Moment,
    time_ms: u64,
    /// The latest time that is known to have passed.
    guard_ms: u64,
}

impl Clock {
    /// The clock of a new process, from what the disk says: the difference to the wall clock when the cluster was
    /// heard last, and the latest time.
    pub(crate) fn new(now: Moment, ahead_ms: i64, guard_ms: u64) -> Self {
        Self { from: now, time_ms: now.wall_ms.saturating_add_signed(ahead_ms), guard_ms }
    }

    /// The cluster tells its time. A group that had no leader for a while tells that of its last entry: what was sealed
    /// under here since has passed all the same, and the time goes on from there.
    pub(crate) fn hear(&mut self, group_ms: u64, now: Moment) {
        self.from = now;
        self.time_ms = group_ms.max(self.guard_ms);
        self.guard_ms = self.time_ms;
    }

    /// A time has passed: something was sealed in it.
    pub(crate) fn pass(&mut self, time_ms: u64) {
        self.guard_ms = self.guard_ms.max(time_ms);
    }

    /// The time, which is never before one that it told or was told.
    pub(crate) fn time(&self, now: Moment) -> Result<UnixMs, SetBack> {
        let since = now.up_ms.saturating_sub(self.from.up_ms);
        let time = self.time_ms.saturating_add(since);
        let wall = self.from.wall_ms.saturating_add(since);
        let gone_back = wall.saturating_sub(now.wall_ms);
        if gone_back > TOLERANCE_MS {
            let shown = UnixMs::new(time.saturating_sub(gone_back));
            return Err(SetBack { shown, known: UnixMs::new(time.max(self.guard_ms)) });
        }
        // A clock that was wrong when the process began, and was set right since, is believed again.
        let ahead = i128::from(self.time_ms) - i128::from(self.from.wall_ms);
        let shown = u64::try_from(i128::from(now.wall_ms) + ahead).unwrap_or(0);
        let behind = time.saturating_add(TOLERANCE_MS) < self.guard_ms;
        let time = if behind { time.max(shown) } else { time };
        if time.saturating_add(TOLERANCE_MS) < self.guard_ms {
            return Err(SetBack { shown: UnixMs::new(time), known: UnixMs::new(self.guard_ms) });
        }
        Ok(UnixMs::new(time.max(self.guard_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_ms: u64, up_ms: u64) -> Moment {
        Moment { wall_ms, up_ms }
    }

    #[test]
    fn the_time_goes_on_with_the_machine_whatever_the_wall_clock_says() {
        let mut clock = Clock::new(at(100_000, 5_000), 0, 0);
        assert_eq!(clock.time(at(101_000, 6_000)), Ok(UnixMs::new(101_000)));
        // The cluster is 30 seconds ahead of this machine.
        clock.hear(131_000, at(101_000, 6_000));
        assert_eq!(clock.time(at(102_000, 7_000)), Ok(UnixMs::new(132_000)));
        // Set forward: it does not matter. Set back: it is told.
        assert_eq!(clock.time(at(902_000, 7_000)), Ok(UnixMs::new(132_000)));
        let back = clock.time(at(92_000, 7_000)).unwrap_err();
        assert_eq!(back, SetBack { shown: UnixMs::new(122_000), known: UnixMs::new(132_000) });
    }

    /// A cluster that comes back for a moment, with the time of its last entry, does not stop the till when it goes again.
    #[test]
    fn a_time_that_stood_still_sets_nothing_back() {
        let mut clock = Clock::new(at(100_000, 5_000), 0, 0);
        clock.hear(100_000, at(100_000, 5_000));
        let sealed = clock.time(at(3_700_000, 3_605_000)).expect("an hour later");
        clock.pass(sealed.get());
        clock.hear(101_000, at(3_701_000, 3_606_000));
        assert_eq!(clock.time(at(3_701_000, 3_606_000)), Ok(sealed));
        assert_eq!(clock.time(at(3_704_000, 3_609_000)), Ok(UnixMs::new(3_703_000)));
        // And when it has caught up, its time is the time.
        clock.hear(3_710_000, at(3_708_000, 3_613_000));
        assert_eq!(clock.time(at(3_709_000, 3_614_000)), Ok(UnixMs::new(3_711_000)));
    }

    #[test]
    fn after_a_restart_the_disk_knows_how_late_it_is_at_least() {
        let guard = 500_000;
        let set_back = Clock::new(at(400_000, 100), 0, guard);
        assert!(set_back.time(at(400_000, 100)).is_err());
        // It was set right, or has caught up.
        assert_eq!(set_back.time(at(600_000, 200)), Ok(UnixMs::new(600_000)));
        assert_eq!(set_back.time(at(500_500, 100_600)), Ok(UnixMs::new(500_500)));
        // A clock that was corrected a little does not stop the till, and goes behind nothing either.
        let corrected = Clock::new(at(499_000, 100), 0, guard);
        assert_eq!(corrected.time(at(499_000, 100)), Ok(UnixMs::new(guard)));
        let ahead = Clock::new(at(400_000, 100), 120_000, guard);
        assert_eq!(ahead.time(at(400_000, 100)), Ok(UnixMs::new(520_000)));
    }
}
