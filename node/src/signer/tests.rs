use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU8, Ordering};

use ed25519_dalek::{Signer as _, SigningKey};

use super::*;

/// Keys in memory, as a signer that is right.
#[derive(Debug)]
struct InMemory {
    keys: Vec<(HeldKey, SigningKey)>,
}

impl InMemory {
    fn new() -> Self {
        let key = |seed: u8, purpose, environment, group| {
            let key = SigningKey::from_bytes(&[seed; 32]);
            let public_key = key.verifying_key().to_bytes();
            let name = format!("key-{seed}");
            (HeldKey { name, purpose, environment, group, public_key }, key)
        };
        let live = Some(Environment::Live);
        Self {
            keys: vec![
                key(1, KeyPurpose::Authority, live, Some(1)),
                key(2, KeyPurpose::Log, None, Some(1)),
                key(3, KeyPurpose::Authority, live, None),
            ],
        }
    }
}

impl Signer for InMemory {
    fn keys(&self) -> Vec<HeldKey> {
        self.keys.iter().map(|(held, _)| held.clone()).collect()
    }

    fn sign(&self, public_key: &Hash32, what: &Signable<'_>) -> Result<[u8; 64], SignError> {
        let (held, key) = self
            .keys
            .iter()
            .find(|(held, _)| held.public_key == *public_key)
            .ok_or(SignError::UnknownKey { public_key: *public_key })?;
        Ok(key.sign(message(held, what)?.bytes()).to_bytes())
    }
}

const NOTE: &[u8] = b"c/g/1\n0\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

#[test]
fn each_purpose_signs_its_own_things_only() {
    let signer = InMemory::new();
    let keys = signer.keys();
    let (authority, log) = (&keys[0], &keys[1]);
    let id = authority.authority_id();
    let proof = Signable::AuthorityProof { cluster: "c", group: 1, voter: 2, authority_id: &id };
    let hash = [5; 32];
    for (what, by_authority, by_log) in [
        (Signable::EntryHash(hash), true, false),
        (Signable::CredentialHash(hash), true, false),
        (Signable::ReportHash(hash), true, false),
        (proof, true, false),
        (Signable::CheckpointNote(NOTE), false, true),
        (Signable::SelfTest, true, true),
    ] {
        for (key, allowed) in [(authority, by_authority), (log, by_log)] {
            match signer.sign(&key.public_key, &what) {
                Ok(_) => assert!(allowed, "{what:?} by {}", key.purpose),
                Err(SignError::Purpose { purpose, .. }) => {
                    assert!(!allowed && purpose == key.purpose, "{what:?}");
                }
                Err(other) => panic!("{what:?}: {other}"),
            }
        }
    }
}

#[test]
fn signatures_are_over_the_published_hashes() {
    let signer = InMemory::new();
    let keys = signer.keys();
    let verify = |key: &HeldKey, bytes: &[u8], signature: [u8; 64]| {
        VerifyingKey::from_bytes(&key.public_key)
            .unwrap()
            .verify_strict(bytes, &Signature::from_bytes(&signature))
            .unwrap();
    };
    let sign = |key: &HeldKey, what| signer.sign(&key.public_key, &what).unwrap();
    verify(&keys[0], &[5; 32], sign(&keys[0], Signable::EntryHash([5; 32])));
    verify(&keys[1], NOTE, sign(&keys[1], Signable::CheckpointNote(NOTE)));
    let id = keys[2].authority_id();
    let proof = Signable::AuthorityProof { cluster: "c", group: 8, voter: 2, authority_id: &id };
    verify(&keys[2], &authority_proof_hash("c", 8, 2, &id), sign(&keys[2], proof));
}

#[test]
fn a_log_key_signs_no_text_but_a_checkpoint() {
    let signer = InMemory::new();
    let log = &signer.keys()[1].public_key;
    for text in [b"" as &[u8], &[5; 32], b"c/g/1\n0\n", &NOTE[..NOTE.len() - 1], b"\xff\n1\n2\n"] {
        let refused = signer.sign(log, &Signable::CheckpointNote(text));
        assert!(matches!(refused, Err(SignError::NoCheckpoint { .. })), "{text:?}");
    }
}

#[test]
fn a_proof_is_given_for_the_own_key_in_the_own_group_only() {
    let signer = InMemory::new();
    let keys = signer.keys();
    let (id, other) = (keys[0].authority_id(), keys[2].authority_id());
    let prove = |group, authority_id| {
        let proof = Signable::AuthorityProof { cluster: "c", group, voter: 1, authority_id };
        signer.sign(&keys[0].public_key, &proof)
    };
    prove(1, &id).unwrap();
    assert!(matches!(prove(2, &id), Err(SignError::Group { group: 2, .. })));
    assert!(matches!(prove(1, &other), Err(SignError::OtherAuthority { .. })));
    let unknown = signer.sign(&[9; 32], &Signable::SelfTest);
    assert!(matches!(unknown, Err(SignError::UnknownKey { .. })));
}

/// A signer that is wrong in a chosen way.
#[derive(Debug)]
struct Faulty {
    right: InMemory,
    fault: Fault,
    calls: AtomicU8,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Random,
    OtherKey,
}

impl Signer for Faulty {
    fn keys(&self) -> Vec<HeldKey> {
        self.right.keys()
    }

    fn sign(&self, public_key: &Hash32, what: &Signable<'_>) -> Result<[u8; 64], SignError> {
        match self.fault {
            Fault::Random => {
                let mut signature = self.right.sign(public_key, what)?;
                signature[63] ^= self.calls.fetch_add(1, Ordering::Relaxed);
                Ok(signature)
            }
            Fault::OtherKey => self.right.sign(&self.keys()[2].public_key, what),
        }
    }
}

#[test]
fn the_self_test_finds_signers_that_must_not_be_used() {
    let right = InMemory::new();
    for key in right.keys() {
        self_test(&right, &key.public_key).unwrap();
    }
    let missing = self_test(&right, &[9; 32]);
    assert!(matches!(missing, Err(SelfTestError::Sign { .. })));
    let public_key = right.keys()[0].public_key;
    let test = |fault| {
        let faulty = Faulty { right: InMemory::new(), fault, calls: AtomicU8::new(0) };
        self_test(&faulty, &public_key)
    };
    assert!(matches!(test(Fault::Random), Err(SelfTestError::NotDeterministic { .. })));
    assert!(matches!(test(Fault::OtherKey), Err(SelfTestError::Invalid { .. })));
}

#[test]
fn many_is_one_by_one_where_a_signer_knows_no_better() {
    let signer = InMemory::new();
    let public_key = signer.keys()[0].public_key;
    let hashes = [[1; 32], [2; 32]];
    let many = signer.sign_many(&public_key, &hashes).unwrap();
    let second = signer.sign(&public_key, &Signable::EntryHash(hashes[1])).unwrap();
    assert_eq!((many.len(), many[1]), (2, second));
}

#[test]
fn passphrases_come_from_files_of_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let source = PassphraseSource::File(path.clone());
    assert!(matches!(source.read(), Err(PassphraseError::Unreadable { .. })));
    let longest = "x".repeat(PASSPHRASE_BYTES_MAX);
    for (text, expected) in [
        ("open sesame", Some("open sesame")),
        ("open sesame\n", Some("open sesame")),
        ("open sesame\r\n", Some("open sesame")),
        (" a\n\n", Some(" a\n")),
        (&format!("{longest}\r\n"), Some(longest.as_str())),
        (&format!("{longest}x"), None),
        ("\n", None),
        ("", None),
    ] {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        match source.read() {
            Ok(secret) => assert_eq!(Some(secret.bytes()), expected.map(str::as_bytes)),
            Err(PassphraseError::Size { .. }) => assert_eq!(expected, None, "{text:?}"),
            Err(other) => panic!("{other}"),
        }
    }
    fs::write(&path, "open sesame").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(source.read(), Err(PassphraseError::Exposed { mode: 0o644, .. })));
}

#[test]
fn passphrases_come_from_the_environment_by_name() {
    let unset = PassphraseSource::Environment("FISCUS_NEVER_SET".to_owned()).read();
    assert!(matches!(unset, Err(PassphraseError::NotSet(name)) if name == "FISCUS_NEVER_SET"));
    let set = PassphraseSource::Environment("PATH".to_owned()).read().unwrap();
    assert!(!set.bytes().is_empty());
    assert_eq!(format!("{set:?}"), "Passphrase(secret)");
}
