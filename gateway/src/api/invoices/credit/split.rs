//! Dividing an amount so that the rounded shares of its parts come to a wanted sum.

/// A share of an amount: `× numerator ÷ denominator`, rounded half-up to the minor unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) numerator: i128,
    pub(super) denominator: i128,
}

/// Parts that are looked at for their rounding; beyond, the roundings repeat themselves.
const PART_MAX: i128 = 1_000;

impl Share {
    pub(super) fn of(self, amount: i128) -> i128 {
        (amount * self.numerator + self.denominator / 2) / self.denominator
    }

    /// What rounding makes more of an amount's share, in parts of the denominator.
    fn gain(self, amount: i128) -> i128 {
        self.of(amount) * self.denominator - amount * self.numerator
    }

    /// Parts of `total` whose shares come to `wanted`; none when so many parts cannot.
    ///
    /// Each small part moves the sum of the roundings by less than a unit, so the sum passes by no unit.
    pub(super) fn split(self, total: i128, wanted: i128, parts_max: usize) -> Option<Vec<i128>> {
        if self.of(total) == wanted {
            return Some(vec![total]);
        }
        let (mut rest, mut left) = (total, wanted);
        let mut parts = Vec::new();
        let more = wanted > self.of(total);
        let best = |most: i128| {
            let parts = 1..=most.min(PART_MAX);
            if more {
                parts.max_by_key(|part| (self.gain(*part), -part))
            } else {
                parts.min_by_key(|part| (self.gain(*part), *part))
            }
        };
        let mut part = best(rest - 1)?;
        while self.of(rest) != left {
            if part >= rest {
                part = best(rest - 1)?;
            }
            let gain = self.gain(part);
            let helps = if more { gain > 0 } else { gain < 0 };
            if !helps || parts.len() + 1 >= parts_max {
                return None;
            }
            parts.push(part);
            rest -= part;
            left -= self.of(part);
        }
        parts.push(rest);
        Some(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: Share = Share { numerator: 1_600, denominator: 10_000 };

    fn check(share: Share, total: i128, wanted: i128) {
        let parts = share.split(total, wanted, 200).expect("it can be divided");
        assert_eq!(parts.iter().sum::<i128>(), total);
        assert_eq!(parts.iter().map(|part| share.of(*part)).sum::<i128>(), wanted);
        assert!(parts.iter().all(|part| *part > 0), "{parts:?}");
    }

    #[test]
    fn parts_come_to_what_is_wanted() {
        let natural = STANDARD.of(12_345);
        for wanted in natural - 20..natural + 20 {
            check(STANDARD, 12_345, wanted);
        }
        let inclusive = Share { numerator: 10_000, denominator: 11_600 };
        let natural = inclusive.of(99_999);
        for wanted in natural - 20..natural + 20 {
            check(inclusive, 99_999, wanted);
        }
    }

    #[test]
    fn what_cannot_be_divided_so_is_told() {
        let exempt = Share { numerator: 0, denominator: 10_000 };
        assert_eq!(exempt.split(100, 0, 10), Some(vec![100]));
        assert_eq!(exempt.split(100, 1, 10), None, "no part of nothing is something");
        assert_eq!(STANDARD.split(1, 1, 10), None);
        assert_eq!(STANDARD.split(1, 0, 10), Some(vec![1]));
        assert_eq!(STANDARD.split(12_345, 0, 10), None, "that would take too many parts");
    }
}
