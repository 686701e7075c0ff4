//! Sets of fiscal numbers, kept as sorted, disjoint, non-adjacent ranges.

use crate::codec::{DecodeError, Reader, Writer};

/// A set of numbers. Equal sets have equal ranges and so equal bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeSet {
    ranges: Vec<(u64, u64)>,
}

impl RangeSet {
    /// The ranges, first and last number of each.
    #[must_use]
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    /// How many numbers are in the set.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether a number is in the set.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= number);
        after > 0 && self.ranges[after - 1].1 >= number
    }

    /// Adds a number. Extending the last range, which is what a seal does, costs nothing.
    pub fn insert(&mut self, number: u64) {
        self.insert_range(number, number);
    }

    /// Adds all numbers from `first` to `last`.
    pub fn insert_range(&mut self, first: u64, last: u64) {
        if let Some(end) = self.ranges.last_mut()
            && end.1.checked_add(1) == Some(first)
        {
            end.1 = last;
            return;
        }
        let from = self.ranges.partition_point(|range| range.1.saturating_add(1) < first);
        let to = self.ranges.partition_point(|range| range.0 <= last.saturating_add(1));
        let mut merged = (first, last);
        for range in &self.ranges[from..to] {
            merged = (merged.0.min(range.0), merged.1.max(range.1));
        }
        self.ranges.splice(from..to, [merged]);
    }

    /// Takes a number out. Says whether it was there.
    pub fn remove(&mut self, number: u64) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= number);
        let Some(at) = after.checked_sub(1).filter(|at| self.ranges[*at].1 >= number) else {
            return false;
        };
        let (first, last) = self.ranges[at];
        let left = (first < number).then(|| (first, number - 1));
        let right = (number < last).then(|| (number + 1, last));
        self.ranges.splice(at..=at, left.into_iter().chain(right));
        true
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.len(self.ranges.len());
        for (first, last) in &self.ranges {
            out.u64(*first).u64(*last);
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = from.len("number ranges")?;
        let mut set = Self::default();
        for _ in 0..length {
            let (first, last) = (from.u64("range start")?, from.u64("range end")?);
            let ordered = set.ranges.last().is_none_or(|end| end.1.saturating_add(1) < first);
            if !ordered || first > last {
                return Err(DecodeError::Invalid("number ranges"));
            }
            set.ranges.push((first, last));
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn agrees_with_a_plain_set_of_numbers() {
        let mut set = RangeSet::default();
        let mut model = BTreeSet::new();
        let mut state = 7_u64;
        for _ in 0..5_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let number = (state >> 33) % 60 + 1;
            match (state >> 20) % 3 {
                0 => assert_eq!(set.remove(number), model.remove(&number)),
                1 => {
                    set.insert(number);
                    model.insert(number);
                }
                _ => {
                    set.insert_range(number, number + 3);
                    model.extend(number..=number + 3);
                }
            }
            let listed: Vec<u64> = set.ranges().iter().flat_map(|(a, b)| *a..=*b).collect();
            assert_eq!(listed, model.iter().copied().collect::<Vec<_>>());
            assert!(set.ranges().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            assert_eq!(set.contains(number), model.contains(&number));
            let mut out = Writer::new();
            set.encode(&mut out);
            assert_eq!(RangeSet::decode(&mut Reader::new(out.as_bytes())), Ok(set.clone()));
        }
    }
}
