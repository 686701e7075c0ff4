//! With SoftHSM2, which reads where its tokens are from the environment once. A test must not change
//! the environment of its own process, so one test prepares a folder and runs the other in a child.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use ed25519_dalek::{Signature, VerifyingKey};

use super::*;
use crate::signer::self_test;

const MISSING: &str = "SoftHSM2 is missing: run tests/setup.sh, or apt-get install softhsm2";
const PIN: &str = "4711-0815";
const FOLDER: &str = "FISCUS_TEST_TOKEN";
const CHILD: &str = "signer::pkcs11::tests::in_a_process_that_sees_the_token";

fn module() -> PathBuf {
    [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    ]
    .iter()
    .map(PathBuf::from)
    .find(|path| path.exists())
    .expect(MISSING)
}

#[test]
fn a_token_signs_as_a_key_file_does() {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("softhsm2.conf");
    let tokens = dir.path().join("tokens");
    fs::create_dir(&tokens).unwrap();
    let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
    fs::write(&settings, text).unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "fiscus", "--so-pin", "12345678"])
        .args(["--pin", PIN])
        .env("SOFTHSM2_CONF", &settings)
        .output()
        .expect(MISSING);
    assert!(made.status.success(), "softhsm2-util: {made:?}");
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", CHILD, "--ignored", "--nocapture"])
        .env("SOFTHSM2_CONF", &settings)
        .env(FOLDER, dir.path())
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{out}\n{err}");
    assert!(out.contains("1 passed"), "the child ran nothing: {out}");
}

#[test]
#[ignore = "run by a_token_signs_as_a_key_file_does, in an environment of its own"]
fn in_a_process_that_sees_the_token() {
    let dir = PathBuf::from(env::var(FOLDER).expect("run by the other test"));
    refuses_what_is_not_there(&dir);
    make_keys();
    let config = config(&dir, PIN);
    let signer = Pkcs11Signer::connect(&config).unwrap();
    signs(&signer);
    signs_from_many_threads(&signer);
    comes_back_after_a_reset(&signer);
    tries_a_refused_pin_once(&dir);
}

fn config(dir: &Path, pin: &str) -> Pkcs11Config {
    let file = dir.join("pin");
    fs::write(&file, pin).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let key = |label: &str, purpose, environment| {
        let (label, name) = (label.to_owned(), label.replace(' ', "-"));
        Pkcs11Key { label, name, purpose, environment, group: Some(1) }
    };
    Pkcs11Config {
        module: module(),
        token_label: "fiscus".to_owned(),
        pin: PassphraseSource::File(file),
        keys: vec![
            key("group 1 live", KeyPurpose::Authority, Some(Environment::Live)),
            key("group 1 log", KeyPurpose::Log, None),
        ],
        sessions_max: 2,
    }
}

fn refuses_what_is_not_there(dir: &Path) {
    let good = config(dir, PIN);
    let refusal = |config: &Pkcs11Config| Pkcs11Signer::connect(config).unwrap_err();
    let missing = refusal(&good);
    assert!(matches!(missing, Pkcs11Error::Key { count: 0, .. }), "{missing}");
    let no_token = refusal(&Pkcs11Config { token_label: "other".to_owned(), ..good.clone() });
    assert!(matches!(no_token, Pkcs11Error::Token { count: 0, .. }), "{no_token}");
    let no_module = refusal(&Pkcs11Config { module: dir.join("none.so"), ..good.clone() });
    assert!(matches!(no_module, Pkcs11Error::Module { .. }), "{no_module}");
    let none = refusal(&Pkcs11Config { sessions_max: 0, ..good.clone() });
    assert!(matches!(none, Pkcs11Error::NoSessions), "{none}");
    let pin = PassphraseSource::File(dir.join("no-pin"));
    let no_pin = refusal(&Pkcs11Config { pin, ..good });
    assert!(matches!(no_pin, Pkcs11Error::Pin { .. }), "{no_pin}");
}

fn make_keys() {
    let context = Pkcs11::new(module()).unwrap();
    // Whether it was initialised before does not matter here.
    let _ = context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let slot = context.get_slots_with_initialized_token().unwrap()[0];
    let session = context.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::new(PIN.into()))).unwrap();
    for label in ["group 1 live", "group 1 log"] {
        make_key(&session, label);
    }
}

fn make_key(session: &Session, label: &str) {
    // The curve's name as a PrintableString.
    let curve = b"\x13\x0cedwards25519".to_vec();
    let label = Attribute::Label(label.as_bytes().to_vec());
    let public = [
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(curve),
        label.clone(),
    ];
    let private =
        [Attribute::Token(true), Attribute::Sign(true), Attribute::Sensitive(true), label];
    session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private).unwrap();
}

fn verify(key: &HeldKey, message: &[u8], signature: &[u8; 64]) {
    VerifyingKey::from_bytes(&key.public_key)
        .unwrap()
        .verify_strict(message, &Signature::from_bytes(signature))
        .unwrap();
}

fn signs(signer: &Pkcs11Signer) {
    let keys = signer.keys();
    assert_ne!(keys[0].public_key, keys[1].public_key);
    for key in &keys {
        self_test(signer, &key.public_key).unwrap();
    }
    let hash = [7; 32];
    let first = signer.sign(&keys[0].public_key, &Signable::EntryHash(hash)).unwrap();
    let second = signer.sign(&keys[0].public_key, &Signable::EntryHash(hash)).unwrap();
    assert_eq!(first, second);
    verify(&keys[0], &hash, &first);
    let refused = signer.sign(&keys[1].public_key, &Signable::EntryHash(hash));
    assert!(matches!(refused, Err(SignError::Purpose { .. })));
    let note = b"c/g/1\n0\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    let signed = signer.sign(&keys[1].public_key, &Signable::CheckpointNote(note)).unwrap();
    verify(&keys[1], note, &signed);
}

/// More threads than sessions.
fn signs_from_many_threads(signer: &Pkcs11Signer) {
    let key = &signer.keys()[0];
    thread::scope(|scope| {
        for thread in 0..8_u8 {
            scope.spawn(move || {
                let hashes: Vec<Hash32> = (0..20).map(|n| [thread ^ (n << 3); 32]).collect();
                let signatures = signer.sign_many(&key.public_key, &hashes).unwrap();
                for (hash, signature) in hashes.iter().zip(&signatures) {
                    verify(key, hash, signature);
                }
            });
        }
    });
}

fn comes_back_after_a_reset(signer: &Pkcs11Signer) {
    let key = &signer.keys()[0];
    let context = Pkcs11::new(module()).unwrap();
    let slot = context.get_slots_with_initialized_token().unwrap()[0];
    // The token forgets the login.
    context.open_ro_session(slot).unwrap().logout().unwrap();
    verify(key, &[1; 32], &signer.sign(&key.public_key, &Signable::EntryHash([1; 32])).unwrap());
    // The library forgets everything.
    context.finalize().unwrap();
    signs_from_many_threads(signer);
}

fn tries_a_refused_pin_once(dir: &Path) {
    let context = Pkcs11::new(module()).unwrap();
    context.finalize().unwrap();
    let wrong = Pkcs11Signer::connect(&config(dir, "wrong PIN")).unwrap_err();
    assert!(matches!(wrong, Pkcs11Error::PinRefused { .. }), "{wrong}");

    // The PIN is changed while a signer runs: it is told so, and tells it again without another try.
    let signer = Pkcs11Signer::connect(&config(dir, PIN)).unwrap();
    let context = Pkcs11::new(module()).unwrap();
    let slot = context.get_slots_with_initialized_token().unwrap()[0];
    let session = context.open_rw_session(slot).unwrap();
    let (old, new) = (AuthPin::new(PIN.into()), AuthPin::new("another PIN".into()));
    session.set_pin(&old, &new).unwrap();
    session.logout().unwrap();
    let public_key = signer.keys()[0].public_key;
    let refusals: Vec<String> = (0..2)
        .map(|_| match signer.sign(&public_key, &Signable::SelfTest) {
            Err(SignError::Token { source, .. }) => {
                assert!(matches!(*source, Pkcs11Error::PinRefused { .. }), "{source}");
                source.to_string()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(refusals[0], refusals[1]);
    // Even the right PIN is not tried now: nothing was tried in between.
    session.login(UserType::User, Some(&new)).unwrap();
    session.set_pin(&new, &old).unwrap();
    session.logout().unwrap();
    assert!(signer.sign(&public_key, &Signable::SelfTest).is_err());
}
