//! Money and quantities as whole numbers of their smallest unit. Everything is exact: decimals are
//! read from their text, products are rounded half-up where the law says so, and overflow is an error.

use std::fmt;

/// Ten to a small power.
const POW10: [i128; 19] = {
    let mut powers = [1; 19];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// Why a decimal was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// It is not a decimal.
    #[error("is not a decimal number")]
    Malformed,
    /// It has more decimals than the field.
    #[error("has more decimals than the field holds")]
    TooPrecise,
    /// It is over the field's limit.
    #[error("is larger than the field allows")]
    TooLarge,
    /// It is spelled in another than the canonical way.
    #[error("is not in its canonical spelling")]
    NotCanonical,
}

/// Where a decimal comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalText<'a> {
    /// The text of a JSON number, which may have an exponent.
    Number(&'a str),
    /// The text of a JSON string, which may not.
    String(&'a str),
}

/// Reads a decimal in any spelling, exactly, as a whole number of `10^-decimals`.
pub fn parse_decimal(text: DecimalText<'_>, decimals: u8) -> Result<i128, DecimalError> {
    let (DecimalText::Number(plain) | DecimalText::String(plain)) = text;
    if let Some(value) = parse_plain(plain, usize::from(decimals)) {
        return Ok(i128::from(value));
    }
    let (text, exponent_allowed) = match text {
        DecimalText::Number(text) => (text, true),
        DecimalText::String(text) => (text, false),
    };
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) if exponent_allowed => (mantissa, parse_exponent(exponent)?),
        Some(_) => return Err(DecimalError::Malformed),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits_only = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits_only(whole) || !digits_only(fraction) || (whole.len() > 1 && whole.starts_with('0'))
    {
        return Err(DecimalError::Malformed);
    }
    let value = scale(whole, fraction.trim_end_matches('0'), exponent, decimals)?;
    Ok(if negative { -value } else { value })
}

/// The everyday decimal: no sign, no exponent, few digits. `None` says nothing about the text.
fn parse_plain(text: &str, decimals: usize) -> Option<u64> {
    let bytes = text.as_bytes();
    let whole = bytes.iter().position(|byte| *byte == b'.').unwrap_or(bytes.len());
    let fraction = bytes.get(whole + 1..).unwrap_or_default();
    let pointless = whole == bytes.len();
    let everyday = (1..=10).contains(&whole)
        && (pointless || (1..=decimals).contains(&fraction.len()))
        && (whole == 1 || bytes[0] != b'0')
        && decimals <= 6;
    if !everyday {
        return None;
    }
    let digit =
        |value: u64, byte: &u8| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0'));
    let value = bytes[..whole].iter().chain(fraction).try_fold(0, digit)?;
    (fraction.len()..decimals).try_fold(value, |value, _| value.checked_mul(10))
}

/// The exponent, or one that is certainly too large when it has many digits.
fn parse_exponent(text: &str) -> Result<i64, DecimalError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DecimalError::Malformed);
    }
    let significant = digits.trim_start_matches('0');
    let size = if significant.len() > 9 { 1_000_000_000 } else { significant.parse().unwrap_or(0) };
    Ok(if text.starts_with('-') { -size } else { size })
}

fn scale(whole: &str, fraction: &str, exponent: i64, decimals: u8) -> Result<i128, DecimalError> {
    let mut digits = format!("{whole}{fraction}");
    digits.drain(..digits.len() - digits.trim_start_matches('0').len());
    let fraction_digits = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let mut shift = i64::from(decimals) + exponent - fraction_digits;
    let trimmed = digits.trim_end_matches('0').len();
    shift += i64::try_from(digits.len() - trimmed).unwrap_or(0);
    digits.truncate(trimmed);
    if digits.is_empty() {
        return Ok(0);
    }
    if shift < 0 {
        return Err(DecimalError::TooPrecise);
    }
    let power = usize::try_from(shift).ok().and_then(|shift| POW10.get(shift));
    match power {
        Some(power) if digits.len() <= 19 => {
            let value: i128 = digits.parse().map_err(|_| DecimalError::Malformed)?;
            value.checked_mul(*power).ok_or(DecimalError::TooLarge)
        }
        _ => Err(DecimalError::TooLarge),
    }
}

/// Reads a decimal with exactly `decimals` decimals, in its one canonical spelling.
pub fn parse_fixed(text: &str, decimals: u8) -> Result<i128, DecimalError> {
    let places = usize::from(decimals);
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        all => (false, all),
    };
    let whole_digits = digits.len().checked_sub(places + 1).filter(|count| *count > 0);
    let Some(whole_digits) = whole_digits.filter(|count| *count <= 19) else {
        return Err(DecimalError::NotCanonical);
    };
    if digits[whole_digits] != b'.' || (digits[0] == b'0' && whole_digits > 1) {
        return Err(DecimalError::NotCanonical);
    }
    let (whole, fraction) = (&digits[..whole_digits], &digits[whole_digits + 1..]);
    if !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return Err(DecimalError::NotCanonical);
    }
    // Nineteen digits fit 64 bits, and so does any part of an amount.
    let number =
        |part: &[u8]| part.iter().fold(0, |n: u64, digit| n * 10 + u64::from(digit - b'0'));
    let power = POW10.get(places).ok_or(DecimalError::NotCanonical)?;
    let value = i128::from(number(whole)) * power + i128::from(number(fraction));
    match (negative, value) {
        (true, 0) => Err(DecimalError::NotCanonical),
        (true, value) => Ok(-value),
        (false, value) => Ok(value),
    }
}

/// Reads a positive decimal with up to `decimals` decimals and no trailing zeros.
pub fn parse_trimmed(text: &str, decimals: u8) -> Result<i128, DecimalError> {
    let value = parse_decimal(DecimalText::String(text), decimals)?;
    let spelled = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !spelled || (text.contains('.') && text.ends_with('0')) {
        return Err(DecimalError::NotCanonical);
    }
    Ok(value)
}

/// `value ÷ divisor`, half a unit rounding away from zero. The divisor is positive.
pub(crate) fn divide_half_up(value: i128, divisor: i128) -> i128 {
    let half = if value < 0 { -(divisor / 2) } else { divisor / 2 };
    (value + half) / divisor
}

/// An amount of money in minor units: at most 10^15 either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i64);

impl Amount {
    /// The largest amount, in minor units.
    pub const MAX_MINOR: i64 = 1_000_000_000_000_000;
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount of minor units, when it is within the limit.
    #[must_use]
    pub fn from_minor(minor: i64) -> Option<Self> {
        (-Self::MAX_MINOR..=Self::MAX_MINOR).contains(&minor).then_some(Self(minor))
    }

    /// The same from a wider sum or product.
    #[must_use]
    pub fn from_wide(minor: i128) -> Option<Self> {
        i64::try_from(minor).ok().and_then(Self::from_minor)
    }

    /// Minor units.
    #[must_use]
    pub fn minor(self) -> i64 {
        self.0
    }

    /// Minor units, for sums and products.
    #[must_use]
    pub fn wide(self) -> i128 {
        i128::from(self.0)
    }

    /// The sum, when it is within the limit.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Self::from_wide(self.wide() + other.wide())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(20);
        write_scaled(&mut text, self.wide(), 2, false);
        f.write_str(&text)
    }
}

/// How much is sold, in thousandths: more than 0, at most 10^15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(u64);

impl Quantity {
    /// The largest quantity, in thousandths.
    pub const MAX_THOUSANDTHS: u64 = 1_000_000_000_000_000;

    /// A quantity of thousandths.
    #[must_use]
    pub fn from_thousandths(thousandths: i128) -> Option<Self> {
        let value = u64::try_from(thousandths).ok()?;
        (1..=Self::MAX_THOUSANDTHS).contains(&value).then_some(Self(value))
    }

    /// Thousandths.
    #[must_use]
    pub fn thousandths(self) -> u64 {
        self.0
    }

    /// Quantity × price, rounded half-up to the minor unit, when it is within the limit.
    #[must_use]
    pub fn times(self, price: Amount) -> Option<Amount> {
        Amount::from_wide(divide_half_up(i128::from(self.0) * price.wide(), 1_000))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(20);
        write_scaled(&mut text, i128::from(self.0), 3, true);
        f.write_str(&text)
    }
}

/// A tax rate, in ten-thousandths: from 0 to 10 (1,000 %).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u32);

impl Rate {
    /// What 1 (100 %) is, in ten-thousandths.
    pub const ONE: u32 = 10_000;

    /// A rate of ten-thousandths.
    #[must_use]
    pub fn from_ten_thousandths(value: i128) -> Option<Self> {
        let value = u32::try_from(value).ok()?;
        (value <= 10 * Self::ONE).then_some(Self(value))
    }

    /// Ten-thousandths.
    #[must_use]
    pub fn ten_thousandths(self) -> u32 {
        self.0
    }

    /// The tax on a base, rounded half-up.
    #[must_use]
    pub fn of(self, base: Amount) -> Option<Amount> {
        Amount::from_wide(divide_half_up(base.wide() * i128::from(self.0), i128::from(Self::ONE)))
    }

    /// The base in a gross amount, rounded half-up: gross ÷ (1 + rate).
    #[must_use]
    pub fn base_in(self, gross: Amount) -> Option<Amount> {
        let one = i128::from(Self::ONE);
        Amount::from_wide(divide_half_up(gross.wide() * one, one + i128::from(self.0)))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(8);
        write_scaled(&mut text, i128::from(self.0), 4, false);
        f.write_str(&text)
    }
}

/// How many units of the reporting currency one unit is, in millionths: more than 0, at most 10^15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FxRate(u64);

impl FxRate {
    /// The largest rate, in millionths.
    pub const MAX_MILLIONTHS: u64 = 1_000_000_000_000_000;

    /// A rate of millionths.
    #[must_use]
    pub fn from_millionths(value: i128) -> Option<Self> {
        let value = u64::try_from(value).ok()?;
        (1..=Self::MAX_MILLIONTHS).contains(&value).then_some(Self(value))
    }

    /// An amount in the reporting currency, rounded half-up, when it is within the limit.
    #[must_use]
    pub fn convert(self, amount: Amount) -> Option<Amount> {
        Amount::from_wide(divide_half_up(amount.wide() * i128::from(self.0), 1_000_000))
    }
}

impl fmt::Display for FxRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(20);
        write_scaled(&mut text, i128::from(self.0), 6, true);
        f.write_str(&text)
    }
}

/// Spells a sum of minor units with two decimals.
#[must_use]
pub fn format_minor(minor: i128) -> String {
    let mut text = String::with_capacity(24);
    write_scaled(&mut text, minor, 2, false);
    text
}

/// Spells `value × 10^-decimals`; with `trim`, without trailing zeros. There is no negative zero.
pub(crate) fn write_scaled(out: &mut String, value: i128, decimals: usize, trim: bool) {
    let mut digits = [0_u8; 40];
    let mut start = digits.len();
    let mut rest = value.unsigned_abs();
    while rest > 0 || digits.len() - start <= decimals {
        start -= 1;
        // Nearly every amount fits 64 bits, whose division is many times faster.
        let digit = if let Ok(small) = u64::try_from(rest) {
            rest = u128::from(small / 10);
            small % 10
        } else {
            let digit = rest % 10;
            rest /= 10;
            u64::try_from(digit).unwrap_or(0)
        };
        digits[start] = b'0' + u8::try_from(digit).unwrap_or(0);
    }
    let point = digits.len() - decimals;
    let mut end = digits.len();
    if trim {
        while end > point && digits[end - 1] == b'0' {
            end -= 1;
        }
    }
    if value < 0 {
        out.push('-');
    }
    let push = |out: &mut String, part: &[u8]| {
        out.push_str(std::str::from_utf8(part).unwrap_or_default());
    };
    push(out, &digits[start..point]);
    if end > point {
        out.push('.');
        push(out, &digits[point..end]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DecimalError::{Malformed, NotCanonical, TooLarge, TooPrecise};

    #[test]
    fn decimals_are_read_exactly_from_their_text() {
        let number = |text| parse_decimal(DecimalText::Number(text), 2);
        let string = |text| parse_decimal(DecimalText::String(text), 2);
        for (text, expected) in [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("-0.00", Ok(0)),
            ("1", Ok(100)),
            ("1.1", Ok(110)),
            ("1.10", Ok(110)),
            ("1.1000000000000000000000000000000000000000000000", Ok(110)),
            ("1.005", Err(TooPrecise)),
            ("0.000000000000000000000000000000000000000000001", Err(TooPrecise)),
            ("10000000000000.00", Ok(1_000_000_000_000_000)),
            ("99999999999999999999999999999999999999999999", Err(TooLarge)),
            ("-5", Ok(-500)),
            ("", Err(Malformed)),
            ("-", Err(Malformed)),
            ("+1", Err(Malformed)),
            (".5", Err(Malformed)),
            ("5.", Err(Malformed)),
            ("007", Err(Malformed)),
            ("1,5", Err(Malformed)),
            (" 1", Err(Malformed)),
            ("0x10", Err(Malformed)),
            ("NaN", Err(Malformed)),
            ("١", Err(Malformed)),
        ] {
            assert_eq!(string(text), expected, "{text}");
            assert_eq!(number(text), expected, "{text}");
        }
        for (text, expected) in [
            ("1e3", Ok(100_000)),
            ("1E+3", Ok(100_000)),
            ("1.5e1", Ok(1_500)),
            ("1500e-2", Ok(1_500)),
            ("1e-2", Ok(1)),
            ("1e-3", Err(TooPrecise)),
            ("0e999999999999", Ok(0)),
            ("1e400", Err(TooLarge)),
            ("1e-400", Err(TooPrecise)),
            ("1e99999999999999999999", Err(TooLarge)),
            ("1e", Err(Malformed)),
            ("1e+", Err(Malformed)),
            ("1e1.5", Err(Malformed)),
        ] {
            assert_eq!(number(text), expected, "{text}");
            assert_eq!(string(text), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn canonical_spellings_are_the_only_ones() {
        for (text, expected) in [
            ("1160.00", Ok(116_000)),
            ("0.00", Ok(0)),
            ("-0.01", Ok(-1)),
            ("-0.00", Err(NotCanonical)),
            ("01.00", Err(NotCanonical)),
            ("1.0", Err(NotCanonical)),
            ("1.000", Err(NotCanonical)),
            ("1", Err(NotCanonical)),
            (".00", Err(NotCanonical)),
            ("1..0", Err(NotCanonical)),
            ("--1.00", Err(NotCanonical)),
            ("", Err(NotCanonical)),
        ] {
            assert_eq!(parse_fixed(text, 2), expected, "{text}");
        }
        for (text, expected) in [
            ("1", Ok(1_000)),
            ("1.5", Ok(1_500)),
            ("0.001", Ok(1)),
            ("1.50", Err(NotCanonical)),
            ("1.0", Err(NotCanonical)),
            ("10", Ok(10_000)),
            ("0.0001", Err(TooPrecise)),
            ("-1", Err(NotCanonical)),
        ] {
            assert_eq!(parse_trimmed(text, 3), expected, "{text}");
        }
    }

    #[test]
    fn halves_round_away_from_zero() {
        for (value, divisor, expected) in
            [(5, 10, 1), (4, 10, 0), (15, 10, 2), (-5, 10, -1), (-4, 10, 0), (0, 7, 0)]
        {
            assert_eq!(divide_half_up(value, divisor), expected, "{value} / {divisor}");
        }
        let price = Amount::from_minor(1).unwrap();
        assert_eq!(Quantity::from_thousandths(500).unwrap().times(price).unwrap().minor(), 1);
        assert_eq!(Quantity::from_thousandths(499).unwrap().times(price).unwrap().minor(), 0);
    }

    #[test]
    fn limits_and_spellings() {
        assert_eq!(Amount::from_minor(Amount::MAX_MINOR).unwrap().to_string(), "10000000000000.00");
        assert_eq!(Amount::from_minor(Amount::MAX_MINOR + 1), None);
        assert_eq!(Amount::from_minor(-5).unwrap().to_string(), "-0.05");
        assert_eq!(format_minor(0), "0.00");
        assert_eq!(format_minor(i128::MAX), "1701411834604692317316873037158841057.27");
        assert_eq!(Quantity::from_thousandths(1_500).unwrap().to_string(), "1.5");
        assert_eq!(Quantity::from_thousandths(10_000).unwrap().to_string(), "10");
        assert_eq!(Quantity::from_thousandths(0), None);
        assert_eq!(Rate::from_ten_thousandths(1_600).unwrap().to_string(), "0.1600");
        assert_eq!(FxRate::from_millionths(2_850_500_000).unwrap().to_string(), "2850.5");
    }
}
