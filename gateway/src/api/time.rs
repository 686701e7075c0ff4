//! Times as they are written and read.

use fiscus_ledger::time::UnixMs;

/// A time that is kept as 0 when there is none.
pub(super) fn when(ms: u64) -> Option<String> {
    (ms > 0).then(|| UnixMs::new(ms).to_string())
}
