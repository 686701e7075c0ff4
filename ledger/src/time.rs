//! Moments, as UTC milliseconds since 1970, and their ISO 8601 spelling.

use std::fmt;

const DAY_MS: u64 = 86_400_000;
/// Days from 0000-03-01 to 1970-01-01, with which the civil calendar is computed.
const EPOCH_DAYS: u64 = 719_468;
const ERA_DAYS: u64 = 146_097;

/// A moment. It is always given: the core has no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct UnixMs(u64);

impl UnixMs {
    /// The last moment that four digits of a year can spell.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// The moment `ms` milliseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn new(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Reads `YYYY-MM-DDThh:mm:ss.sssZ` and nothing else.
    #[must_use]
    pub fn parse_canonical(text: &str) -> Option<Self> {
        let bytes: &[u8; 24] = text.as_bytes().try_into().ok()?;
        let spelled = bytes[10] == b'T' && bytes[19] == b'.' && bytes[23] == b'Z';
        let millis = number(&bytes[20..23])?;
        let seconds = civil_seconds(bytes.first_chunk()?)?;
        let ms = seconds.checked_mul(1_000)?.checked_add(millis)?;
        spelled.then_some(Self(ms))
    }

    /// Reads any RFC 3339 time from 1970 to 9999 in UTC: with any offset, and with up to nine digits of a
    /// second, of which milliseconds are kept.
    #[must_use]
    pub fn parse_lenient(text: &str) -> Option<Self> {
        let (date_time, rest) = text.as_bytes().split_first_chunk::<19>()?;
        if !matches!(date_time[10], b'T' | b't') {
            return None;
        }
        let seconds = civil_seconds(date_time)?;
        let (millis, zone) = split_fraction(rest)?;
        let local = i64::try_from(seconds.checked_mul(1_000)?.checked_add(millis)?).ok()?;
        let utc = local.checked_sub(zone_offset_ms(zone)?)?;
        u64::try_from(utc).ok().map(Self).filter(|moment| *moment <= Self::MAX)
    }
}

impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.spelled()).unwrap_or_default())
    }
}

impl UnixMs {
    /// The canonical spelling. Years have four digits; `MAX` stands for all later moments.
    fn spelled(self) -> [u8; 24] {
        let (days, ms) = (self.min(Self::MAX).0 / DAY_MS, self.min(Self::MAX).0 % DAY_MS);
        let (year, month, day) = civil_from_days(days);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let fields = [
            (0, 4, year),
            (5, 2, month),
            (8, 2, day),
            (11, 2, ms / 3_600_000),
            (14, 2, ms / 60_000 % 60),
            (17, 2, ms / 1_000 % 60),
            (20, 3, ms % 1_000),
        ];
        for (start, digits, mut value) in fields {
            for place in text[start..start + digits].iter_mut().rev() {
                *place = b'0' + u8::try_from(value % 10).unwrap_or(0);
                value /= 10;
            }
        }
        text
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| {
        digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0'))
    })
}

/// Seconds since 1970 of `YYYY-MM-DD?hh:mm:ss`, the byte between date and time being the caller's.
fn civil_seconds(text: &[u8; 19]) -> Option<u64> {
    if text[4] != b'-' || text[7] != b'-' || text[13] != b':' || text[16] != b':' {
        return None;
    }
    let (year, month, day) = (number(&text[0..4])?, number(&text[5..7])?, number(&text[8..10])?);
    let (hour, minute) = (number(&text[11..13])?, number(&text[14..16])?);
    let second = number(&text[17..19])?;
    if year < 1970 || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn days_in_month(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Years start in March here, so that the leap day comes last.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * ERA_DAYS + day_of_era - EPOCH_DAYS
}

fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_DAYS;
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let leap_days = day_of_era / 1_460 + day_of_era / 146_096;
    let year_of_era = (day_of_era + day_of_era / 36_524 - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day)
}

/// The milliseconds of an optional fraction, and what follows it.
fn split_fraction(rest: &[u8]) -> Option<(u64, &[u8])> {
    let Some(fraction) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let mut millis = [b'0'; 3];
    for (milli, digit) in millis.iter_mut().zip(&fraction[..digits]) {
        *milli = *digit;
    }
    Some((number(&millis)?, &fraction[digits..]))
}

fn zone_offset_ms(zone: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match zone {
        b"Z" | b"z" => return Some(0),
        [b'+', h1, h2, b':', m1, m2] => (1, [*h1, *h2], [*m1, *m2]),
        [b'-', h1, h2, b':', m1, m2] => (-1, [*h1, *h2], [*m1, *m2]),
        _ => return None,
    };
    let (hours, minutes) = (number(&hours)?, number(&minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    Some(sign * i64::try_from((hours * 60 + minutes) * 60_000).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_times_are_read_in_one_spelling_only() {
        let rows = [
            ("1970-01-01T00:00:00.000Z", Some(0)),
            ("2026-02-01T00:00:00.000Z", Some(1_769_904_000_000)),
            ("2024-02-29T23:59:59.999Z", Some(1_709_251_199_999)),
            ("9999-12-31T23:59:59.999Z", Some(253_402_300_799_999)),
            ("2026-02-29T00:00:00.000Z", None),
            ("2100-02-29T00:00:00.000Z", None),
            ("2026-13-01T00:00:00.000Z", None),
            ("2026-01-32T00:00:00.000Z", None),
            ("2026-01-01T24:00:00.000Z", None),
            ("2026-01-01T00:00:60.000Z", None),
            ("1969-12-31T23:59:59.999Z", None),
            ("2026-01-01T00:00:00Z", None),
            ("2026-01-01T00:00:00.000+00:00", None),
            ("2026-01-01t00:00:00.000Z", None),
            ("2026-01-01T00:00:00,000Z", None),
            ("", None),
        ];
        for (text, ms) in rows {
            assert_eq!(UnixMs::parse_canonical(text).map(UnixMs::get), ms, "{text}");
            if let Some(ms) = ms {
                assert_eq!(UnixMs::new(ms).to_string(), text);
            }
        }
    }

    #[test]
    fn lenient_times_take_offsets_and_fractions() {
        let noon = 1_769_947_200_000;
        let rows = [
            ("2026-02-01T12:00:00Z", Some(noon)),
            ("2026-02-01T13:00:00+01:00", Some(noon)),
            ("2026-02-01T06:30:00-05:30", Some(noon)),
            ("2026-02-01T12:00:00.5Z", Some(noon + 500)),
            ("2026-02-01T12:00:00.123456789Z", Some(noon + 123)),
            ("2026-02-01T12:00:00.1234567890Z", None),
            ("2026-02-01T12:00:00.Z", None),
            ("2026-02-01T12:00:00", None),
            ("2026-02-01 12:00:00Z", None),
            ("2026-02-01T12:00:00+0100", None),
            ("2026-02-01T12:00:00+24:00", None),
            ("1970-01-01T00:30:00+01:00", None),
            ("9999-12-31T23:59:59.999Z", Some(UnixMs::MAX.get())),
            ("9999-12-31T23:59:59.999-00:01", None),
        ];
        for (text, ms) in rows {
            assert_eq!(UnixMs::parse_lenient(text).map(UnixMs::get), ms, "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_round_trips() {
        for day in 0..(2 * ERA_DAYS) {
            let moment = UnixMs::new(day * DAY_MS + 1);
            assert_eq!(UnixMs::parse_canonical(&moment.to_string()), Some(moment));
        }
    }
}
