//! What real fiscal devices sealed, as records of the ledger: the auditor sees what a lying ledger would change of it.

use fiscus_ledger::device_seal::{DeviceSeal, entry_hash, journal_origin};
use fiscus_ledger::hash::hex;
use fiscus_ledger::invoice::parse_strict;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::payload::{Object, array};
use fiscus_ledger::time::UnixMs;
use fiscus_verify::Kind;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};

use crate::forge::{Forge, OUTLET, SERIES, sale, total_of};
use crate::mutation::flips;
use crate::{export, policy, refused};

const DEVICE: &str = "DEF-GOMBE-1";

fn key() -> SigningKey {
    SigningKey::from_slice(&[5; 32]).expect("a scalar")
}

/// The payload of a device's entry, and its hash.
fn sealed(
    sequence: u64,
    previous: [u8; 32],
    invoice: &str,
    key: &SigningKey,
) -> (String, [u8; 32]) {
    let parsed = parse_strict(invoice.as_bytes(), &Manifest::builtin()).expect("the sample");
    let mut seal = DeviceSeal {
        device_id: DEVICE.into(),
        sequence,
        // A device's clock is anything.
        timestamp: UnixMs::new(sequence * 1_000),
        prev_hash: previous,
        signature: [0; 64],
        invoice: invoice.as_bytes().to_vec(),
    };
    let entry = seal.entry(&parsed);
    let signature: Signature = key.sign(entry.as_bytes());
    seal.signature.copy_from_slice(&signature.to_bytes());
    (seal.record_payload(&entry, &parsed), entry_hash(&entry))
}

fn plain(forge: &mut Forge, at: usize, kind: &str, payload: String) {
    let record = &mut forge.records[at];
    (record.kind, record.payload) = (kind.to_owned(), payload);
    for text in [&mut record.number, &mut record.total, &mut record.currency] {
        text.clear();
    }
}

fn change_of_mode(last: u64, device_last: u64) -> String {
    let device = Object::new().text("series", DEVICE).count("last", device_last).finish();
    Object::new()
        .text("outlet_id", OUTLET)
        .text("signing_mode", "cluster")
        .text("series", SERIES)
        .count("series_last", last)
        .json("device_series", &array([device]))
        .count("version", 3)
        .finish()
}

/// A registration, two sales of the ledger, three of a device, and the change of who seals.
fn with_device() -> Forge {
    let mut forge = Forge::sales(7, 1);
    let event = Object::new()
        .text("device_id", DEVICE)
        .text("outlet_id", OUTLET)
        .text("state", "active")
        .text("public_key", &hex(key().verifying_key().to_sec1_point(false).as_bytes()))
        .count("version", 2)
        .finish();
    plain(&mut forge, 0, "device_event", event);
    forge.records[1].number = format!("{SERIES}-1");
    forge.records[2].number = format!("{SERIES}-2");
    let mut previous = journal_origin(DEVICE);
    for (at, sequence) in (3..6).zip(1..) {
        let invoice = sale(2, sequence * 3);
        let (payload, hash) = sealed(sequence, previous, &invoice, &key());
        previous = hash;
        let record = &mut forge.records[at];
        record.kind = "def_sale".to_owned();
        record.number = format!("{DEVICE}-{sequence}");
        record.total = total_of(&invoice).to_owned();
        record.payload = payload;
    }
    plain(&mut forge, 6, "outlet_event", change_of_mode(2, 3));
    forge.seal();
    forge
}

/// How an export is refused after the ledger has lied, with all of its keys.
fn after_lying(change: impl FnOnce(&mut Forge)) -> Kind {
    let mut forge = with_device();
    let policy = policy(&forge.policy());
    change(&mut forge);
    forge.seal();
    refused(export(forge.export(4).as_bytes(), &policy))
}

#[test]
fn what_a_device_sealed_is_checked_with_its_own_key_and_counted() {
    let forge = with_device();
    let policy = policy(&forge.policy());
    let passed = export(forge.export(4).as_bytes(), &policy).expect("it was not touched");
    assert_eq!((passed.journal.invoices, passed.journal.last_number), (5, Some(2)));
}

#[test]
fn no_changed_byte_passes() {
    let forge = with_device();
    let policy = policy(&forge.policy());
    let text = forge.export(4);
    for (at, changed) in flips(text.as_bytes()) {
        assert!(export(&changed, &policy).is_err(), "byte {at}");
    }
}

#[test]
fn each_lie_of_the_ledger_fails_for_its_own_reason() {
    let reseal = |sequence, previous, key: &SigningKey| {
        let invoice = sale(2, 3);
        (sealed(sequence, previous, &invoice, key).0, total_of(&invoice).to_owned())
    };
    let stranger = SigningKey::from_slice(&[6; 32]).expect("a scalar");
    let signed_by_another = |forge: &mut Forge| {
        let (payload, total) = reseal(1, journal_origin(DEVICE), &stranger);
        (forge.records[3].payload, forge.records[3].total) = (payload, total);
    };
    assert_eq!(after_lying(signed_by_another), Kind::Signature, "another key");
    let left_out = |forge: &mut Forge| {
        forge.records.remove(4);
        for (at, record) in (1..).zip(&mut forge.records) {
            record.position = at;
        }
    };
    assert_eq!(after_lying(left_out), Kind::Gap, "an entry left out");
    let twice = |forge: &mut Forge| {
        forge.records.insert(4, forge.records[3].clone());
        for (at, record) in (1..).zip(&mut forge.records) {
            record.position = at;
        }
    };
    assert_eq!(after_lying(twice), Kind::Duplicate, "one twice");
    let unlinked = |forge: &mut Forge| {
        let (payload, total) = reseal(2, [9; 32], &key());
        (forge.records[4].payload, forge.records[4].total) = (payload, total);
    };
    assert_eq!(after_lying(unlinked), Kind::Chain, "an entry that links elsewhere");
    let renumbered = |forge: &mut Forge| forge.records[3].number = format!("{DEVICE}-2");
    assert_eq!(after_lying(renumbered), Kind::Chain, "a number that is not the entry's");
    let exchanged = |forge: &mut Forge| {
        let (own, other) = (sale(2, 3), sale(2, 6));
        forge.records[3].payload = forge.records[3].payload.replace(&own, &other);
        forge.records[3].total = total_of(&other).to_owned();
    };
    assert_eq!(after_lying(exchanged), Kind::Chain, "another invoice beside the entry");
    let unregistered = |forge: &mut Forge| {
        let payload = forge.records[0].payload.replace(DEVICE, "DEF-OTHER-1");
        forge.records[0].payload = payload;
    };
    assert_eq!(after_lying(unregistered), Kind::Signature, "a device of nobody");
    for (last, device_last) in [(2, 2), (2, 4), (3, 3)] {
        let misstated =
            |forge: &mut Forge| forge.records[6].payload = change_of_mode(last, device_last);
        assert_eq!(after_lying(misstated), Kind::Gap, "{last} and {device_last} stated");
    }
}
