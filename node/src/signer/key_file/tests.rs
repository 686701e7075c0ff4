use std::fs::{self, Permissions};
use std::time::Instant;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const SECRET: &[u8] = b"correct horse battery";

fn secret() -> Passphrase {
    Passphrase::new(SECRET)
}

fn keys() -> Vec<KeyToStore> {
    vec![
        KeyToStore::from_seed(
            "fiscus-1-live",
            KeyPurpose::Authority,
            Some(Environment::Live),
            Some(1),
            &[1; 32],
        ),
        KeyToStore::from_seed(
            "fiscus-1-sandbox",
            KeyPurpose::Authority,
            Some(Environment::Sandbox),
            None,
            &[2; 32],
        ),
        KeyToStore::from_seed("fiscus-1-log", KeyPurpose::Log, None, Some(u64::MAX), &[3; 32]),
    ]
}

fn held() -> Vec<HeldKey> {
    keys().into_iter().map(|key| key.held).collect()
}

/// A folder with a key file of [`keys`].
fn folder() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.keys");
    KeyFile::create_at_cost(&path, &secret(), keys(), KdfCost::Test).unwrap();
    (dir, path)
}

fn open(path: &Path) -> Result<KeyFile, KeyFileError> {
    KeyFile::open_at_cost(path, &secret(), KdfCost::Test)
}

#[test]
fn what_is_stored_is_found_again_and_signs_the_same() {
    let (dir, path) = folder();
    let file = open(&path).unwrap();
    assert_eq!(file.keys(), held());
    assert_eq!(KeyFile::list(&path).unwrap(), held());
    let hash = [7; 32];
    let signed = file.sign(&held()[0].public_key, &Signable::EntryHash(hash)).unwrap();
    assert_eq!(signed, SigningKey::from_bytes(&[1; 32]).sign(&hash).to_bytes());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left behind");
}

#[test]
fn no_secret_is_in_the_file_or_in_what_is_printed() {
    let (_dir, path) = folder();
    let bytes = fs::read(&path).unwrap();
    for seed in [[1_u8; 32], [2; 32], [3; 32]] {
        assert!(!bytes.windows(8).any(|window| window == &seed[..8]));
    }
    assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET));
    let shown = format!("{:?} {:?} {:?}", open(&path).unwrap(), keys(), secret());
    for secret in ["correct", "99, 111, 114", "1, 1, 1, 1", "2, 2, 2, 2", "0101010101"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

#[test]
fn a_file_is_never_overwritten() {
    let (dir, path) = folder();
    let before = fs::read(&path).unwrap();
    let again = KeyFile::create_at_cost(&path, &secret(), Vec::new(), KdfCost::Test);
    assert!(matches!(again, Err(KeyFileError::Exists(_))), "{again:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn keys_are_added_and_the_old_ones_stay() {
    let (_dir, path) = folder();
    let before = fs::read(&path).unwrap();
    let mut file = open(&path).unwrap();
    let more = KeyToStore::generate_authority("next", Environment::Live, Some(1)).unwrap();
    let mut expected = held();
    expected.push(more.held.clone());
    file.add(&secret(), vec![more]).unwrap();
    assert_eq!(file.keys(), expected);
    assert_eq!(open(&path).unwrap().keys(), expected);
    let after = fs::read(&path).unwrap();
    assert_ne!(before[15..59], after[15..59], "salt and nonce are new in every writing");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let wrong = file.add(&Passphrase::new(b"another passphrase"), Vec::new());
    assert!(matches!(wrong, Err(KeyFileError::WrongPassphrase(_))));
    let twice = file.add(&secret(), keys());
    assert!(matches!(twice, Err(KeyFileError::Key { .. })), "{twice:?}");
    assert_eq!(open(&path).unwrap().keys(), expected);
}

#[test]
fn keys_that_cannot_be_stored_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k");
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    for (name, purpose, environment) in [
        ("", KeyPurpose::Log, None),
        ("a.b", KeyPurpose::Log, None),
        ("é", KeyPurpose::Log, None),
        (long.as_str(), KeyPurpose::Log, None),
        ("a", KeyPurpose::Log, Some(Environment::Live)),
        ("a", KeyPurpose::Authority, None),
    ] {
        let key = KeyToStore::from_seed(name, purpose, environment, None, &[9; 32]);
        let refused = KeyFile::create_at_cost(&path, &secret(), vec![key], KdfCost::Test);
        assert!(matches!(refused, Err(KeyFileError::Key { .. })), "{name}: {refused:?}");
        assert!(!path.exists());
    }
    let short = Passphrase::new(&SECRET[..PASSPHRASE_BYTES_MIN - 1]);
    let refused = KeyFile::create_at_cost(&path, &short, keys(), KdfCost::Test);
    assert!(matches!(refused, Err(KeyFileError::ShortPassphrase)));
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let (_dir, path) = folder();
    for mode in [0o640, 0o604, 0o644, 0o620, 0o610] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        match open(&path) {
            Err(KeyFileError::Exposed { mode: shown, .. }) => assert_eq!(shown, mode),
            other => panic!("{mode:o}: {other:?}"),
        }
        assert!(matches!(KeyFile::list(&path), Err(KeyFileError::Exposed { .. })));
    }
    fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    open(&path).unwrap();
}

#[test]
fn a_wrong_passphrase_and_weak_protection_are_told() {
    let (_dir, path) = folder();
    let other = Passphrase::new(b"correct horse battery ");
    let wrong = KeyFile::open_at_cost(&path, &other, KdfCost::Test);
    assert!(matches!(wrong, Err(KeyFileError::WrongPassphrase(_))));
    match KeyFile::open(&path, &secret()) {
        Err(KeyFileError::WeakKdf { found, least, .. }) => {
            assert_eq!((found, least), (1_000, 600_000));
        }
        other => panic!("{other:?}"),
    }
    let missing = open(&path.with_extension("gone"));
    assert!(matches!(missing, Err(KeyFileError::Io { .. })));
}

#[test]
fn production_files_take_the_full_number_of_iterations() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k");
    KeyFile::create(&path, &secret(), keys()).unwrap();
    assert_eq!(fs::read(&path).unwrap()[11..15], 600_000_u32.to_le_bytes());
    assert_eq!(KeyFile::open(&path, &secret()).unwrap().keys(), held());
}

#[test]
fn every_changed_byte_and_every_cut_is_noticed() {
    let (_dir, path) = folder();
    let good = fs::read(&path).unwrap();
    for place in 0..good.len() {
        // A larger number of iterations is only slow; the bytes that make it huge are refused anyway.
        if (12..15).contains(&place) {
            continue;
        }
        let mut bytes = good.clone();
        bytes[place] ^= 1;
        assert!(format::open(&bytes, &secret(), KdfCost::Test).is_err(), "byte {place}");
        assert!(format::open(&good[..place], &secret(), KdfCost::Test).is_err(), "cut {place}");
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert!(format::open(&longer, &secret(), KdfCost::Test).is_err());
}

proptest! {
    #[test]
    fn random_headers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = format::list(&bytes);
        let mut spelled = b"FISCKEYS\x01\x00\x01\x01\x00\x00\x00".to_vec();
        spelled.extend_from_slice(&bytes);
        let _ = format::list(&spelled);
    }
}

/// Not a benchmark: a bound that a lookup or an allocation per signature would not break, but a scan
/// of a large file, a new expansion of each name or a debug build of the curve would.
#[test]
fn many_hashes_are_signed_as_one_by_one() {
    let (_dir, path) = folder();
    let file = open(&path).unwrap();
    let public_key = held()[0].public_key;
    let hashes: Vec<Hash32> = (0..=255).map(|byte| [byte; 32]).collect();
    let started = Instant::now();
    let many = file.sign_many(&public_key, &hashes).unwrap();
    println!("{:?} for each signature", started.elapsed() / 256);
    let one_by_one: Vec<_> = hashes
        .iter()
        .map(|hash| file.sign(&public_key, &Signable::EntryHash(*hash)).unwrap())
        .collect();
    assert_eq!(many, one_by_one);
    assert!(file.sign_many(&held()[2].public_key, &hashes).is_err());
    assert!(file.sign_many(&[0; 32], &hashes).is_err());
}
