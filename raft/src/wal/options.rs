//! The limits of the log, each named with its unit.

use std::fmt;
use std::sync::Arc;

#[cfg(all(not(test), feature = "planted-bugs"))]
use fiscus_ledger::planted::{Bug, is_planted};

use super::error::WalError;

/// Called once, from whoever drives the log, with the error that poisoned it. It must not call the
/// log itself.
pub type OnPoison = Arc<dyn Fn(&WalError) + Send + Sync>;

/// What to do about damage to bytes that were synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OpenMode {
    /// Refuse to open.
    #[default]
    Strict,
    /// Keep what can be trusted and mark the groups concerned as damaged.
    Salvage,
}

/// How a log is opened and run.
#[derive(Clone)]
pub struct WalOptions {
    /// Who this directory belongs to; another identity is refused.
    pub identity: u128,
    /// What to do about damage.
    pub mode: OpenMode,
    /// Size of a segment, written out as zeros ahead of use.
    pub segment_bytes: u64,
    /// Recent entries kept in memory, for all groups together.
    pub cache_bytes: usize,
    /// Operations that wait for their sync; over it callers wait.
    pub queue_bytes: usize,
    /// A group this many segments behind the head has its entries copied forward.
    pub lag_segments: usize,
    /// A lagging group with more entries than this is not copied but only reported.
    pub copy_entries_max: u64,
    /// A lagging group with more bytes than this is not copied but only reported.
    pub copy_bytes_max: u64,
    /// How long the log is idle before it writes a sync mark.
    pub idle_ms: u64,
    /// What to call when a failed write or sync stops the log.
    pub on_poison: Option<OnPoison>,
    /// A planted bug, for the test that shows that the crash tests find it.
    #[cfg(test)]
    pub(super) skip_sync: bool,
}

impl WalOptions {
    /// The defaults, for the directory of this identity.
    pub fn new(identity: u128) -> Self {
        Self {
            identity,
            mode: OpenMode::Strict,
            segment_bytes: 16 << 20,
            cache_bytes: 64 << 20,
            queue_bytes: 64 << 20,
            lag_segments: 8,
            copy_entries_max: 10_000,
            copy_bytes_max: 4 << 20,
            idle_ms: 10,
            on_poison: None,
            #[cfg(test)]
            skip_sync: false,
        }
    }

    pub(super) fn check(&self) -> Result<(), WalError> {
        let bounds = [
            ("segment_bytes", self.segment_bytes, 4 << 10, 1 << 30, "4 KiB to 1 GiB"),
            ("queue_bytes", self.queue_bytes as u64, 1 << 10, 1 << 30, "1 KiB to 1 GiB"),
            ("lag_segments", self.lag_segments as u64, 1, 1 << 20, "1 to 1048576"),
            ("copy_bytes_max", self.copy_bytes_max, 0, 1 << 28, "0 to 256 MiB"),
        ];
        for (option, value, least, most, allowed) in bounds {
            if value < least || value > most {
                return Err(WalError::Option { option, value, allowed });
            }
        }
        if !self.segment_bytes.is_multiple_of(512) {
            let (option, value) = ("segment_bytes", self.segment_bytes);
            return Err(WalError::Option { option, value, allowed: "a multiple of 512" });
        }
        Ok(())
    }

    /// Whether syncs are left out: never, but for the builds that plant this bug.
    pub(super) fn skips_sync(&self) -> bool {
        #[cfg(test)]
        return self.skip_sync;
        #[cfg(all(not(test), feature = "planted-bugs"))]
        return is_planted(Bug::AnswerBeforeSync);
        #[cfg(all(not(test), not(feature = "planted-bugs")))]
        false
    }
}

impl fmt::Debug for WalOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalOptions")
            .field("identity", &format_args!("{:032x}", self.identity))
            .field("mode", &self.mode)
            .field("segment_bytes", &self.segment_bytes)
            .field("cache_bytes", &self.cache_bytes)
            .field("queue_bytes", &self.queue_bytes)
            .field("lag_segments", &self.lag_segments)
            .field("copy_entries_max", &self.copy_entries_max)
            .field("copy_bytes_max", &self.copy_bytes_max)
            .field("idle_ms", &self.idle_ms)
            .finish_non_exhaustive()
    }
}
