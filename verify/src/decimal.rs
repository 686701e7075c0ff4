//! Decimals in their canonical spelling, as whole numbers of their smallest unit.

/// The largest amount, in minor units.
pub(crate) const AMOUNT_MAX: i64 = 1_000_000_000_000_000;

/// A decimal with exactly `places` decimals, without sign.
pub(crate) fn fixed(text: &str, places: usize) -> Option<i64> {
    let (whole, fraction) = text.split_once('.')?;
    let canonical = fraction.len() == places && (whole == "0" || !whole.starts_with('0'));
    (canonical && (1..=16).contains(&whole.len())).then(|| digits(whole, fraction))?
}

/// An amount without sign, in minor units.
pub(crate) fn amount(text: &str) -> Option<i64> {
    fixed(text, 2).filter(|minor| *minor <= AMOUNT_MAX)
}

/// An amount that may be negative, but not `-0.00`.
pub(crate) fn signed_amount(text: &str) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(rest) => amount(rest).filter(|minor| *minor > 0).map(|minor| -minor),
        None => amount(text),
    }
}

/// A positive decimal with at most `places` decimals and no trailing zeros.
pub(crate) fn trimmed(text: &str, places: usize) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let canonical = fraction.len() <= places
        && !fraction.ends_with('0')
        && (fraction.is_empty() != text.contains('.'))
        && (whole == "0" || !whole.starts_with('0'))
        && (1..=13).contains(&whole.len());
    if !canonical {
        return None;
    }
    let scale = 10_i64.checked_pow(u32::try_from(places - fraction.len()).ok()?)?;
    digits(whole, fraction)?.checked_mul(scale).filter(|value| *value > 0)
}

fn digits(whole: &str, fraction: &str) -> Option<i64> {
    whole.bytes().chain(fraction.bytes()).try_fold(0_i64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// `value ÷ divisor` for values that are not negative, a half rounding up.
pub(crate) fn half_up(value: i128, divisor: i128) -> i128 {
    (2 * value + divisor).div_euclid(2 * divisor)
}

/// Two decimals, as reports print sums.
pub(crate) fn format_minor(minor: i128) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let minor = minor.unsigned_abs();
    format!("{sign}{}.{:02}", minor / 100, minor % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_each() {
        assert_eq!(amount("1160.00"), Some(116_000));
        assert_eq!(amount("0.05"), Some(5));
        assert_eq!(amount("10000000000000.00"), Some(AMOUNT_MAX));
        for wrong in [
            "",
            ".00",
            "00.10",
            "01.00",
            "1.0",
            "1",
            "1.000",
            "-1.00",
            "+1.00",
            "1,00",
            "10000000000000.01",
        ] {
            assert_eq!(amount(wrong), None, "{wrong}");
        }
        assert_eq!(signed_amount("-0.01"), Some(-1));
        assert_eq!(signed_amount("-0.00"), None);
        assert_eq!(trimmed("1.5", 3), Some(1500));
        assert_eq!(trimmed("3", 3), Some(3000));
        for wrong in ["0", "0.000", "1.50", "1.", ".5", "01", "1.2345", "-1"] {
            assert_eq!(trimmed(wrong, 3), None, "{wrong}");
        }
        assert_eq!(fixed("0.1600", 4), Some(1600));
    }

    #[test]
    fn halves_go_up() {
        assert_eq!(
            [half_up(4, 10), half_up(5, 10), half_up(15, 10), half_up(14, 10)],
            [0, 1, 2, 1]
        );
        assert_eq!([format_minor(-5), format_minor(123)], ["-0.05", "1.23"]);
    }
}
