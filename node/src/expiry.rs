//! When a node's certificate ends, and from when on people are told. Pure: time is an argument.
//!
//! Non-goals: the CA's certificate, and renewing anything; a node reads its files when it starts.

/// People hear of it so long before.
const WARNED_BEFORE_S: i64 = 30 * DAY_S;
const DAY_S: i64 = 86_400;

/// What to tell of a certificate whose last second is `ends_s`, when it is time to.
pub(crate) fn warning(ends_s: i64, now_s: i64) -> Option<String> {
    let left = ends_s.saturating_sub(now_s);
    let what = match left {
        ..0 => "has ended: nobody new connects".to_owned(),
        0..DAY_S => "ends within a day".to_owned(),
        DAY_S..=WARNED_BEFORE_S => format!("ends in less than {} days", left / DAY_S + 1),
        _ => return None,
    };
    Some(format!("its certificate {what}; issue another one and restart the node"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_from_thirty_days_before_the_end() {
        let now = 1_800_000_000_i64;
        for (left, told) in [
            (WARNED_BEFORE_S + 1, None),
            (WARNED_BEFORE_S, Some("ends in less than 31 days;")),
            (2 * DAY_S - 1, Some("ends in less than 2 days;")),
            (DAY_S - 1, Some("ends within a day;")),
            (0, Some("ends within a day;")),
            (-1, Some("has ended:")),
            (i64::MIN, Some("has ended:")),
        ] {
            let said = warning(now.saturating_add(left), now);
            assert_eq!(said.is_some(), told.is_some(), "{left}: {said:?}");
            let said = said.unwrap_or_default();
            assert!(said.contains(told.unwrap_or_default()), "{left}: {said}");
        }
    }
}
