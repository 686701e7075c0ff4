//! Devices' lives in the directory's own journal: what a ledger that lies would have begun without the tax authority.

use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::commands::leave_message;
use fiscus_ledger::payload::Object;
use fiscus_verify::{Kind, Policy, PolicyError};

use crate::forge::Forge;
use crate::mutation::flips;
use crate::{export, policy, refused};

const DEVICE: &str = "def-gombe-1";

fn authority() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn event(device: &str, state: &str, version: u64) -> Object {
    Object::new()
        .text("device_id", device)
        .text("outlet_id", "outlet-gombe")
        .text("state", state)
        .text("public_key", "09")
        .count("version", version)
}

fn leave(by: &SigningKey, message: &str) -> String {
    Object::new()
        .text("public_key", &encode_standard(by.verifying_key().as_bytes()))
        .text("signature", &encode_standard(&by.sign(message.as_bytes()).to_bytes()))
        .finish()
}

/// A device's next life, as the ledger records it.
fn reset(device: &str, life: u64, leave: &str) -> String {
    Object::new()
        .text("device_id", device)
        .text("outlet_id", "outlet-gombe")
        .text("state", "active")
        .text("public_key", "09")
        .text("event", "reset")
        .count("version", life + 1)
        .count("life", life)
        .json("leave", leave)
        .finish()
}

fn rightly(life: u64) -> String {
    reset(DEVICE, life, &leave(&authority(), &leave_message(DEVICE, life)))
}

/// The directory's journal with these events.
fn directory(events: &[String]) -> Forge {
    let mut forge = Forge::sales(u64::try_from(events.len()).expect("few"), 1);
    for (record, event) in forge.records.iter_mut().zip(events) {
        record.outlet = "@group/0".to_owned();
        record.kind = "device_event".to_owned();
        record.payload.clone_from(event);
        for text in [&mut record.number, &mut record.total, &mut record.currency] {
            text.clear();
        }
    }
    forge.seal();
    forge
}

/// Registered, activated, and two lives more; another device beside it.
fn right() -> Vec<String> {
    vec![
        event(DEVICE, "registered", 1).finish(),
        event(DEVICE, "active", 2).finish(),
        event("def-2", "registered", 1).finish(),
        rightly(2),
        rightly(3),
        event(DEVICE, "revoked", 5).finish(),
    ]
}

fn checked(events: &[String], more: &str) -> Result<(), Kind> {
    let forge = directory(events);
    let text = forge.policy().replacen('\n', &format!("\n{more}\n"), 1);
    match export(forge.export(4).as_bytes(), &policy(&text)) {
        Ok(_) => Ok(()),
        Err(failure) => Err(failure.kind),
    }
}

fn naming(key: &SigningKey) -> String {
    format!("tax_authority_keys = [\"{}\"]", encode_standard(key.verifying_key().as_bytes()))
}

#[test]
fn each_life_has_a_leave_and_the_policy_says_whose_it_may_be() {
    assert_eq!(checked(&right(), ""), Ok(()));
    assert_eq!(checked(&right(), &naming(&authority())), Ok(()));
    let stranger = SigningKey::from_bytes(&[8; 32]);
    assert_eq!(checked(&right(), &naming(&stranger)), Err(Kind::Signature));
    for wrong in ["AAAA", "", &"A".repeat(44)] {
        let text = format!("tax_authority_keys = [\"{wrong}\"]\n{}", directory(&right()).policy());
        let read = Policy::parse(&text, |name| panic!("the policy names the file {name}"));
        assert!(matches!(read, Err(PolicyError::TaxAuthority { .. })), "{wrong}: {read:?}");
    }
}

#[test]
fn no_changed_byte_passes() {
    let forge = directory(&right());
    let policy = policy(&forge.policy());
    for (at, changed) in flips(forge.export(4).as_bytes()) {
        assert!(export(&changed, &policy).is_err(), "byte {at}");
    }
}

#[test]
fn a_life_that_the_tax_authority_has_not_let_begin_fails() {
    let replaced = |at: usize, event: String| {
        let mut events = right();
        events[at] = event;
        checked(&events, "").expect_err("it passed")
    };
    let by = |key: &SigningKey, message: &str| reset(DEVICE, 2, &leave(key, message));
    assert_eq!(replaced(3, event(DEVICE, "active", 3).finish()), Kind::Signature, "without leave");
    let elsewhere = leave_message("def-2", 2);
    assert_eq!(replaced(3, by(&authority(), &elsewhere)), Kind::Signature, "another device's");
    let other_life = leave_message(DEVICE, 3);
    assert_eq!(replaced(3, by(&authority(), &other_life)), Kind::Signature, "another life's");
    let stranger = SigningKey::from_bytes(&[8; 32]);
    let signed = leave(&stranger, &leave_message(DEVICE, 2));
    let own = encode_standard(authority().verifying_key().as_bytes());
    let signed = signed.replace(&encode_standard(stranger.verifying_key().as_bytes()), &own);
    assert_eq!(replaced(3, reset(DEVICE, 2, &signed)), Kind::Signature, "another key's");
    let good = leave(&authority(), &leave_message(DEVICE, 3));
    assert_eq!(replaced(3, rightly(3)), Kind::Gap, "a life that is passed over");
    assert_eq!(replaced(4, rightly(2)), Kind::Duplicate, "a leave that is used twice");
    let renamed = reset(DEVICE, 3, &good).replace("\"version\":4", "\"version\":3");
    assert_eq!(replaced(3, renamed), Kind::Chain, "a version that is another life");
    for (from, to) in [
        ("\"active\"", "\"revoked\""),
        ("\"reset\"", "\"again\""),
        (",\"life\":2", ""),
        ("\"signature\"", "\"signed\""),
    ] {
        assert_eq!(replaced(3, rightly(2).replace(from, to)), Kind::Format, "{from}");
    }
    assert_eq!(replaced(2, event(DEVICE, "active", 2).finish()), Kind::Duplicate, "twice");
    assert_eq!(
        refused(export(
            directory(&[event(DEVICE, "active", 2).finish()]).export(4).as_bytes(),
            &policy(&directory(&right()).policy())
        )),
        Kind::Gap,
        "a device that nobody registered"
    );
}
