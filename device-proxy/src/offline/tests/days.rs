//! Three days without the cluster, and all of it reconciled.

use std::collections::BTreeMap;

use fiscus_ledger::hash::payload_hash;
use fiscus_ledger::outcome::Event;
use fiscus_ledger::state::block::CloseReason;

use super::super::status::Colour;
use super::{HOUR_MS, Shop, TERMINAL, key_of, number, why};

const NUMBERS: u64 = 500;

// long: three days are one story
#[test]
fn seventy_two_hours_with_restarts_power_cuts_and_a_clock_that_is_set_back() {
    let mut shop = Shop::new(7, NUMBERS);
    shop.pass(1_000);
    shop.round().expect("numbers");
    let now = shop.now();
    assert_eq!(shop.till().standing(now).colour, Colour::Online);
    shop.away();
    assert_eq!(shop.till().standing(now).colour, Colour::Offline);

    let mut sold = BTreeMap::new();
    for sale in 0..NUMBERS {
        shop.pass(72 * HOUR_MS / NUMBERS - 1);
        match sale % 50 {
            // The proxy is restarted,
            10 => shop.open().expect("a restart"),
            // the power goes,
            20 => shop.cut(),
            // and while it is away, somebody sets the clock back by six hours.
            30 => {
                shop.wall_ms -= 6 * HOUR_MS;
                shop.cut();
                let early = shop.sale();
                assert_eq!(why(shop.sell(&early)), "CLOCK_ROLLBACK_DETECTED");
                let now = shop.now();
                let standing = shop.till().standing(now);
                assert_eq!(standing.colour, Colour::Blocked);
                assert!(standing.why.is_some_and(|why| why.starts_with("CLOCK_ROLLBACK")));
                shop.wall_ms += 6 * HOUR_MS;
            }
            // The same while the proxy runs.
            40 => {
                shop.wall_ms -= HOUR_MS;
                let early = shop.sale();
                assert_eq!(why(shop.sell(&early)), "CLOCK_ROLLBACK_DETECTED");
                shop.wall_ms += HOUR_MS;
            }
            _ => {}
        }
        let (sale, answer) = shop.sold();
        let before = sold.insert(number(&answer), (sale, answer));
        assert!(before.is_none(), "no number twice");
    }
    assert_eq!(sold.len() as u64, NUMBERS);
    let more = shop.sale();
    assert_eq!(why(shop.sell(&more)), "OFFLINE_NUMBERS_USED_UP");

    // The cluster is back. The power goes once more amid the delivery.
    shop.pass(HOUR_MS);
    let now = shop.now();
    shop.till().link(true);
    assert_eq!(shop.till().standing(now).colour, Colour::Syncing);
    shop.disk.fuse(Some(700));
    let _ = shop.round();
    shop.cut();
    shop.round().expect("it is delivered");
    let now = shop.now();
    assert_eq!(shop.till().standing(now).colour, Colour::Online);
    assert_eq!(shop.ledger.alerts(), [""; 0]);
    let expected: BTreeMap<String, [u8; 32]> = sold
        .iter()
        .map(|(number, (sale, _))| (number.clone(), payload_hash(&sale.payload)))
        .collect();
    assert_eq!(shop.ledger.invoices, expected, "reconciled exactly");
    let series = shop.ledger.outlet().series;
    assert!(series.is_accounted_for() && series.missing.count() == 0);
    // What was answered is answered again, long after.
    for (sale, answer) in sold.values() {
        let told = shop.till().find(&key_of(sale)).expect("it reads");
        assert_eq!(told, Some(super::super::till::Begun::Sealed(answer.clone())));
        assert_eq!(why(shop.sell(sale)), "REPLAY_DETECTED");
    }
}

#[test]
fn a_credential_ends_and_nothing_is_sealed_after() {
    let mut shop = Shop::new(8, 10);
    shop.pass(1_000);
    shop.round().expect("numbers");
    shop.away();
    shop.pass(72 * HOUR_MS - 1);
    shop.sold();
    shop.pass(2);
    let late = shop.sale();
    assert_eq!(why(shop.sell(&late)), "OFFLINE_CREDENTIAL_EXPIRED");
    let now = shop.now();
    assert_eq!(shop.till().standing(now).colour, Colour::Blocked);
}

#[test]
fn a_spool_that_is_taken_away_is_flagged_and_a_late_one_clears_the_flag() {
    let mut shop = Shop::new(9, 10);
    shop.pass(1_000);
    shop.round().expect("numbers");
    shop.away();
    shop.sold();
    let (lost, answer) = shop.sold();
    let told = shop.till().undelivered(Some(1), u64::MAX).expect("it reads");
    let (_, kept_elsewhere) = told.expect("the second");
    assert_eq!(kept_elsewhere.answer, answer);
    shop.till = None;
    shop.disk.delete("spool");
    shop.open().expect("a new spool");
    // Nobody here remembers what became of the documents so far.
    shop.pass(HOUR_MS);
    shop.round().expect("new numbers");
    shop.away();
    assert_eq!(why(shop.sell(&lost)), "OFFLINE_DOCUMENT_TOO_OLD");
    // The first credential's grace ends.
    shop.pass(145 * HOUR_MS);
    let now_ms = shop.wall_ms;
    shop.ledger.at(now_ms);
    let credential = kept_elsewhere.seal.credential_id.to_string();
    shop.ledger.close(&credential, CloseReason::Expired);
    let missing = |event: &Event| matches!(event, Event::NumbersMissing { ranges, .. } if ranges == &[(1, 10)]);
    assert!(shop.ledger.events.iter().any(missing), "{:?}", shop.ledger.events);
    assert_eq!(shop.ledger.outlet().series.missing.count(), 10);
    shop.ledger.reconcile(kept_elsewhere.seal);
    let cleared = |event: &Event| matches!(event, Event::MissingNumberCleared { .. });
    assert!(shop.ledger.events.iter().any(cleared), "{:?}", shop.ledger.events);
    assert_eq!(shop.ledger.outlet().series.missing.count(), 9);
}

#[test]
fn numbers_are_renewed_ahead_and_what_is_left_is_given_back() {
    let mut shop = Shop::new(10, 10);
    shop.settings.low_numbers = 3;
    shop.settings.low_hours = 24;
    shop.open().expect("other settings");
    shop.pass(1_000);
    shop.round().expect("numbers");
    assert_eq!(shop.ledger.outlet().series.reserved.count(), 10);
    shop.away();
    for _ in 0..7 {
        shop.sold();
    }
    shop.round().expect("more numbers");
    let time = shop.wall_ms;
    assert_eq!(shop.till().book.left_at(Some(TERMINAL), time).0, 13, "few were left");
    // After two days both are near their end: another one takes their place.
    shop.pass(49 * HOUR_MS);
    shop.round().expect("more numbers");
    shop.round().expect("the old ones are given back");
    let series = shop.ledger.outlet().series;
    assert_eq!((series.sealed, series.missing.count(), series.reserved.count()), (7, 13, 10));
    assert!(series.is_accounted_for());
}

#[test]
fn a_new_spool_on_a_machine_whose_clock_is_wrong_doubles_nothing_and_seals_again_soon() {
    // In 1970, and in 2099.
    for wrong_ms in [0, 4_070_908_800_000] {
        let mut shop = Shop::new(14, 10);
        shop.pass(1_000);
        shop.round().expect("numbers");
        let sealed = shop.sale();
        shop.till().begin(&sealed.payload, &key_of(&sealed)).expect("it is noted");
        shop.ledger.seal(&sealed);
        let right_ms = shop.wall_ms;
        shop.till = None;
        shop.disk.delete("spool");
        shop.wall_ms = wrong_ms;
        shop.open().expect("a new spool");
        let facts = shop.ledger.facts();
        shop.till().learn(facts).expect("it is noted");
        shop.away();
        assert_eq!(why(shop.sell(&sealed)), "OFFLINE_NOT_READY", "the cluster was not heard");
        shop.ledger.at(right_ms);
        let (now, group_ms) = (shop.now(), shop.ledger.now_ms());
        shop.till().hear(group_ms, now).expect("it is noted");
        shop.wall_ms = right_ms;
        shop.round().expect("numbers");
        shop.away();
        assert_eq!(why(shop.sell(&sealed)), "OFFLINE_DOCUMENT_TOO_OLD");
        shop.pass(HOUR_MS);
        shop.sold();
        shop.open().expect("it opens");
        shop.sold();
        shop.round().expect("delivered");
        assert_eq!(shop.ledger.invoices.len(), 3);
    }
}
