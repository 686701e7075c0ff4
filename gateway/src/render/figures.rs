//! Numbers and times as people read them. Nothing is computed: a figure is its canonical text with
//! other signs between its digits.

use fiscus_ledger::money::Rate;
use fiscus_ledger::time::UnixMs;

use super::Language;

/// Keeps a figure on one line.
const NO_BREAK_SPACE: char = '\u{a0}';

impl Language {
    /// `1234567.50` with its thousands apart: `1 234 567,50`, or `1,234,567.50`.
    pub(super) fn figure(self, canonical: &str) -> String {
        let (thousands, point) = match self {
            Self::French => (NO_BREAK_SPACE, ','),
            Self::English => (',', '.'),
        };
        let (sign, digits) = match canonical.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", canonical),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (digits, None),
        };
        let mut text = String::with_capacity(canonical.len() + 8);
        text.push_str(sign);
        let length = whole.chars().count();
        for (place, digit) in whole.chars().enumerate() {
            if place > 0 && (length - place).is_multiple_of(3) {
                text.push(thousands);
            }
            text.push(digit);
        }
        if let Some(fraction) = fraction {
            text.push(point);
            text.push_str(fraction);
        }
        text
    }

    /// An amount and its currency.
    pub(crate) fn money(self, canonical: &str, currency: &str) -> String {
        format!("{}{NO_BREAK_SPACE}{currency}", self.figure(canonical))
    }

    /// `16 %`, or `16%`.
    pub(super) fn percent(self, rate: Rate) -> String {
        let hundredths = rate.ten_thousandths();
        let decimals = format!("{}.{:02}", hundredths / 100, hundredths % 100);
        let trimmed = self.figure(decimals.trim_end_matches('0').trim_end_matches('.'));
        match self {
            Self::French => format!("{trimmed}{NO_BREAK_SPACE}%"),
            Self::English => format!("{trimmed}%"),
        }
    }

    /// A moment to the second, in UTC and saying so.
    pub(crate) fn moment(self, time: UnixMs) -> String {
        let text = time.to_string();
        let (year, month, day, clock) = (&text[..4], &text[5..7], &text[8..10], &text[11..19]);
        match self {
            Self::French => format!("{day}/{month}/{year} {clock} UTC"),
            Self::English => format!("{year}-{month}-{day} {clock} UTC"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_every_digit() {
        for (canonical, french, english) in [
            ("0.00", "0,00", "0.00"),
            ("999.99", "999,99", "999.99"),
            ("1000.00", "1\u{a0}000,00", "1,000.00"),
            ("-1234567.05", "-1\u{a0}234\u{a0}567,05", "-1,234,567.05"),
            (
                "10000000000000.00",
                "10\u{a0}000\u{a0}000\u{a0}000\u{a0}000,00",
                "10,000,000,000,000.00",
            ),
            ("1.5", "1,5", "1.5"),
            ("12345", "12\u{a0}345", "12,345"),
        ] {
            assert_eq!(Language::French.figure(canonical), french);
            assert_eq!(Language::English.figure(canonical), english);
        }
    }

    #[test]
    fn rates_and_moments() {
        let rate = |value| Rate::from_ten_thousandths(value).unwrap();
        assert_eq!(Language::French.percent(rate(1_600)), "16\u{a0}%");
        assert_eq!(Language::English.percent(rate(1_625)), "16.25%");
        assert_eq!(Language::English.percent(rate(0)), "0%");
        assert_eq!(Language::English.percent(rate(10_000)), "100%");
        let time = UnixMs::parse_canonical("2026-11-20T09:30:01.123Z").unwrap();
        assert_eq!(Language::French.moment(time), "20/11/2026 09:30:01 UTC");
        assert_eq!(Language::English.moment(time), "2026-11-20 09:30:01 UTC");
    }
}
