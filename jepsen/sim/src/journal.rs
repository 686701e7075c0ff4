//! What a journal must be by itself: every chain dense and linked, every number given once and none left out.

use std::collections::{BTreeMap, BTreeSet};

use fiscus_ledger::hash::{Hash32, ZERO_HASH};
use fiscus_ledger::record::{Record, RecordKind};

use crate::history::sequence;

#[derive(Debug)]
struct Chain {
    position: u64,
    head: Hash32,
    numbers: BTreeSet<u64>,
}

/// The numbers that a record takes: its own, or those that it lends.
fn numbers(record: &Record<'_>) -> Vec<u64> {
    if record.kind != RecordKind::BlockGrant {
        return sequence(record.fiscal_number).into_iter().collect();
    }
    let text = std::str::from_utf8(record.payload).unwrap_or_default();
    let named = |name: &str| -> Option<u64> {
        let (_, rest) = text.split_once(&format!("\"{name}\":"))?;
        let digits = rest.trim_start_matches('"');
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse().ok()
    };
    match (named("first"), named("last")) {
        (Some(first), Some(last)) => (first..=last).collect(),
        _ => Vec::new(),
    }
}

/// Looks at all records of a group, in the order of their leaves.
pub(crate) fn judge(records: &[(u64, Vec<u8>)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut chains: BTreeMap<String, Chain> = BTreeMap::new();
    for (leaf, bytes) in records {
        let record = match Record::decode(bytes) {
            Ok(record) => record,
            Err(error) => {
                wrong.push(format!("leaf {leaf} is no record: {error}"));
                continue;
            }
        };
        let begun = || Chain { position: 0, head: ZERO_HASH, numbers: BTreeSet::new() };
        let chain = chains.entry(record.outlet_id.to_owned()).or_insert_with(begun);
        let outlet = record.outlet_id;
        if record.leaf_index != *leaf {
            wrong.push(format!("leaf {leaf} says that it is leaf {}", record.leaf_index));
        }
        if record.position != chain.position + 1 {
            wrong.push(format!(
                "{outlet}: position {} follows position {}",
                record.position, chain.position
            ));
        }
        if record.prev_hash != chain.head {
            wrong.push(format!("{outlet}: position {} is not linked", record.position));
        }
        (chain.position, chain.head) = (record.position, record.entry_hash);
        for number in numbers(&record) {
            if !chain.numbers.insert(number) {
                wrong.push(format!("{outlet}: number {number} is given twice"));
            }
        }
    }
    for (outlet, chain) in chains {
        let highest = chain.numbers.last().copied().unwrap_or(0);
        if highest != chain.numbers.len() as u64 {
            wrong.push(format!(
                "{outlet}: {} numbers are given, and the highest is {highest}",
                chain.numbers.len()
            ));
        }
    }
    wrong
}
