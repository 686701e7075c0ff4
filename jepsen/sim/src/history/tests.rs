//! Every check must have been seen to fail.

use fiscus_ledger::codec::Writer;
use fiscus_ledger::hash::ZERO_HASH;
use fiscus_ledger::invoice::InvoiceType;
use fiscus_ledger::record::RecordKind;
use fiscus_ledger::time::UnixMs;

use super::*;
use crate::journal;

const OUTLET: &str = "outlet-gombe";

/// A journal of sales with these marks and numbers, in this order.
fn journal_of(sales: &[(&str, u64)]) -> Vec<(u64, Vec<u8>)> {
    let mut head = ZERO_HASH;
    let mut records = Vec::new();
    for (leaf, (mark, number)) in (0..).zip(sales) {
        let payload = format!("{{\"description\":\"mark:{mark}\"}}");
        let fiscal_number = format!("KIN-GOMBE-{number:08}");
        let mut record = Record {
            outlet_id: OUTLET,
            position: leaf + 1,
            leaf_index: leaf,
            kind: RecordKind::Invoice(InvoiceType::Sale),
            authority_id: "kin.00",
            fiscal_number: &fiscal_number,
            timestamp: UnixMs::new(1),
            total: "1.00",
            currency: "CDF",
            payload: payload.as_bytes(),
            blind: ZERO_HASH,
            prev_hash: head,
            entry_hash: ZERO_HASH,
            submission: None,
        };
        record.entry_hash = record.recomputed_entry_hash();
        head = record.entry_hash;
        let mut out = Writer::with_capacity(256);
        record.encode(&mut out);
        records.push((leaf, out.finish()));
    }
    records
}

/// A history in which each sale began and ended one after the other and was answered with its record.
fn answered(journal: &[(u64, Vec<u8>)]) -> History {
    let mut history = History::default();
    for (leaf, record) in journal {
        let mark = mark_in(Record::decode(record).expect("a record").payload).expect("a mark");
        history.begin(&mark, OUTLET, leaf * 10);
        let sealed = Sealed { leaf: *leaf, record: record.clone(), signature: Vec::new() };
        history.sealed(&mark, leaf * 10 + 5, sealed);
    }
    history
}

fn look(began: u64, last_position: u64) -> Look {
    Look {
        outlet: OUTLET.to_owned(),
        began,
        ended: began,
        last_position,
        last_number: last_position,
    }
}

#[test]
fn what_clients_have_seen_is_held_against_the_journal() {
    let sound = journal_of(&[("a", 1), ("b", 2)]);
    assert_eq!(answered(&sound).judge(&sound), Vec::<String>::new());
    type Change = fn(&mut History, &mut Vec<(u64, Vec<u8>)>);
    let rows: [(&str, Change); 10] = [
        ("is not there", |_, journal| {
            journal.pop();
        }),
        ("where something else is", |_, journal| *journal = journal_of(&[("b", 1), ("a", 2)])),
        ("is leaf 0 and leaf 2", |_, journal| {
            *journal = journal_of(&[("a", 1), ("b", 2), ("a", 3)]);
        }),
        ("which nobody made", |_, journal| {
            *journal = journal_of(&[("a", 1), ("b", 2), ("c", 3)]);
        }),
        ("was refused, and is leaf", |history, journal| {
            *journal = journal_of(&[("a", 1), ("b", 2), ("c", 3)]);
            history.begin("c", OUTLET, 30);
            history.refused("c", 31, "NO");
        }),
        ("or with other bytes", |history, journal| {
            let sealed = Sealed { leaf: 1, record: journal[0].1.clone(), signature: Vec::new() };
            history.sealed("a", 40, sealed);
        }),
        ("began after sale", |history, _| {
            history.sales.get_mut("a").expect("it is there").began = 20;
        }),
        ("misses sale b", |history, _| history.looks.push(look(16, 1))),
        ("and a later one", |history, _| {
            history.looks.extend([look(16, 3), look(17, 2)]);
        }),
        ("and a later one of 3", |history, _| {
            let seen = |began, size| SeenCheckpoint { began, ended: began, size, root: ZERO_HASH };
            history.checkpoints.extend([seen(1, 4), seen(3, 3)]);
        }),
    ];
    for (told, change) in rows {
        let (mut history, mut journal) = (answered(&sound), sound.clone());
        change(&mut history, &mut journal);
        let wrong = history.judge(&journal);
        assert!(wrong.iter().any(|what| what.contains(told)), "{told}: {wrong:?}");
    }
}

#[test]
fn a_journal_has_no_gap_and_gives_no_number_twice() {
    assert_eq!(journal::judge(&journal_of(&[("a", 1), ("b", 2)])), Vec::<String>::new());
    let mut lost = journal_of(&[("a", 1), ("b", 2), ("c", 3)]);
    lost.remove(1);
    let rows = [
        (journal_of(&[("a", 1), ("b", 1)]), "given twice"),
        (journal_of(&[("a", 1), ("b", 3)]), "the highest is 3"),
        (lost.clone(), "follows position 1"),
        (lost, "is not linked"),
    ];
    for (journal, told) in rows {
        let wrong = journal::judge(&journal);
        assert!(wrong.iter().any(|what| what.contains(told)), "{told}: {wrong:?}");
    }
}
