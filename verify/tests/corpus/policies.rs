//! Policies: what they trust must be said, and a changed one is noticed.

use fiscus_verify::{Kind, Policy, PolicyError};

use crate::forge::Forge;
use crate::mutation::{change, flips};
use crate::random::Random;
use crate::{export, policy, refused};

fn parse(text: &str) -> Result<Policy, PolicyError> {
    let missing = |name: &str| PolicyError::Form(format!("no file {name}"));
    Policy::parse(text, |name| Err(missing(name)))
}

/// A policy whose last line is its digest.
fn with_digest(text: &str) -> String {
    format!("{text}{}\n", policy(text).digest_line())
}

#[test]
fn no_changed_byte_of_a_policy_is_trusted() {
    let forge = Forge::sales(2, 1);
    let text = with_digest(&forge.policy());
    let genuine = parse(&text).expect("it was not touched");
    let check = |changed: &[u8]| {
        let parsed = std::str::from_utf8(changed).ok().and_then(|changed| parse(changed).ok());
        // What means the same, such as a comment that is no longer one, trusts nobody else.
        if let Some(parsed) = parsed {
            let same = parsed.logs().eq(genuine.logs())
                && parsed.witnesses().eq(genuine.witnesses())
                && parsed.quorum() == genuine.quorum()
                && parsed.authority_ids().eq(genuine.authority_ids());
            assert!(same, "{}", String::from_utf8_lossy(changed));
            return 1;
        }
        0
    };
    let same: usize = flips(text.as_bytes()).map(|(_, changed)| check(&changed)).sum();
    assert!(same < 10, "{same} changes mean the same");
    let body = text.len() - 74;
    let mut random = Random(6);
    for _ in 0..3_000 {
        let mut changed = change(&text.as_bytes()[..body], &mut random);
        changed.extend_from_slice(&text.as_bytes()[body..]);
        check(&changed);
    }
}

#[test]
fn a_policy_that_trusts_others_refuses() {
    let forge = Forge::sales(2, 1);
    let text = forge.export(2);
    let kind = |policy_text: &str| refused(export(text.as_bytes(), &policy(policy_text)));
    let own = forge.policy();
    let mut stranger = forge.clone();
    stranger.log = ed25519_dalek::SigningKey::from_bytes(&[50; 32]);
    assert_eq!(kind(&stranger.policy()), Kind::Signature, "another log");
    let mut stranger = forge.clone();
    stranger.authority = ed25519_dalek::SigningKey::from_bytes(&[51; 32]);
    assert_eq!(kind(&stranger.policy()), Kind::Signature, "another authority");
    let mut stranger = forge.clone();
    stranger.witnesses[1].1 = ed25519_dalek::SigningKey::from_bytes(&[52; 32]);
    assert_eq!(kind(&stranger.policy()), Kind::Quorum, "another witness");
    assert_eq!(kind(&own.replace("2026-02-01T", "2026-12-01T")), Kind::Signature, "not yet valid");
    let ended = format!("{own}valid_until = \"2026-03-01T00:00:00.000Z\"\n");
    assert_eq!(kind(&ended), Kind::Signature, "no longer valid");
    assert_eq!(kind(&format!("{own}status = \"prepared\"\n")), Kind::Signature, "prepared");
    assert_eq!(
        kind(&format!("{own}algorithm = \"ML-DSA-44\"\n")),
        Kind::Signature,
        "of another algorithm"
    );
}

#[test]
fn a_log_may_be_given_by_its_raw_key() {
    let forge = Forge::sales(2, 1);
    let own = forge.policy();
    let (verifier, rest) = own.split_once("witnesses").expect("witnesses");
    let verifier = verifier.split_once('"').expect("a key").1.trim_end_matches("\"]\n");
    let raw = fiscus_ledger::hash::hex(forge.log.verifying_key().as_bytes());
    let text = format!(
        "fiscus_policy = 1\nlogs = [{{ origin = \"{}\", public_key = \"{raw}\" }}]\nwitnesses{rest}",
        forge.origin()
    );
    assert!(policy(&text).logs().eq([verifier.to_owned()]));
    export(forge.export(2).as_bytes(), &policy(&text)).expect("it was not touched");
    assert!(parse(&text.replace(&raw, &raw[2..])).is_err(), "31 bytes");
}

#[test]
fn what_is_no_policy_is_refused() {
    let own = Forge::sales(1, 1).policy();
    let refused = |text: &str, part: &str| {
        let error = parse(text).expect_err(part).to_string();
        assert!(error.contains(part), "{error} does not say {part}");
    };
    refused("", "missing field `fiscus_policy`");
    refused("fiscus_policy = 1\n", "names no log and no authority");
    refused(&own.replace("fiscus_policy = 1", "fiscus_policy = 2"), "version is 2");
    refused(&format!("trust = 1\n{own}"), "unknown field");
    refused(&own.replace("quorum = 2", "quorum = 0"), "quorum");
    refused(&own.replace("quorum = 2", "quorum = 3"), "quorum");
    refused(&own.replace("witnesses = [", "logs_ = ["), "unknown field");
    let witness =
        own.split_once("witnesses = [\"").expect("witnesses").1.split_once('"').expect("one").0;
    refused(
        &own.replace("logs = [\"", &format!("logs = [\"{witness}\", \"")),
        "no verifier key of a log",
    );
    let twice = own
        .replace("witnesses = [\"", &format!("witnesses = [\"{witness}\", \""))
        .replace("quorum = 2", "quorum = 3");
    refused(&twice, "quorum");
    let (head, tables) = own.split_once("[[authorities]]").expect("an authority");
    refused(&format!("{head}[[authorities]]{tables}\n[[authorities]]{tables}"), "listed twice");
    refused(&format!("{own}# digest 00\n"), "not its digest");
    refused(&format!("{own}# trusted\n"), "not its digest");
    refused(&format!("fiscal_keys = \"keys.json\"\n{own}"), "no file keys.json");
}
