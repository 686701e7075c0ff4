//! Consistency: that a log only grew since a checkpoint that was kept.

use fiscus_ledger::hash::hex;
use fiscus_ledger::payload::Object;
use fiscus_verify::{Failure, Kind, LogSummary, Policy, verify_log};

use crate::forge::Forge;
use crate::mutation::{change, flips};
use crate::random::Random;
use crate::{policy, refused};

/// What the audit interface answers.
fn answer(forge: &Forge, from: u64, group: u64, note: &str) -> String {
    let tree = forge.tree();
    let hashes: Vec<String> = tree.consistency(from).iter().map(|hash| hex(hash)).collect();
    let checkpoint = Object::new()
        .count("group", group)
        .text("origin", &forge.origin())
        .count("tree_size", forge.size())
        .bytes("root", &tree.range.root())
        .text("checkpoint", note)
        .finish();
    Object::new()
        .count("group", group)
        .count("from_size", from)
        .count("tree_size", forge.size())
        .texts("hashes", hashes.iter().map(String::as_str))
        .json("checkpoint", &checkpoint)
        .finish()
}

struct Sample {
    policy: Policy,
    older: Forge,
    newer: Forge,
    since: String,
    proof: String,
}

fn sample() -> Sample {
    let (older, newer) = (Forge::sales(5, 1), Forge::sales(11, 1));
    let since = older.last(&older.tree());
    let proof = answer(&newer, older.size(), 1, &newer.last(&newer.tree()));
    Sample { policy: policy(&newer.policy()), older, newer, since, proof }
}

fn check(since: &[u8], proof: &[u8], policy: &Policy) -> Result<LogSummary, Failure> {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    verify_log(&lossy(since), &lossy(proof), policy)
}

#[test]
fn no_changed_byte_of_a_checkpoint_or_a_proof_passes() {
    let sample = sample();
    let (since, proof) = (sample.since.as_bytes(), sample.proof.as_bytes());
    let passed = check(since, proof, &sample.policy).expect("it only grew");
    assert_eq!((passed.since.size, passed.now.size), (6, 14));
    for (_, changed) in flips(since) {
        refused(check(&changed, proof, &sample.policy));
    }
    for (_, changed) in flips(proof) {
        refused(check(since, &changed, &sample.policy));
    }
    let mut random = Random(4);
    for _ in 0..2_000 {
        refused(check(&change(since, &mut random), proof, &sample.policy));
        refused(check(since, &change(proof, &mut random), &sample.policy));
    }
}

#[test]
fn each_attack_on_a_log_fails_for_its_own_reason() {
    let Sample { policy, older, newer, since, proof } = sample();
    let kind =
        |since: &str, proof: &str| refused(check(since.as_bytes(), proof.as_bytes(), &policy));
    let rolled_back = answer(&older, 3, 1, &older.last(&older.tree()));
    assert_eq!(
        kind(&newer.last(&newer.tree()), &rolled_back),
        Kind::Consistency,
        "a log that was cut"
    );
    let mut forked = Forge::sales(11, 1);
    forked.leaves[2] = [9; 32];
    let fork = answer(&forked, older.size(), 1, &forked.last(&forked.tree()));
    assert_eq!(kind(&since, &fork), Kind::Consistency, "a fork");
    let first = proof.find("\"hashes\":[").expect("hashes") + "\"hashes\":[".len();
    let shorter = format!("{}{}", &proof[..first], &proof[first + 67..]);
    assert_eq!(kind(&since, &shorter), Kind::Consistency, "a cut proof");
    let longer = format!("{}{}{}", &proof[..first], &proof[first..first + 67], &proof[first..]);
    assert_eq!(kind(&since, &longer), Kind::Consistency, "a lengthened proof");
    let from = answer(&newer, 7, 1, &newer.last(&newer.tree()));
    assert_eq!(kind(&since, &from), Kind::Consistency, "a proof from elsewhere");
    let elsewhere = older.checkpoint("lubumbashi/g/1", older.size(), &older.tree().range.root());
    assert_eq!(kind(&elsewhere, &proof), Kind::Signature, "another origin");
    let group = answer(&newer, older.size(), 2, &newer.last(&newer.tree()));
    assert_eq!(kind(&since, &group), Kind::Format, "a checkpoint of another group than said");
    let mut alone = newer.clone();
    alone.witnesses.clear();
    let unseen = answer(&alone, older.size(), 1, &alone.last(&alone.tree()));
    assert_eq!(kind(&since, &unseen), Kind::Quorum, "no witness");
    let none = proof.split_once(",\"checkpoint\"").expect("a checkpoint").0.to_owned() + "}";
    assert_eq!(kind(&since, &none), Kind::Format, "no checkpoint");
}

#[test]
fn one_size_with_two_roots_is_a_fork() {
    let Sample { policy, newer, .. } = sample();
    let mut forked = newer.clone();
    forked.leaves[2] = [9; 32];
    let proof = answer(&forked, newer.size(), 1, &forked.last(&forked.tree()));
    let since = newer.last(&newer.tree());
    assert_eq!(refused(check(since.as_bytes(), proof.as_bytes(), &policy)), Kind::Consistency);
}
