//! A tax manifest that is published while a shop is away.

use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;

use super::super::entry::Entry;
use super::super::spool::SpoolError;
use super::{HOUR_MS, START_MS, Shop, number, why};
use crate::protocol::nonce::Prepared;

/// The next manifest, in force from a time on.
fn next(from_ms: u64) -> Manifest {
    let text = Manifest::builtin().to_json();
    let builtin = Manifest::builtin();
    let text = text.replacen(builtin.version(), "2099-01", 1).replacen(
        &builtin.effective_from().to_string(),
        &UnixMs::new(from_ms).to_string(),
        1,
    );
    Manifest::parse(&text).expect("a manifest")
}

/// The same sale under another manifest.
fn under(sale: &Prepared, version: &str) -> Prepared {
    let text = std::str::from_utf8(&sale.payload).expect("text");
    let named = |version: &str| format!("\"tax_manifest_version\":\"{version}\"");
    let text = text.replace(&named(Manifest::builtin().version()), &named(version));
    Prepared { payload: text.into_bytes(), ..sale.clone() }
}

#[test]
fn what_was_sealed_before_it_came_into_force_is_taken_and_the_rest_is_kept() {
    let mut shop = Shop::new(501, 10);
    shop.pass(1_000);
    shop.round().expect("numbers");
    shop.away();
    let before: Vec<String> = (0..3).map(|_| number(&shop.sold().1)).collect();
    // Nobody here hears of it. It comes into force in the middle of the outage.
    let from = shop.wall_ms + HOUR_MS;
    shop.ledger.publish(next(from));
    shop.pass(HOUR_MS - 1);
    let last = number(&shop.sold().1);
    shop.pass(1);
    let (stale, answer) = shop.sold();
    let after = [number(&answer), number(&shop.sold().1)];

    shop.pass(HOUR_MS);
    shop.round().expect("the cluster is back");
    for taken in before.iter().chain([&last]) {
        assert!(shop.ledger.invoices.contains_key(taken), "{taken}");
    }
    for refused in &after {
        assert!(!shop.ledger.invoices.contains_key(refused), "{refused}");
    }
    assert_eq!(shop.ledger.alerts(), ["DOCUMENT_INVALID"; 2], "each raises an alert");
    let now = shop.now();
    let standing = shop.till().standing(now);
    assert_eq!((standing.refused, standing.waiting), (2, 0));

    // They are told with everything that there is, a year later and after the spool was written anew as well.
    let told = |shop: &mut Shop| -> Vec<serde_json::Value> {
        let refused = shop.till().refused(0);
        assert_eq!(refused.more_after, None);
        let lines = refused.seals.iter().map(|refused| refused.to_json("def-1"));
        lines.map(|line| serde_json::from_str(&line).expect("JSON")).collect()
    };
    let first = told(&mut shop);
    let numbers: Vec<&str> =
        first.iter().map(|line| line["fiscal_number"].as_str().expect("a number")).collect();
    assert_eq!(numbers, after);
    for line in &first {
        assert_eq!(line["code"], "MANIFEST_STALE", "{line}");
        assert_eq!(line["seal"]["invoice"]["outlet_id"], "outlet-gombe");
    }
    let sequence = first[0]["sequence"].as_u64().expect("a number");
    assert_eq!(shop.till().refused(sequence).seals.len(), 1);
    let entries = shop.till().book.entries(u64::MAX);
    shop.till().spool.rewrite(&entries, 0, &mut |_, _| {}).expect("written anew");
    shop.cut();
    assert_eq!(told(&mut shop), first);
    assert_eq!(why(shop.sell(&stale)), "REPLAY_DETECTED", "nor is it sealed a second time");

    // The shop goes on: new numbers, under the manifest that it has heard of by now.
    shop.round().expect("numbers");
    shop.away();
    let sale = shop.sale();
    assert_eq!(why(shop.sell(&sale)), "MANIFEST_STALE");
    let sold = shop.sell(&under(&sale, "2099-01"));
    assert!(sold.is_ok(), "{sold:?}");
    shop.pass(1_000);
    shop.round().expect("the cluster is back");
    let outlet = shop.ledger.outlet();
    assert!(outlet.series.is_accounted_for());
    for refused in &after {
        let (_, sequence) = refused.rsplit_once('-').expect("a number");
        let sequence = sequence.parse().expect("a number");
        let missing = |(first, last): &(u64, u64)| (*first..=*last).contains(&sequence);
        assert!(outlet.series.missing.ranges().iter().any(missing), "{refused} is flagged");
    }
}

/// One that cannot be read any more hides none of the others, and how to go on is told.
#[test]
fn every_refused_seal_is_told_a_part_at_a_time() {
    let mut shop = Shop::new(504, 500);
    // Two credentials.
    shop.settings.low_numbers = 500;
    shop.open().expect("it opens");
    shop.pass(1_000);
    shop.round().expect("numbers");
    shop.away();
    let from = shop.wall_ms;
    shop.ledger.publish(next(from));
    for _ in 0..502 {
        shop.sold();
    }
    shop.pass(1_000);
    shop.round().expect("each is refused");
    let at = usize::try_from(shop.till().book.slips[&2].at.at).expect("small");
    shop.disk.damage("spool", |bytes| bytes[at + 30] ^= 0x40);
    let some = shop.till().refused(0);
    let next = some.more_after.expect("there are more");
    assert_eq!((some.seals.len(), next), (500, some.seals[499].sequence));
    let line = |at: usize| -> serde_json::Value {
        serde_json::from_str(&some.seals[at].to_json("def-1")).expect("JSON")
    };
    let (whole, gone) = (line(0), line(1));
    assert!(whole["seal"].is_object() && gone["seal"].is_null());
    assert_eq!((&gone["code"], &gone["device_id"]), (&"MANIFEST_STALE".into(), &"def-1".into()));
    let rest = shop.till().refused(next);
    assert_eq!((rest.seals.len(), rest.more_after), (2, None));
}

/// A manifest that was known before the network went comes into force here as it does there.
#[test]
fn a_manifest_that_was_heard_of_comes_into_force_alone() {
    let mut shop = Shop::new(502, 10);
    let from = START_MS + 5 * HOUR_MS;
    shop.ledger.publish(next(from));
    shop.pass(1_000);
    shop.round().expect("numbers");
    shop.away();
    shop.sold();
    shop.pass(from - shop.wall_ms);
    let sale = shop.sale();
    assert_eq!(why(shop.sell(&sale)), "MANIFEST_STALE");
    assert!(shop.sell(&under(&sale, "2099-01")).is_ok());
    shop.pass(1_000);
    shop.round().expect("the cluster is back");
    assert_eq!((shop.ledger.invoices.len(), shop.ledger.alerts()), (2, vec![]));
}

/// What the ledger has refused is written into the spool like everything else: nothing of it is cut away as waste.
#[test]
fn a_refused_seal_is_in_no_entry_that_is_dropped() -> Result<(), SpoolError> {
    let mut shop = Shop::new(503, 10);
    shop.pass(1_000);
    shop.round()?;
    shop.away();
    let from = shop.wall_ms;
    shop.ledger.publish(next(from));
    shop.sold();
    shop.pass(1_000);
    shop.round()?;
    let entries = shop.till().book.entries(u64::MAX);
    let mut sold = 0;
    let mut told = |_, entry: &Entry| sold += u64::from(matches!(entry, Entry::Sold(_)));
    shop.till().spool.rewrite(&entries, 0, &mut told)?;
    assert_eq!(sold, 1);
    Ok(())
}
