//! Searches and proofs agree with the journal read from end to end.

use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::tree::{CompactRange, verify_consistency, verify_inclusion};

use crate::disk::SimulatedDisk;
use crate::store::tests::life::{log, open, options, replay};
use crate::store::{FindLimits, NumberQuery, ProofError, Reading, RecordQuery, Replica};

const PLENTY: FindLimits = FindLimits { records: 1_000, looked_at: 1_000, bytes: 1 << 20 };

fn replica() -> Replica {
    let replica = open(&SimulatedDisk::new(), options()).expect("open");
    replay(&replica, &log(), u64::MAX).expect("apply");
    replica
}

/// A record as the journal has it.
struct Known {
    outlet_id: String,
    leaf: u64,
    time: u64,
    kind: RecordKind,
    number: String,
}

fn all(reading: &Reading) -> Vec<Known> {
    let leaves = 0..reading.as_of().leaves;
    let found = leaves.filter_map(|leaf| reading.record(leaf).expect("it is read"));
    let known = found.map(|found| {
        let record = Record::decode(&found.record).expect("a record");
        Known {
            outlet_id: record.outlet_id.to_owned(),
            leaf: found.leaf,
            time: record.timestamp.get(),
            kind: record.kind,
            number: record.fiscal_number.to_owned(),
        }
    });
    known.collect()
}

/// Every page of a search; the leaves found.
fn paged(reading: &Reading, mut query: RecordQuery<'_>, limits: FindLimits) -> Vec<u64> {
    let mut leaves = Vec::new();
    loop {
        let found = reading.find_records(&query, limits).expect("a search");
        assert!(found.records.len() <= limits.records);
        leaves.extend(found.records.iter().map(|record| record.leaf));
        match found.next {
            None => return leaves,
            Some(next) if query.descending => query.below_leaf = next,
            Some(next) => query.from_leaf = next,
        }
    }
}

#[test]
fn a_search_finds_what_the_journal_has_in_its_order_page_by_page() {
    let replica = replica();
    let reading = replica.read().expect("it is read");
    let known = all(&reading);
    let leaves = reading.as_of().leaves;
    let mut times: Vec<u64> = known.iter().map(|record| record.time).collect();
    times.dedup();
    assert!(times.len() > 4 && times.is_sorted(), "{times:?}");
    let (early, late) = (times[1], times[times.len() - 2]);
    let kinds: [&[RecordKind]; 3] =
        [&[], &[RecordKind::Outlet, RecordKind::ShiftOpen], &[RecordKind::Payment]];
    let windows = [(0, 0), (3, leaves - 2), (leaves - 4, 0), (7, 7), (0, 5), (leaves, 0)];
    let spans =
        [(0, 0), (early, 0), (early + 1, late), (0, late), (late, early), (late + 5_000_000, 0)];
    let outlets: Vec<String> =
        ["o1", "o2", "o249", "nobody"].map(str::to_owned).into_iter().collect();
    let every: Vec<String> = (1..=249).map(|number| format!("o{number}")).collect();
    let small = FindLimits { records: 3, looked_at: 5, bytes: 1_500 };
    for outlet_ids in [&outlets, &every] {
        for (from_leaf, below_leaf) in windows {
            for (from_ms, until_ms) in spans {
                for (kinds, descending) in kinds.into_iter().flat_map(|k| [(k, false), (k, true)]) {
                    let query = RecordQuery {
                        outlet_ids,
                        from_leaf,
                        below_leaf,
                        descending,
                        kinds,
                        from_ms,
                        until_ms,
                    };
                    let end = |end: u64| if end == 0 { u64::MAX } else { end };
                    let mut wanted: Vec<u64> = known
                        .iter()
                        .filter(|record| {
                            outlet_ids.contains(&record.outlet_id)
                                && (from_leaf..end(below_leaf)).contains(&record.leaf)
                                && (from_ms..end(until_ms)).contains(&record.time)
                                && (kinds.is_empty() || kinds.contains(&record.kind))
                        })
                        .map(|record| record.leaf)
                        .collect();
                    if descending {
                        wanted.reverse();
                    }
                    assert_eq!(paged(&reading, query.clone(), PLENTY), wanted, "{query:?}");
                    assert_eq!(paged(&reading, query.clone(), small), wanted, "{query:?}");
                }
            }
        }
    }
}

#[test]
fn invoices_are_found_in_the_order_of_their_numbers() {
    let replica = replica();
    let reading = replica.read().expect("it is read");
    let known = all(&reading);
    for (from, to, descending, below_leaf) in [
        (0, 0, false, 0),
        (0, 0, true, 0),
        (2, 4, false, 0),
        (2, 4, true, 0),
        (9, 0, false, 0),
        (1, 99, true, reading.as_of().leaves - 3),
    ] {
        let number = |record: &Known| {
            record.number.rsplit('-').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
        };
        let mut wanted: Vec<u64> = known
            .iter()
            .filter(|record| record.outlet_id == "o2" && number(record) >= from.max(1))
            .filter(|record| to == 0 || number(record) <= to)
            .filter(|record| below_leaf == 0 || record.leaf < below_leaf)
            .map(|record| record.leaf)
            .collect();
        if descending {
            wanted.reverse();
        }
        let mut query = NumberQuery { outlet_id: "o2", from, to, descending, below_leaf };
        let limits = FindLimits { records: 2, ..PLENTY };
        let mut leaves = Vec::new();
        loop {
            let found = reading.find_numbers(&query, limits).expect("a search");
            leaves.extend(found.records.iter().map(|record| record.leaf));
            match found.next {
                None => break,
                Some(next) if descending => query.to = next,
                Some(next) => query.from = next,
            }
        }
        assert_eq!(leaves, wanted, "{query:?}");
    }
    let nobody =
        NumberQuery { outlet_id: "nobody", from: 0, to: 0, descending: false, below_leaf: 0 };
    assert!(reading.find_numbers(&nobody, PLENTY).expect("a search").records.is_empty());
}

#[test]
fn every_leaf_is_proved_at_every_size_and_every_size_of_every_other() {
    let replica = replica();
    let reading = replica.read().expect("it is read");
    let leaves = reading.as_of().leaves;
    assert!(leaves > 256, "a node of a kept height is complete");
    let data: Vec<_> = (0..leaves)
        .map(|leaf| reading.leaf(leaf).expect("it is read").expect("a leaf").hash)
        .collect();
    let mut tree = CompactRange::new();
    let mut roots = vec![tree.root()];
    for leaf in &data {
        tree.push(leaf);
        roots.push(tree.root());
    }
    let root = |size: u64| &roots[usize::try_from(size).expect("small")];
    let sizes: Vec<u64> =
        (1..8).chain([127, 128, 129, 255, 256, 257, leaves - 1, leaves]).collect();
    for size in &sizes {
        let all: Vec<u64> = (0..*size).collect();
        let proofs = reading.prove_inclusion(&all, *size).expect("proofs");
        for ((leaf, proof), data) in all.iter().zip(proofs).zip(&data) {
            verify_inclusion(data, *leaf, *size, &proof, root(*size)).expect("it is proved");
        }
        for from in sizes.iter().filter(|from| *from <= size) {
            let proof = reading.prove_consistency(*from, *size).expect("a proof");
            verify_consistency(*from, root(*from), *size, root(*size), &proof).expect("it is");
        }
    }
    let outside = reading.prove_inclusion(&[3], 3);
    assert!(matches!(outside, Err(ProofError::Prove(_))), "{outside:?}");
    let future = reading.prove_consistency(1, leaves + 1);
    assert!(matches!(future, Err(ProofError::Size { .. })), "{future:?}");
}
