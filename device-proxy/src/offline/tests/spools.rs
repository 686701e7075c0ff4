//! The file itself: torn, damaged, changed, taken away, and written anew.

use super::super::scan::scan;
use super::super::spool::SpoolError;
use super::super::till::{Begun, SealedHere};
use super::{HOUR_MS, Shop, key_of, number, why};

fn ready(seed: u64) -> Shop {
    let mut shop = Shop::new(seed, 20);
    shop.pass(1_000);
    shop.round().expect("numbers");
    shop.away();
    shop.pass(1_000);
    shop
}

#[test]
fn what_was_answered_survives_a_cut_at_every_step() {
    // Steps of a sale: the entry, its sync, the head, its sync.
    for steps in 0..8 {
        for seed in 0..20 {
            let mut shop = ready(100 + seed);
            let (first, answer) = shop.sold();
            let sale = shop.sale();
            shop.disk.fuse(Some(steps));
            let told = shop.sell(&sale);
            shop.cut();
            let find = |shop: &mut Shop, sale| shop.till().find(&key_of(sale)).expect("it reads");
            assert_eq!(find(&mut shop, &first), Some(Begun::Sealed(answer)));
            let found = find(&mut shop, &sale);
            if let Ok(SealedHere::Sealed(answer)) = told {
                assert_eq!(found, Some(Begun::Sealed(answer)), "{steps}");
            }
            // Whether or not it came to the disk: once.
            let again = shop.sell(&sale);
            match found {
                Some(_) => assert_eq!(why(again), "REPLAY_DETECTED"),
                None => assert!(matches!(again, Ok(SealedHere::Sealed(_)))),
            }
            assert!(shop.till().book.damages.is_empty(), "a cut is no damage");
            shop.round().expect("delivered");
            assert_eq!(shop.ledger.invoices.len(), 2);
            assert_eq!(shop.ledger.alerts(), [""; 0]);
        }
    }
}

#[test]
fn damage_to_what_was_answered_is_told_and_no_number_is_given_twice() {
    for seed in 0..40 {
        let mut shop = ready(200 + seed);
        let answers: Vec<_> = (0..5).map(|_| shop.sold()).collect();
        let length = shop.disk.bytes("spool").len() as u64;
        let at = 4_096 + shop.chance.below(length - 4_096);
        shop.till = None;
        match seed % 3 {
            0 => shop.disk.damage("spool", |bytes| bytes[at as usize] ^= 0x40),
            1 => shop.disk.damage("spool", |bytes| bytes.truncate(at as usize)),
            _ => shop.disk.damage("spool", |bytes| bytes[at as usize..].fill(0)),
        }
        assert!(scan(&shop.disk.bytes("spool")).is_damaged(), "{seed} {at}");
        shop.open().expect("what reads is kept");
        assert_eq!(shop.till().book.damages.len(), 1);
        assert!(shop.disk.names().iter().any(|name| name.starts_with("spool.damaged-")));
        let next = shop.sale();
        assert!(
            ["OFFLINE_NOT_READY", "OFFLINE_NUMBERS_USED_UP", "OFFLINE_DOCUMENT_TOO_OLD"]
                .contains(&&*why(shop.sell(&next))),
            "nothing more under these numbers"
        );
        let (lost, _) = &answers[0];
        let again = why(shop.sell(lost));
        assert!(
            ["REPLAY_DETECTED", "OFFLINE_DOCUMENT_TOO_OLD", "OFFLINE_NOT_READY"].contains(&&*again),
            "{again}"
        );
        // What reads is delivered, in whatever order the holes leave; new numbers are lent.
        shop.pass(1_000);
        shop.round().expect("delivered");
        shop.pass(HOUR_MS);
        shop.away();
        let (_, answer) = shop.sold();
        assert!(answers.iter().all(|(_, before)| number(before) != number(&answer)));
        shop.cut();
        assert_eq!(shop.till().book.damages.len(), 1, "it is not forgotten, and not found again");
        shop.round().expect("delivered");
        assert_eq!(shop.ledger.alerts(), [""; 0]);
    }
}

/// A disk that reads one byte wrong, once, at whichever reading: nothing that was sold is forgotten without a word.
#[test]
fn a_sale_that_reads_now_and_not_then_breaks_the_spool() {
    let mut refused = 0;
    for reads in 0..8 {
        let mut shop = ready(240 + reads);
        let sales: Vec<_> = (0..3).map(|_| shop.sold()).collect();
        let at = shop.till().book.slips[&2].at;
        shop.disk.misread(reads, usize::try_from(at.at).expect("small") + 20);
        let Ok(()) = shop.open() else {
            refused += 1;
            shop.open().expect("it reads again");
            for (sale, answer) in sales {
                let found = shop.till().find(&key_of(&sale)).expect("it reads");
                assert_eq!(found, Some(Begun::Sealed(answer)));
            }
            continue;
        };
        let known = shop.till().book.slips.len();
        assert!(known == 3 || !shop.till().book.damages.is_empty(), "{reads}: {known}");
    }
    assert!(refused > 0);
}

#[test]
fn an_entry_that_has_changed_is_neither_told_nor_copied() {
    let mut shop = ready(260);
    let (sale, _) = shop.sold();
    let at = usize::try_from(shop.till().book.slips[&1].at.at).expect("small");
    let entries = shop.till().book.entries(0);
    let length = shop.disk.bytes("spool").len();
    // A letter of its invoice: it still reads as an entry.
    let bytes = shop.disk.bytes("spool");
    let letter =
        bytes[at..length].windows(6).position(|text| text == b"Farine").expect("it is there");
    shop.disk.damage("spool", |bytes| bytes[at + letter] = b'f');
    assert!(shop.till().spool.rewrite(&entries, 0, &mut |_, _| {}).is_err());
    assert!(shop.till().find(&key_of(&sale)).is_err());
}

#[test]
fn an_error_of_a_sync_breaks_the_spool_until_it_is_opened_anew() {
    let mut shop = ready(301);
    let sale = shop.sale();
    // The entry is written; its sync fails.
    shop.disk.fuse(Some(2));
    assert!(matches!(shop.sell(&sale), Ok(SealedHere::InDoubt(_))));
    shop.disk.fuse(None);
    let other = shop.sale();
    assert_eq!(why(shop.sell(&other)), "OFFLINE_SPOOL_BROKEN");
    shop.open().expect("a restart");
    // It was written, so it is there: once.
    assert_eq!(why(shop.sell(&sale)), "REPLAY_DETECTED");
    shop.sold();
}

#[test]
fn a_spool_that_is_written_anew_says_the_same() {
    let mut shop = ready(302);
    let sales: Vec<_> = (0..5).map(|_| shop.sold()).collect();
    shop.pass(HOUR_MS);
    shop.round().expect("delivered");
    shop.away();
    let (waiting, _) = shop.sold();
    let tried = shop.sale();
    shop.till().begin(&tried.payload, &key_of(&tried)).expect("it is noted");
    let kept_after_ms = 0;
    for round in 0..6 {
        let till = shop.till();
        let entries = till.book.entries(kept_after_ms);
        shop.disk.fuse(Some(round));
        let _ = shop.till().spool.rewrite(&entries, 0, &mut |_, _| {});
        shop.cut();
        for (sale, answer) in &sales {
            let found = shop.till().find(&key_of(sale)).expect("it reads");
            assert_eq!(found, Some(Begun::Sealed(answer.clone())));
        }
        assert_eq!(shop.till().book.unsettled.len(), 1);
        assert_eq!(why(shop.sell(&waiting)), "REPLAY_DETECTED");
        assert_eq!(why(shop.sell(&tried)), "OUTCOME_UNKNOWN");
    }
    // A year later, seals are known by their numbers alone.
    shop.round().expect("delivered");
    let time = shop.wall_ms;
    let held: Vec<String> = shop.till().book.held.keys().cloned().collect();
    for id in held {
        shop.till().closed(&id).expect("it is noted");
    }
    let till = shop.till();
    let entries = till.book.entries(time + 1);
    till.spool.rewrite(&entries, 0, &mut |_, _| {}).expect("written");
    shop.open().expect("it opens");
    for (sale, answer) in &sales {
        let found = shop.till().find(&key_of(sale)).expect("it reads");
        assert_eq!(found, Some(Begun::InLedger(number(answer))));
        assert_eq!(why(shop.sell(sale)), "REPLAY_DETECTED");
    }
}

#[test]
fn any_bytes_are_read_without_harm() {
    let mut shop = ready(303);
    shop.sold();
    let whole = shop.disk.bytes("spool");
    assert!(!scan(&whole).is_damaged());
    assert!(scan(b"").is_damaged());
    for seed in 0..200 {
        let mut chance = super::Chance::new(seed);
        let mut bytes = whole.clone();
        for _ in 0..=chance.below(4) {
            let at = chance.below(bytes.len() as u64) as usize;
            bytes[at] = chance.bytes::<1>()[0];
        }
        bytes.truncate(chance.below(bytes.len() as u64 + 1) as usize);
        let _ = scan(&bytes);
    }
}

#[test]
fn a_disk_that_fills_up_while_the_spool_is_written_anew_has_its_room_back() {
    let mut shop = ready(304);
    shop.sold();
    let till = shop.till();
    let entries = till.book.entries(0);
    shop.disk.fail(Some(std::io::ErrorKind::StorageFull));
    assert!(matches!(
        shop.till().spool.rewrite(&entries, 0, &mut |_, _| {}),
        Err(SpoolError::Full)
    ));
    shop.disk.fail(None);
    assert_eq!(shop.disk.bytes("spool.new"), [0; 0]);
    // With too little room nothing is begun at all.
    shop.disk.set_free(shop.disk.bytes("spool").len() as u64 + 9);
    assert!(matches!(
        shop.till().spool.rewrite(&entries, 1 << 20, &mut |_, _| {}),
        Err(SpoolError::Full)
    ));
    shop.disk.set_free(1 << 40);
    shop.sold();
    // And what a killed process has left of it is cut when the next one starts.
    shop.disk.fuse(Some(3));
    let _ = shop.till().spool.rewrite(&entries, 0, &mut |_, _| {});
    shop.disk.fuse(None);
    assert_ne!(shop.disk.bytes("spool.new"), [0; 0]);
    shop.open().expect("it opens");
    assert_eq!(shop.disk.bytes("spool.new"), [0; 0]);
    shop.sold();
}

#[test]
fn a_damaged_file_is_kept_once_however_often_it_is_opened() {
    let mut shop = ready(305);
    shop.sold();
    shop.till = None;
    shop.disk.damage("spool", |bytes| bytes[4_120] ^= 0x40);
    let kept = |shop: &Shop| {
        let names = shop.disk.names();
        names.iter().filter(|name| name.starts_with("spool.damaged-")).count()
    };
    // Whichever step each start fails at.
    for steps in 0..20 {
        shop.disk.fuse(Some(steps));
        let _ = shop.open();
        shop.disk.fuse(None);
        assert!(kept(&shop) <= 1, "{steps}");
        shop.pass(1_000);
    }
    shop.open().expect("what reads is kept");
    assert_eq!(kept(&shop), 1);
}

#[test]
fn what_a_failed_sync_has_left_in_memory_is_on_the_disk_before_it_counts() {
    for failing_starts in 0..3 {
        let mut shop = ready(306);
        let (first, answer) = shop.sold();
        let sale = shop.sale();
        shop.disk.fail_syncs(true);
        assert!(matches!(shop.sell(&sale), Ok(SealedHere::InDoubt(_))));
        for _ in 0..failing_starts {
            assert!(shop.open().is_err(), "the disk still fails");
        }
        shop.disk.fail_syncs(false);
        shop.open().expect("a restart");
        let found = shop.till().find(&key_of(&sale)).expect("it reads");
        assert!(matches!(found, Some(Begun::Sealed(_))), "it is in memory");
        let (second, _) = shop.sold();
        shop.cut();
        assert!(shop.till().book.damages.is_empty(), "{failing_starts}");
        assert_eq!(shop.till().find(&key_of(&sale)).expect("it reads"), found);
        let known = shop.till().find(&key_of(&first)).expect("it reads");
        assert_eq!(known, Some(Begun::Sealed(answer)));
        assert_eq!(why(shop.sell(&second)), "REPLAY_DETECTED");
        shop.round().expect("delivered");
        assert_eq!(shop.ledger.invoices.len(), 3);
    }
}
