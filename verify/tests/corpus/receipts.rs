//! Receipts, and the proofs that they are in the log.

use fiscus_ledger::hash::hex;
use fiscus_ledger::payload::Object;
use fiscus_ledger::qr::{QrFields, QrPayload};
use fiscus_ledger::seal::hidden_hash;
use fiscus_ledger::time::UnixMs;
use fiscus_verify::{Failure, Kind, Policy, ReceiptSummary, verify_receipt};

use crate::forge::{Forge, Sealed};
use crate::mutation::{change, flips};
use crate::random::Random;
use crate::{policy, refused};

const HOST: &str = "verify.example.cd";

fn receipt(forge: &Forge, record: &Sealed) -> String {
    let payload = fiscus_ledger::hash::payload_hash(record.payload.as_bytes());
    let hidden_hash =
        hidden_hash(&record.outlet, record.position, &payload, &record.blind, &record.previous);
    let fields = QrFields {
        host: HOST.to_owned(),
        fiscal_number: record.number.clone(),
        timestamp: UnixMs::new(record.time_ms),
        kind: record.kind.clone(),
        total: record.total.clone(),
        currency: record.currency.clone(),
        authority_id: forge.authority_id.clone(),
        hidden_hash,
        signature: record.signature,
        credential: None,
    };
    QrPayload::new(fields).expect("the fields are right").to_url()
}

/// A C2SP `tlog-proof` of a record.
fn tlog_proof(forge: &Forge, record: &Sealed) -> String {
    let tree = forge.tree();
    let mut text = format!("c2sp.org/tlog-proof@v1\nindex {}\n", record.leaf);
    for hash in tree.inclusion(record.leaf) {
        text.push_str(&fiscus_ledger::base64::encode_standard(&hash));
        text.push('\n');
    }
    format!("{text}\n{}", forge.last(&tree))
}

fn check(text: &[u8], proof: Option<&[u8]>, policy: &Policy) -> Result<ReceiptSummary, Failure> {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    verify_receipt(&lossy(text), proof.map(lossy).as_deref(), policy)
}

#[test]
fn no_changed_byte_of_a_receipt_passes() {
    let forge = Forge::sales(3, 1);
    let policy = policy(&forge.policy());
    let url = receipt(&forge, &forge.records[1]);
    let genuine = check(url.as_bytes(), None, &policy).expect("it is genuine");
    assert_eq!(genuine.fiscal_number, "KIN-GOMBE-2");
    let ledger = QrPayload::parse(&url).expect("it is well formed").auth_code().to_string();
    assert_eq!(genuine.auth_code, ledger);
    // Nobody signs where a receipt can be looked up.
    let host = url.find(HOST).expect("it has a host");
    let signed = |at: usize| !(host..host + HOST.len()).contains(&at);
    let mut signatures = 0;
    for (at, changed) in flips(url.as_bytes()).filter(|(at, _)| signed(*at)) {
        let kind = refused(check(&changed, None, &policy));
        assert!(matches!(kind, Kind::Signature | Kind::Format), "byte {at}: {kind}");
        signatures += u32::from(kind == Kind::Signature);
    }
    assert!(
        signatures > 100,
        "changed figures fail by the signature, not by the form: {signatures}"
    );
    let mut random = Random(1);
    for _ in 0..3_000 {
        let changed = change(url.as_bytes(), &mut random);
        let changed_text = String::from_utf8_lossy(&changed).into_owned();
        if changed_text.split_once("/v?").map(|(_, query)| query)
            == url.split_once("/v?").map(|(_, query)| query)
        {
            continue;
        }
        refused(check(&changed, None, &policy));
    }
}

#[test]
fn no_changed_byte_of_a_proof_passes() {
    let forge = Forge::sales(5, 1);
    let policy = policy(&forge.policy());
    let record = &forge.records[3];
    let (url, proof) = (receipt(&forge, record), tlog_proof(&forge, record));
    let genuine = check(url.as_bytes(), Some(proof.as_bytes()), &policy).expect("it is in the log");
    assert_eq!(genuine.checkpoint.expect("a proof was checked").witnesses, 2);
    for (_, changed) in flips(proof.as_bytes()) {
        refused(check(url.as_bytes(), Some(&changed), &policy));
    }
    let mut random = Random(2);
    for _ in 0..3_000 {
        let changed = change(proof.as_bytes(), &mut random);
        refused(check(url.as_bytes(), Some(&changed), &policy));
    }
}

/// The answer of the audit interface about a record.
fn json_proof(forge: &Forge, record: &Sealed) -> String {
    let tree = forge.tree();
    let hashes: Vec<String> = tree.inclusion(record.leaf).iter().map(|hash| hex(hash)).collect();
    let checkpoint = Object::new()
        .count("group", 1)
        .text("origin", &forge.origin())
        .count("tree_size", forge.size())
        .bytes("root", &tree.range.root())
        .text("checkpoint", &forge.last(&tree))
        .finish();
    Object::new()
        .text("outlet_id", &record.outlet)
        .count("position", record.position)
        .text("fiscal_number", &record.number)
        .bytes("entry_hash", &record.entry)
        .count("group", 1)
        .count("leaf_index", record.leaf)
        .count("tree_size", forge.size())
        .texts("hashes", hashes.iter().map(String::as_str))
        .json("checkpoint", &checkpoint)
        .finish()
}

#[test]
fn no_changed_byte_of_a_proof_in_json_passes() {
    let forge = Forge::sales(5, 1);
    let policy = policy(&forge.policy());
    let record = &forge.records[3];
    let (url, proof) = (receipt(&forge, record), json_proof(&forge, record));
    check(url.as_bytes(), Some(proof.as_bytes()), &policy).expect("it is in the log");
    // A receipt tells neither the outlet's id nor the position: they are only said, and before everything that is checked.
    let only_said = proof.find(",\"fiscal_number\"").expect("a number");
    let try_changed = |changed: &[u8]| {
        let same = changed.ends_with(&proof.as_bytes()[only_said..]);
        let checked = check(url.as_bytes(), Some(changed), &policy);
        if checked.is_err() || !same {
            refused(checked);
        }
    };
    for (_, changed) in flips(proof.as_bytes()) {
        try_changed(&changed);
    }
    let mut random = Random(7);
    for _ in 0..3_000 {
        try_changed(&change(proof.as_bytes(), &mut random));
    }
    let kind = |proof: &str| refused(check(url.as_bytes(), Some(proof.as_bytes()), &policy));
    let other = json_proof(&forge, &forge.records[4]);
    assert_eq!(kind(&other), Kind::Inclusion, "the proof of another record");
    let entry = proof.replace(&hex(&record.entry), &hex(&forge.records[4].entry));
    assert_eq!(kind(&entry), Kind::Inclusion, "another entry hash than the receipt's");
    let root = proof.replace(&hex(&forge.tree().range.root()), &hex(&[5; 32]));
    assert_eq!(kind(&root), Kind::Format, "another root than the checkpoint's");
}

#[test]
fn no_changed_byte_of_an_offline_receipt_passes() {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors");
    let read =
        |name: &str| std::fs::read_to_string(format!("{vectors}/{name}")).expect("it is there");
    let policy = Policy::parse("fiscus_policy = 1\nfiscal_keys = \"fiscal-keys.json\"\n", |name| {
        Ok(read(name))
    });
    let policy = policy.expect("the policy is right");
    let seals = read("seal.json");
    let urls = seals.split("\"qr_url\": \"").skip(1).filter_map(|rest| rest.split('"').next());
    let offline =
        |url: &&str| check(url.as_bytes(), None, &policy).is_ok_and(|it| it.credential.is_some());
    let url = urls.into_iter().find(offline).expect("one is of a terminal that sealed alone");
    let query = url.find("/v?").expect("a query");
    for (_, changed) in flips(url.as_bytes()).filter(|(at, _)| *at >= query) {
        refused(check(&changed, None, &policy));
    }
    let mut random = Random(8);
    for _ in 0..3_000 {
        let changed = change(&url.as_bytes()[query..], &mut random);
        refused(check(&[&url.as_bytes()[..query], &changed].concat(), None, &policy));
    }
}

#[test]
fn each_attack_on_a_receipt_fails_for_its_own_reason() {
    let forge = Forge::sales(9, 1);
    let policy_text = forge.policy();
    let policy = policy(&policy_text);
    let record = &forge.records[3];
    let (url, proof) = (receipt(&forge, record), tlog_proof(&forge, record));
    let with =
        |url: &str, proof: &str| refused(check(url.as_bytes(), Some(proof.as_bytes()), &policy));

    let cheaper = url.replace(&format!("&t={}", record.total), "&t=0.01");
    assert_eq!(refused(check(cheaper.as_bytes(), None, &policy)), Kind::Signature, "another total");
    let other =
        Forge { authority: ed25519_dalek::SigningKey::from_bytes(&[99; 32]), ..forge.clone() };
    let mut foreign = other.clone();
    foreign.seal();
    let foreign = receipt(&foreign, &foreign.records[3]);
    assert_eq!(
        refused(check(foreign.as_bytes(), None, &policy)),
        Kind::Signature,
        "an unknown authority"
    );

    let lines: Vec<&str> = proof.split_inclusive('\n').collect();
    let cut = [&lines[..2], &lines[3..]].concat().concat();
    assert_eq!(with(&url, &cut), Kind::Inclusion, "a cut proof");
    let longer = [&lines[..3], &lines[2..]].concat().concat();
    assert_eq!(with(&url, &longer), Kind::Inclusion, "a lengthened proof");
    assert_eq!(
        with(&url, &tlog_proof(&forge, &forge.records[4])),
        Kind::Inclusion,
        "the proof of another record"
    );
    let moved = proof.replace(&format!("index {}", record.leaf), "index 5");
    assert_eq!(with(&url, &moved), Kind::Inclusion, "another place");
    let beyond = proof.replace(&format!("index {}", record.leaf), "index 9999");
    assert_eq!(with(&url, &beyond), Kind::Inclusion, "a place outside the log");

    let unseen: Vec<&str> = lines[..lines.len() - 1].to_vec();
    assert_eq!(with(&url, &unseen.concat()), Kind::Quorum, "one witness less");
    let twice =
        [&lines[..lines.len() - 1], &lines[lines.len() - 2..lines.len() - 1]].concat().concat();
    assert_eq!(with(&url, &twice), Kind::Quorum, "one witness twice");
    let tree = forge.tree();
    let elsewhere = forge.checkpoint("lubumbashi/g/1", forge.size(), &tree.range.root());
    let (head, _) = proof.split_once("\n\n").expect("a blank line");
    assert_eq!(with(&url, &format!("{head}\n\n{elsewhere}")), Kind::Signature, "another origin");
}

#[test]
fn a_compromised_key_needs_a_log_that_was_seen_before() {
    let forge = Forge::sales(4, 1);
    let record = &forge.records[2];
    let (url, proof) = (receipt(&forge, record), tlog_proof(&forge, record));
    let compromised = |until: &str| {
        let more = format!("valid_until = \"{until}\"\nstatus = \"compromised\"\n");
        policy(&format!("{}{more}", forge.policy()))
    };
    let later = compromised("2026-12-31T00:00:00.000Z");
    assert_eq!(refused(check(url.as_bytes(), None, &later)), Kind::Signature);
    check(url.as_bytes(), Some(proof.as_bytes()), &later)
        .expect("witnesses saw it while the key was good");
    // The witnesses' time is a little over two hours after the sale.
    let earlier = compromised("2026-11-21T12:30:00.000Z");
    assert_eq!(refused(check(url.as_bytes(), Some(proof.as_bytes()), &earlier)), Kind::Signature);
}
