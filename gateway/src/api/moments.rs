//! Times in parameters and bodies: a moment, or a whole day.

use fiscus_ledger::time::UnixMs;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Which end of a range a time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// The range begins with it.
    First,
    /// The range ends before it; with a day, at the end of it.
    Last,
}

/// Reads an RFC 3339 time or a day in UTC.
pub(super) fn moment(text: &str, bound: Bound) -> Option<UnixMs> {
    if text.len() == "2026-11-28".len() {
        let begin = UnixMs::parse_lenient(&format!("{text}T00:00:00Z"))?;
        return Some(match bound {
            Bound::First => begin,
            Bound::Last => UnixMs::new(begin.get() + DAY_MS),
        });
    }
    UnixMs::parse_lenient(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_whole_and_a_time_is_a_moment() {
        let told = |text, bound| moment(text, bound).map(|moment| moment.to_string());
        assert_eq!(told("2026-11-28", Bound::First).as_deref(), Some("2026-11-28T00:00:00.000Z"));
        assert_eq!(told("2026-11-28", Bound::Last).as_deref(), Some("2026-11-29T00:00:00.000Z"));
        assert_eq!(
            told("2026-11-28T01:00:00+01:00", Bound::Last).as_deref(),
            Some("2026-11-28T00:00:00.000Z")
        );
        for text in ["", "yesterday", "2026-13-01", "2026-11-281"] {
            assert_eq!(told(text, Bound::First), None, "{text}");
        }
    }
}
