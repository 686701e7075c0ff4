//! Which sales are sealed alone, and which are not.

use super::super::status::Colour;
use super::super::till::{Begun, SealedHere};
use super::{HOUR_MS, Shop, key_of, number, why};

fn ready(seed: u64) -> Shop {
    let mut shop = Shop::new(seed, 10);
    shop.pass(1_000);
    shop.round().expect("numbers");
    shop.pass(1_000);
    shop
}

#[test]
fn a_sale_whose_outcome_is_unknown_is_never_sealed_here() {
    let mut shop = ready(21);
    let sale = shop.sale();
    let key = key_of(&sale);
    // It is submitted, and nobody knows what became of it.
    assert_eq!(shop.till().begin(&sale.payload, &key), Ok(Begun::Submit));
    shop.till().landed(&key, false);
    shop.away();
    assert_eq!(why(shop.sell(&sale)), "OUTCOME_UNKNOWN");
    shop.cut();
    assert_eq!(why(shop.sell(&sale)), "OUTCOME_UNKNOWN", "and is remembered");
    // Another submission that surely failed says nothing about the first.
    assert_eq!(shop.till().begin(&sale.payload, &key), Ok(Begun::Submit));
    shop.till().landed(&key, true);
    assert_eq!(why(shop.sell(&sale)), "OUTCOME_UNKNOWN");
    shop.sold();
}

#[test]
fn a_sale_that_surely_was_not_sealed_may_be_sealed_here_and_never_there_again() {
    let mut shop = ready(22);
    let sale = shop.sale();
    let key = key_of(&sale);
    assert_eq!(shop.till().begin(&sale.payload, &key), Ok(Begun::Submit));
    shop.till().landed(&key, true);
    shop.away();
    let Ok(SealedHere::Sealed(answer)) = shop.sell(&sale) else { panic!("it is sealed") };
    // The nonce that the cluster gave before is committed after all: the seal that there is.
    assert_eq!(shop.till().begin(&sale.payload, &key), Ok(Begun::Sealed(answer.clone())));
    shop.round().expect("delivered");
    assert_eq!(shop.till().begin(&sale.payload, &key), Ok(Begun::Sealed(answer)));
}

#[test]
fn two_copies_on_their_way_are_not_taken_back_by_one() {
    let mut shop = ready(23);
    let sale = shop.sale();
    let key = key_of(&sale);
    assert_eq!(shop.till().begin(&sale.payload, &key), Ok(Begun::Submit));
    assert_eq!(shop.till().begin(&sale.payload, &key), Ok(Begun::Submit));
    shop.till().landed(&key, true);
    assert_eq!(why(shop.sell(&sale)), "OUTCOME_UNKNOWN");
    shop.till().landed(&key, true);
    assert_eq!(why(shop.sell(&sale)), "OUTCOME_UNKNOWN");
}

#[test]
fn what_was_forgotten_is_too_old() {
    let mut shop = Shop::new(24, 10);
    shop.settings.remembered_max = 10;
    shop.open().expect("it opens");
    shop.pass(1_000);
    shop.round().expect("numbers");
    let sales: Vec<_> = (0..30)
        .map(|_| {
            shop.pass(10);
            let sale = shop.sale();
            assert_eq!(shop.till().begin(&sale.payload, &key_of(&sale)), Ok(Begun::Submit));
            sale
        })
        .collect();
    shop.away();
    for (at, sale) in sales.iter().enumerate() {
        let expected = if at < 19 { "OFFLINE_DOCUMENT_TOO_OLD" } else { "OUTCOME_UNKNOWN" };
        assert_eq!(why(shop.sell(sale)), expected, "{at}");
    }
    shop.sold();
}

#[test]
fn what_only_the_cluster_knows_waits_for_it() {
    let mut shop = ready(25);
    shop.away();
    let original = r#""original_fiscal_number":"KIN-GOMBE-1","#;
    let credit = shop.sale_of(shop.wall_ms, "credit_note", original);
    assert_eq!(why(shop.sell(&credit)), "OFFLINE_CREDIT_NOTE");
    let mut other = shop.sale();
    let text = String::from_utf8(other.payload).expect("text");
    other.payload = text.replace("till-1", "till-9").into_bytes();
    assert_eq!(why(shop.sell(&other)), "OFFLINE_NOT_READY");
    other.payload = text.replace("outlet-gombe", "outlet-goma").into_bytes();
    assert_eq!(why(shop.sell(&other)), "IDENTITY_MISMATCH");
    other.payload = text.replace("1160.00", "1161.00").into_bytes();
    assert_eq!(why(shop.sell(&other)), "TOTALS_MISMATCH");
    assert!(shop.till().book.unsettled.is_empty());
}

#[test]
fn a_device_that_was_revoked_seals_nothing_alone() {
    let mut shop = ready(26);
    let mut facts = shop.ledger.facts();
    facts.active = false;
    shop.till().learn(facts).expect("it is noted");
    shop.away();
    shop.cut();
    assert!(!shop.till().was_active());
    let sale = shop.sale();
    assert_eq!(why(shop.sell(&sale)), "OFFLINE_NOT_READY");
}

#[test]
fn a_full_disk_takes_no_sale() {
    let mut shop = ready(27);
    shop.away();
    shop.sold();
    shop.disk.set_free(1);
    let sale = shop.sale();
    assert_eq!(why(shop.sell(&sale)), "STORAGE_FULL");
    let now = shop.now();
    assert_eq!(shop.till().standing(now).colour, Colour::Blocked);
    shop.disk.set_free(1 << 40);
    // It fills up between the look and the write.
    shop.disk.fail(Some(std::io::ErrorKind::StorageFull));
    assert_eq!(why(shop.sell(&sale)), "STORAGE_FULL");
    let submitted = shop.sale();
    let begun = shop.till().begin(&submitted.payload, &key_of(&submitted));
    assert_eq!(why(begun), "STORAGE_FULL", "what cannot be remembered is not submitted");
    shop.disk.fail(None);
    assert!(matches!(shop.sell(&sale), Ok(SealedHere::Sealed(_))));
    shop.cut();
    shop.pass(HOUR_MS);
    shop.round().expect("delivered");
    assert_eq!(shop.ledger.invoices.len(), 2);
}

#[test]
fn a_terminal_that_is_lent_nothing_keeps_no_other_from_its_numbers() {
    let mut shop = ready(28);
    shop.settings.terminals = vec!["till-0".to_owned(), "till-2".to_owned()];
    shop.open().expect("it opens");
    let mut now = shop.now();
    let refused = shop.ask(now).expect("a request");
    assert_eq!(refused.terminal_id, "till-0");
    shop.till().not_lent("till-0", now);
    assert_eq!(shop.ask(now).expect("a request").terminal_id, "till-2");
    // And it is asked for less and less often.
    for pause in [15_000, 30_000, 60_000] {
        now.up_ms += pause - 1;
        assert_eq!(shop.ask(now).expect("a request").terminal_id, "till-2", "{pause}");
        now.up_ms += 1;
        assert_eq!(shop.ask(now).expect("a request").terminal_id, "till-0", "{pause}");
        shop.till().not_lent("till-0", now);
        let bytes = shop.till().spool.bytes();
        shop.ask(now);
        assert_eq!(shop.till().spool.bytes(), bytes, "nothing is written for it meanwhile");
    }
}

#[test]
fn a_new_key_signs_nothing_under_what_was_lent_to_the_old_one() {
    let mut shop = ready(29);
    shop.away();
    let (_, before) = shop.sold();
    shop.settings.terminals.push("till-2".to_owned());
    shop.open().expect("it opens");
    let now = shop.now();
    let asked = shop.ask(now).expect("a request");
    let old_key = shop.till().public_key();
    shop.ledger.lend(&asked, old_key);
    // Its answer is lost, and so is the key file.
    shop.key = 7;
    shop.open().expect("it opens with another key");
    let sale = shop.sale();
    assert_eq!(why(shop.sell(&sale)), "OFFLINE_NUMBERS_USED_UP");
    assert!(shop.till().book.asked.is_empty());
    // What the old key has signed is delivered; the new one has numbers of its own.
    shop.pass(1_000);
    shop.round().expect("delivered, and lent");
    shop.away();
    shop.pass(1_000);
    let (_, after) = shop.sold();
    assert_ne!(number(&before), number(&after));
    shop.round().expect("delivered");
    assert_eq!(shop.ledger.invoices.len(), 2);
    assert_eq!(shop.ledger.alerts(), [""; 0]);
}

/// The cluster's time goes on between the question for it and the grant: what was lent then is there, and no more is
/// asked for.
#[test]
fn numbers_that_begin_in_a_moment_are_not_asked_for_again() {
    let mut shop = Shop::new(27, 10);
    let heard_ms = shop.wall_ms;
    let now = shop.now();
    shop.ledger.at(heard_ms);
    let facts = shop.ledger.facts();
    shop.till().learn(facts).expect("it is noted");
    let asked = shop.ask(now).expect("it has none");
    shop.ledger.at(heard_ms + 250);
    let key = shop.till().public_key();
    let credential = shop.ledger.lend(&asked, key);
    assert!(credential.terms().not_before_ms > heard_ms);
    let authority = shop.ledger.authority();
    assert!(shop.till().lent(&asked, credential, &authority).expect("it is noted"));
    assert_eq!(shop.ask(now), None, "it has just been lent some");
}
