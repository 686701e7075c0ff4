//! Times: UTC milliseconds since 1970, and their one spelling of 24 characters.

/// Reads `YYYY-MM-DDThh:mm:ss.sssZ`.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() != 24 {
        return None;
    }
    for (at, expected) in
        [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')]
    {
        if bytes[at] != expected {
            return None;
        }
    }
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().try_fold(0_u64, |value, digit| {
            digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0'))
        })
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second, ms) =
        (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
    let in_month = days_in_month(year, month)?;
    if year < 1970 || day == 0 || day > in_month || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_before_year(year)
        + (1..month).filter_map(|m| days_in_month(year, m)).sum::<u64>()
        + day
        - 1;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms)
}

/// Reads what people write in published tables: a day, a time with whole seconds, or the one spelling.
pub(crate) fn parse_published(text: &str) -> Option<u64> {
    match text.len() {
        10 => parse(&format!("{text}T00:00:00.000Z")),
        20 => parse(&format!("{}.000Z", text.strip_suffix('Z')?)),
        _ => parse(text),
    }
}

/// Writes what [`parse`] reads; none after the year 9999.
pub(crate) fn format(time_ms: u64) -> Option<String> {
    let (seconds, ms) = (time_ms / 1000, time_ms % 1000);
    let (mut days, of_day) = (seconds / 86_400, seconds % 86_400);
    // A guess that is never too late, and at most a few years too early.
    let mut year = 1970 + days / 366;
    while days_before_year(year + 1) <= days {
        year += 1;
    }
    if year > 9999 {
        return None;
    }
    days -= days_before_year(year);
    let mut month = 1;
    while let Some(length) = days_in_month(year, month).filter(|length| *length <= days) {
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    Some(format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z", days + 1))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in_month(year: u64, month: u64) -> Option<u64> {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if is_leap(year) { 29 } else { 28 }),
        _ => None,
    }
}

/// Days from 1970 to the start of a year that is not before it.
fn days_before_year(year: u64) -> u64 {
    let leaps = |before: u64| before / 4 - before / 100 + before / 400;
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_spelling() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("2026-02-01T08:30:00.123Z", 1_769_934_600_123),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ] {
            assert_eq!(parse(text), Some(ms), "{text}");
            assert_eq!(format(ms).as_deref(), Some(text));
        }
        for wrong in [
            "2026-02-29T00:00:00.000Z",
            "2026-13-01T00:00:00.000Z",
            "2026-00-01T00:00:00.000Z",
            "2026-01-00T00:00:00.000Z",
            "2026-01-01T24:00:00.000Z",
            "2026-01-01T00:00:60.000Z",
            "2026-01-01 00:00:00.000Z",
            "2026-01-01T00:00:00.000z",
            "1969-12-31T00:00:00.000Z",
            "2026-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        for day in 0..50_000 {
            let ms = day * 86_400_000;
            assert_eq!(format(ms).and_then(|text| parse(&text)), Some(ms));
        }
    }
}
