//! Looks for records of many outlets at once, by their places in the tree, their times and kinds.
//!
//! ```text
//! time ─► leaves ─┐
//! leaves ─────────┼─► each outlet's first position in it ─► merged by leaf ─► records
//! ```
//!
//! Within an outlet positions, leaves and times rise together, and times never go back from leaf to leaf,
//! so every beginning is found by halving. Invariants: records come in the order of their leaves; a call
//! looks at a bounded number of records and bytes, and says where the next one goes on.

use std::collections::BinaryHeap;

use fiscus_ledger::record::{Record, RecordKind};

use crate::store::read::{FoundRecord, Reading};
use crate::store::replica::StoreError;

/// What one call does at most.
#[derive(Debug, Clone, Copy)]
pub struct FindLimits {
    /// Records in the answer.
    pub records: usize,
    /// Records or numbers looked at.
    pub looked_at: usize,
    /// Bytes of records in the answer, though there is always room for one.
    pub bytes: usize,
}

/// Which records.
#[derive(Debug, Clone)]
pub struct RecordQuery<'a> {
    /// Of these outlets.
    pub outlet_ids: &'a [String],
    /// From this leaf on.
    pub from_leaf: u64,
    /// Below this leaf; 0 for all that there are.
    pub below_leaf: u64,
    /// From the last to the first.
    pub descending: bool,
    /// Of these kinds; none for all.
    pub kinds: &'a [RecordKind],
    /// From this time on.
    pub from_ms: u64,
    /// Before this time; 0 for no end.
    pub until_ms: u64,
}

/// Which invoices of an outlet's main series.
#[derive(Debug, Clone)]
pub struct NumberQuery<'a> {
    /// The outlet.
    pub outlet_id: &'a str,
    /// From this number on.
    pub from: u64,
    /// Up to this one; 0 for all that there are.
    pub to: u64,
    /// From the last to the first.
    pub descending: bool,
    /// Only records below this leaf; 0 for all that there are.
    pub below_leaf: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The records.
    pub records: Vec<FoundRecord>,
    /// Where the next call goes on; nothing at the end.
    pub next: Option<u64>,
}

/// An answer that is filled until a bound is reached.
struct Filling {
    limits: FindLimits,
    looked_at: usize,
    bytes: usize,
    records: Vec<FoundRecord>,
}

impl Filling {
    fn new(limits: FindLimits) -> Self {
        Self { limits, looked_at: 0, bytes: 0, records: Vec::new() }
    }

    fn is_full(&self) -> bool {
        self.records.len() >= self.limits.records || self.looked_at >= self.limits.looked_at
    }

    /// Takes a record, unless it would be too many bytes.
    fn take(&mut self, found: FoundRecord) -> bool {
        self.bytes += found.record.len();
        if self.bytes > self.limits.bytes && !self.records.is_empty() {
            return false;
        }
        self.records.push(found);
        true
    }
}

/// The next record of an outlet.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Next {
    /// Larger for what comes earlier in the answer.
    rank: u64,
    leaf: u64,
    outlet: usize,
    position: u64,
}

impl Reading {
    /// Looks for records.
    pub fn find_records(
        &self,
        query: &RecordQuery<'_>,
        limits: FindLimits,
    ) -> Result<Found, StoreError> {
        let (from, below) = self.window(query)?;
        let mut heap = BinaryHeap::new();
        for (outlet, outlet_id) in query.outlet_ids.iter().enumerate() {
            let Some(position) = self.beginning(outlet_id, from, below, query.descending)? else {
                continue;
            };
            heap.extend(self.next_of(query, (from, below), outlet, position)?);
        }
        let mut filling = Filling::new(limits);
        let go_on_at = |leaf: u64| if query.descending { leaf + 1 } else { leaf };
        while let Some(next) = heap.pop() {
            if filling.is_full() {
                return Ok(Found { records: filling.records, next: Some(go_on_at(next.leaf)) });
            }
            filling.looked_at += 1;
            let found = self.present(next.leaf)?;
            if self.is_wanted(query.kinds, &found)? && !filling.take(found) {
                return Ok(Found { records: filling.records, next: Some(go_on_at(next.leaf)) });
            }
            let position =
                if query.descending { next.position - 1 } else { next.position.saturating_add(1) };
            heap.extend(self.next_of(query, (from, below), next.outlet, position)?);
        }
        Ok(Found { records: filling.records, next: None })
    }

    /// Looks for invoices by their numbers.
    pub fn find_numbers(
        &self,
        query: &NumberQuery<'_>,
        limits: FindLimits,
    ) -> Result<Found, StoreError> {
        let Some(outlet) = self.outlet(query.outlet_id)? else { return Ok(Found::default()) };
        let last = match query.to {
            0 => outlet.series.last,
            to => to.min(outlet.series.last),
        };
        let first = query.from.max(1);
        let below = self.below(query.below_leaf);
        let mut filling = Filling::new(limits);
        let (mut low, mut high) = (first, last);
        while low <= high {
            let number = if query.descending { high } else { low };
            if filling.is_full() {
                return Ok(Found { records: filling.records, next: Some(number) });
            }
            filling.looked_at += 1;
            let fiscal_number = outlet.fiscal_number(number);
            let position = self.position_of_number(query.outlet_id, &fiscal_number)?;
            let leaf = match position {
                Some(position) => self.leaf_of_position(query.outlet_id, position)?,
                None => None,
            };
            if let Some(leaf) = leaf.filter(|leaf| *leaf < below)
                && !filling.take(self.present(leaf)?)
            {
                return Ok(Found { records: filling.records, next: Some(number) });
            }
            if query.descending {
                high -= 1;
            } else {
                low += 1;
            }
        }
        Ok(Found { records: filling.records, next: None })
    }

    fn below(&self, below_leaf: u64) -> u64 {
        let leaves = self.as_of().leaves;
        if below_leaf == 0 { leaves } else { below_leaf.min(leaves) }
    }

    /// The leaves that a query is about.
    fn window(&self, query: &RecordQuery<'_>) -> Result<(u64, u64), StoreError> {
        let mut from = query.from_leaf;
        let mut below = self.below(query.below_leaf);
        if query.from_ms > 0 {
            from = from.max(self.first_leaf_at(query.from_ms, below)?);
        }
        if query.until_ms > 0 {
            below = below.min(self.first_leaf_at(query.until_ms, below)?);
        }
        Ok((from, below))
    }

    /// The first leaf whose record is not older than a time; `below` when there is none before it.
    fn first_leaf_at(&self, time_ms: u64, below: u64) -> Result<u64, StoreError> {
        let (mut low, mut high) = (0, below);
        while low < high {
            let middle = low + (high - low) / 2;
            // A leaf that is no record has no time: the one behind it says.
            let mut at = middle;
            let mut known = None;
            while at < high && known.is_none() {
                known = self.record(at)?;
                at += u64::from(known.is_none());
            }
            let Some(found) = known else {
                high = middle;
                continue;
            };
            if self.decoded(&found)?.timestamp.get() < time_ms {
                low = at + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The position with which an outlet's records of a window begin, in the order asked for.
    fn beginning(
        &self,
        outlet_id: &str,
        from: u64,
        below: u64,
        descending: bool,
    ) -> Result<Option<u64>, StoreError> {
        let Some(outlet) = self.outlet(outlet_id)? else { return Ok(None) };
        let last = outlet.chain.last_position;
        // The first position at or behind a leaf; the one behind the last when there is none.
        let first_at = |leaf: u64| -> Result<u64, StoreError> {
            let (mut low, mut high) = (1, last + 1);
            while low < high {
                let middle = low + (high - low) / 2;
                match self.leaf_of_position(outlet_id, middle)? {
                    Some(found) if found < leaf => low = middle + 1,
                    _ => high = middle,
                }
            }
            Ok(low)
        };
        let position = match descending {
            false if from == 0 => 1,
            false => first_at(from)?,
            true if below >= self.as_of().leaves => last,
            true => first_at(below)? - 1,
        };
        Ok((1..=last).contains(&position).then_some(position))
    }

    /// The record of an outlet at a position, when it is within the window.
    fn next_of(
        &self,
        query: &RecordQuery<'_>,
        (from, below): (u64, u64),
        outlet: usize,
        position: u64,
    ) -> Result<Option<Next>, StoreError> {
        let leaf = self.leaf_of_position(&query.outlet_ids[outlet], position)?;
        let leaf = leaf.filter(|leaf| (from..below).contains(leaf));
        Ok(leaf.map(|leaf| {
            let rank = if query.descending { leaf } else { u64::MAX - leaf };
            Next { rank, leaf, outlet, position }
        }))
    }

    /// A record that the rows lead to.
    fn present(&self, leaf: u64) -> Result<FoundRecord, StoreError> {
        let found = self.record(leaf)?;
        found.ok_or_else(|| self.unreadable("position row", "it leads to no record"))
    }

    fn decoded<'r>(&self, found: &'r FoundRecord) -> Result<Record<'r>, StoreError> {
        Record::decode(&found.record).map_err(|error| self.unreadable("record", &error.to_string()))
    }

    fn is_wanted(&self, kinds: &[RecordKind], found: &FoundRecord) -> Result<bool, StoreError> {
        Ok(kinds.is_empty() || kinds.contains(&self.decoded(found)?.kind))
    }
}
