//! How often and how fast the log was synced.

/// Upper bounds, in microseconds, of the buckets of [`SyncStats::buckets`]; the last has none.
pub const SYNC_BUCKETS_US: [u64; 15] = [
    50, 100, 200, 400, 800, 1_500, 3_000, 6_000, 12_000, 25_000, 50_000, 100_000, 250_000,
    1_000_000, 5_000_000,
];

/// Counts since the log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncStats {
    /// Syncs of log segments.
    pub syncs: u64,
    /// Microseconds spent in them.
    pub sync_us: u64,
    /// How many took how long; see [`SYNC_BUCKETS_US`].
    pub buckets: [u64; SYNC_BUCKETS_US.len() + 1],
    /// Bytes written to the log, zeros of new segments left out.
    pub bytes_written: u64,
}

impl SyncStats {
    pub(super) fn synced(&mut self, micros: u64) {
        self.syncs += 1;
        self.sync_us += micros;
        let bucket = SYNC_BUCKETS_US.partition_point(|bound| *bound < micros);
        self.buckets[bucket] += 1;
    }
}
