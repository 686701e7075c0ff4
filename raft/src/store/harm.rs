//! Counts what a replica finds to be damaged, so that people hear of it and the right remedy follows.
//!
//! Invariant: what is counted here was never served. Non-goal: mending; a scrub does that, or whoever opens
//! the replica anew.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::replica::StoreError;

/// What was found to be damaged since a replica was opened.
#[derive(Debug)]
pub struct Harm {
    group: u64,
    met: AtomicU64,
    last: Mutex<Option<String>>,
    stopped_by: Mutex<Option<String>>,
}

impl Harm {
    pub(crate) fn of(group: u64) -> Self {
        Self { group, met: AtomicU64::new(0), last: Mutex::default(), stopped_by: Mutex::default() }
    }

    /// Notes an error when it is damage. The log hears of the first, the second, the fourth and so on:
    /// whoever asks for a damaged record usually asks again.
    pub fn note(&self, error: &StoreError) {
        if !error.is_damage() {
            return;
        }
        let met = self.met.fetch_add(1, Ordering::Relaxed) + 1;
        *self.last.lock().expect("no holder panics") = Some(error.to_string());
        if met.is_power_of_two() {
            tracing::error!(group = self.group, met, %error, "damage was met; nothing of it is served");
        }
    }

    /// Notes the damage that took the replica out of service.
    pub(crate) fn note_stop(&self, error: &StoreError) {
        self.note(error);
        self.stopped_by.lock().expect("no holder panics").get_or_insert_with(|| error.to_string());
    }

    /// How often damage was met.
    pub fn met(&self) -> u64 {
        self.met.load(Ordering::Relaxed)
    }

    /// The last damage that is not known to be mended.
    pub fn last(&self) -> Option<String> {
        self.last.lock().expect("no holder panics").clone()
    }

    /// The damage that took the replica out of service: built again, it can go on.
    pub fn stopped_by(&self) -> Option<String> {
        self.stopped_by.lock().expect("no holder panics").clone()
    }

    /// Everything was read and found to be right.
    pub fn forget(&self) {
        *self.last.lock().expect("no holder panics") = None;
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::SeriesError;

    #[test]
    fn only_damage_is_harm() {
        let io = StoreError::Io {
            doing: "read",
            path: PathBuf::from("x"),
            source: std::io::Error::other("no"),
        };
        let what = "a record".to_owned();
        let damaged = StoreError::Series(SeriesError::Damaged { path: PathBuf::from("x"), what });
        let harm = Harm::of(1);
        harm.note(&io);
        assert_eq!((harm.met(), harm.last()), (0, None));
        harm.note(&damaged);
        assert_eq!(
            (harm.met(), harm.last(), harm.stopped_by()),
            (1, Some(damaged.to_string()), None)
        );
        harm.note_stop(&damaged);
        harm.forget();
        assert_eq!((harm.met(), harm.last()), (2, None));
        assert_eq!(harm.stopped_by(), Some(damaged.to_string()));
    }
}
