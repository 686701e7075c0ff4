//! What a forger, or a thief of the box, delivers.

use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::invoice::parse_strict;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::offline::OfflineSeal;
use fiscus_ledger::outcome::Outcome;
use fiscus_ledger::state::block::CloseReason;
use fiscus_ledger::time::UnixMs;

use super::super::entry::Outcome::Refused;
use super::{HOUR_MS, Shop};

fn code(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(refusal) => refusal.code().to_owned(),
        other => format!("{other:?}"),
    }
}

/// A seal of the shop's own, not yet delivered.
fn own(shop: &mut Shop) -> OfflineSeal {
    shop.sold();
    shop.till().undelivered(None, u64::MAX).expect("it reads").expect("one").1.seal
}

/// Signs a seal again with the till's own key, after a change.
fn signed(shop: &Shop, mut seal: OfflineSeal) -> OfflineSeal {
    let manifest = Manifest::builtin();
    let invoice = parse_strict(&seal.invoice, &manifest).expect("an invoice");
    let block = shop.ledger.block(&seal.credential_id);
    let number = format!("KIN-GOMBE-{}", block.first + seal.place - 1);
    let hash = seal.entry_hash(super::OUTLET, &number, &invoice);
    seal.signature = SigningKey::from_bytes(&[6; 32]).sign(&hash).to_bytes();
    seal
}

#[test]
fn forged_replayed_out_of_block_and_expired_seals_raise_an_alert() {
    let mut shop = Shop::new(11, 10);
    shop.pass(1_000);
    shop.round().expect("numbers");
    shop.away();
    shop.pass(1_000);
    let seal = own(&mut shop);
    let now_ms = shop.wall_ms + HOUR_MS;
    shop.ledger.at(now_ms);

    let mut forged = seal.clone();
    forged.signature[0] ^= 1;
    let mut elsewhere = seal.clone();
    elsewhere.credential_id = "off-nobody".into();
    let mut beyond = seal.clone();
    beyond.place = 11;
    let mut late = seal.clone();
    late.timestamp = UnixMs::new(now_ms + 1);
    let mut early = seal.clone();
    early.timestamp = UnixMs::new(super::START_MS);
    let mut unlinked = seal.clone();
    unlinked.prev_hash = [1; 32];
    let (late, early, unlinked) =
        (signed(&shop, late), signed(&shop, early), signed(&shop, unlinked));
    for (seal, expected) in [
        (forged, "OFFLINE_SIGNATURE_INVALID"),
        (elsewhere, "CREDENTIAL_UNKNOWN"),
        (beyond, "OFFLINE_OUT_OF_BLOCK"),
        (late, "OFFLINE_OUT_OF_TIME"),
        (early, "OFFLINE_OUT_OF_TIME"),
        (unlinked, "OFFLINE_LINK_BROKEN"),
    ] {
        let alerts = shop.ledger.alerts().len();
        assert_eq!(code(&shop.ledger.reconcile(seal)), expected);
        assert_eq!(shop.ledger.alerts()[alerts..], [expected]);
    }
    assert!(shop.ledger.invoices.is_empty(), "nothing of it is in the journal");

    // The genuine one is taken, once; another one in its slot is an alert.
    assert!(matches!(shop.ledger.reconcile(seal.clone()), Outcome::Recorded(_)));
    assert!(matches!(shop.ledger.reconcile(seal.clone()), Outcome::AlreadyRecorded { .. }));
    let mut twice = seal;
    twice.blind = [7; 32];
    let twice = signed(&shop, twice);
    assert_eq!(code(&shop.ledger.reconcile(twice)), "OFFLINE_SLOT_CONFLICT");
    assert_eq!(shop.ledger.alerts().last(), Some(&"OFFLINE_SLOT_CONFLICT"));
}

#[test]
fn a_credential_that_was_ended_elsewhere_is_known_before_the_next_outage() {
    // While the cluster is there, and in an outage that nobody sold in.
    for away in [false, true] {
        let mut shop = Shop::new(13, 10);
        shop.pass(1_000);
        shop.round().expect("numbers");
        let id = shop.till().book.held.keys().next().expect("one").clone();
        shop.pass(1_000);
        shop.round().expect("nothing is due");
        if away {
            shop.away();
        } else {
            shop.pass(60_000);
        }
        let now_ms = shop.wall_ms;
        shop.ledger.at(now_ms);
        shop.ledger.close(&id, CloseReason::Revoked);
        shop.round().expect("it is heard, and others are lent");
        assert!(shop.till().book.held[&id].closed);
        shop.away();
        shop.pass(1_000);
        for _ in 0..10 {
            shop.sold();
        }
        shop.round().expect("delivered");
        assert_eq!(shop.ledger.invoices.len(), 10, "the ledger takes every one");
        assert_eq!(shop.ledger.alerts(), [""; 0]);
    }
}

#[test]
fn what_a_stolen_box_seals_after_its_revocation_is_refused() {
    let mut shop = Shop::new(12, 10);
    shop.pass(1_000);
    shop.round().expect("numbers");
    shop.away();
    shop.pass(HOUR_MS);
    let before = own(&mut shop);
    shop.pass(HOUR_MS);
    let now_ms = shop.wall_ms;
    shop.ledger.at(now_ms);
    let id = before.credential_id.to_string();
    shop.ledger.close(&id, CloseReason::Revoked);
    shop.pass(HOUR_MS);
    shop.sold();
    shop.round().expect("it is delivered");
    assert!(
        matches!(shop.ledger.reconcile(before), Outcome::AlreadyRecorded { .. }),
        "it is genuine"
    );
    assert_eq!(shop.ledger.alerts(), ["OFFLINE_OUT_OF_TIME"]);
    let now = shop.now();
    let standing = shop.till().standing(now);
    assert_eq!((standing.refused, standing.waiting), (1, 0));
    assert!(shop.till().book.held[&id].ended, "nothing more is sealed under it");
}

/// That its numbers were not used is said of a credential only while every seal under it is known to have come.
#[test]
fn numbers_of_a_refused_lost_or_foreign_seal_are_not_returned_as_unused() {
    let closed = |wrong: &str| {
        let mut shop = Shop::new(14, 10);
        shop.pass(1_000);
        shop.round().expect("numbers");
        let id = shop.till().book.held.keys().next().expect("one").clone();
        shop.away();
        shop.pass(1_000);
        shop.sold();
        match wrong {
            "refused" => {
                let next = shop.till().undelivered(None, u64::MAX).expect("it reads");
                let (_, sold) = next.expect("one");
                let (code, detail) = ("MANIFEST_STALE".to_owned(), String::new());
                shop.till().settle(&sold, Refused { code, detail }, 1).expect("it is noted");
            }
            "lost" => shop.till().distrust("a copy").expect("it is noted"),
            "foreign" => shop.key = 7,
            _ => {}
        }
        // Written anew and opened again, it knows the same.
        let entries = shop.till().book.entries(0);
        shop.till().spool.rewrite(&entries, 0, &mut |_, _| {}).expect("written anew");
        shop.open().expect("it opens");
        shop.pass(72 * HOUR_MS);
        shop.round().expect("it is delivered, and given back");
        assert!(shop.till().book.held.get(&id).is_none_or(|held| held.closed), "{wrong}");
        shop.ledger.block(&id.as_str().into()).closed.map(|(reason, _)| reason)
    };
    assert_eq!(closed("nothing"), Some(CloseReason::Returned));
    for wrong in ["refused", "lost", "foreign"] {
        assert_eq!(closed(wrong), Some(CloseReason::Revoked), "{wrong}");
    }
}
