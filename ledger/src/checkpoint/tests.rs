use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

use super::*;
use crate::note::VerifierKey;

fn verifier(name: &str, seed: u8) -> VerifierKey {
    let key = SigningKey::from_bytes(&[seed; 32]).verifying_key();
    VerifierKey::new(name, key.as_bytes()).unwrap()
}

fn signed(text: &str, keys: &[(&str, u8)]) -> Vec<u8> {
    let sign =
        |seed: u8| move |text: &[u8]| SigningKey::from_bytes(&[seed; 32]).sign(text).to_bytes();
    let (first, others) = keys.split_first().unwrap();
    let mut note = Note::sign(text, &verifier(first.0, first.1), sign(first.1)).unwrap();
    for (name, seed) in others {
        note.add_signature(&verifier(name, *seed), sign(*seed)).unwrap();
    }
    note.to_text().into_bytes()
}

#[test]
fn the_example_of_the_format_round_trips() {
    let text =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let checkpoint = Checkpoint::parse(text).unwrap();
    assert_eq!(checkpoint.origin(), "example.com/behind-the-sofa");
    assert_eq!(checkpoint.size(), 20_852_163);
    assert_eq!(checkpoint.root()[..3], [0x0a, 0xc5, 0x18]);
    assert_eq!(checkpoint.to_text(), text);
}

#[test]
fn checkpoints_have_one_spelling() {
    let root = encode_standard(&[1; 32]);
    let short_root = encode_standard(&[1; 31]);
    for (text, expected) in [
        (format!("o\n7\n{root}\n"), Ok(())),
        (format!("o\n0\n{root}\next\n"), Ok(())),
        (format!("o\n{}\n{root}\n", u64::MAX), Ok(())),
        (String::new(), Err(CheckpointError::Lines)),
        ("o\n7\n".to_owned(), Err(CheckpointError::Lines)),
        (format!("o\n7\n{root}"), Err(CheckpointError::Lines)),
        (format!("\n7\n{root}\n"), Err(CheckpointError::Origin(String::new()))),
        (format!("o +\n7\n{root}\n"), Err(CheckpointError::Origin("o +".to_owned()))),
        (format!("o\n07\n{root}\n"), Err(CheckpointError::Size)),
        (format!("o\n+7\n{root}\n"), Err(CheckpointError::Size)),
        (format!("o\n-7\n{root}\n"), Err(CheckpointError::Size)),
        (format!("o\n 7\n{root}\n"), Err(CheckpointError::Size)),
        (format!("o\n\n{root}\n"), Err(CheckpointError::Size)),
        (format!("o\n18446744073709551616\n{root}\n"), Err(CheckpointError::Size)),
        (format!("o\n7\n{short_root}\n"), Err(CheckpointError::Root)),
        (format!("o\n7\n{root}=\n"), Err(CheckpointError::Root)),
        ("o\n7\n\n".to_owned(), Err(CheckpointError::Root)),
        (format!("o\n7\n{root}\n\n"), Err(CheckpointError::Extension(1))),
        (format!("o\n7\n{root}\next\n\next\n"), Err(CheckpointError::Extension(2))),
        (format!("o\n7\n{root}\na\rb\n"), Err(CheckpointError::Extension(1))),
    ] {
        let parsed = Checkpoint::parse(&text);
        assert_eq!(parsed.as_ref().map(|_| ()).map_err(Clone::clone), expected, "{text:?}");
        if let Ok(checkpoint) = parsed {
            assert_eq!(checkpoint.to_text(), text);
        }
    }
    let newline = Checkpoint::with_extensions("o", 1, &[0; 32], vec!["a\nb".to_owned()]);
    assert_eq!(newline, Err(CheckpointError::Extension(1)));
}

#[test]
fn only_the_right_log_opens() {
    let log = origin("cluster.example", 3);
    assert_eq!(log, "cluster.example/g/3");
    let checkpoint = Checkpoint::new(&log, 5, &[7; 32]).unwrap();
    let text = checkpoint.to_text();
    let other = "cluster.example/g/4";
    let known = KnownKeys::new([verifier(&log, 1), verifier(other, 2), verifier("witness", 3)]);
    let known = known.unwrap();
    let other_origin = || OpenError::OtherOrigin { expected: other.to_owned(), found: log.clone() };
    for (note, asked, expected) in [
        (signed(&text, &[(&log, 1)]), log.as_str(), Ok(checkpoint.clone())),
        (signed(&text, &[("witness", 3), (&log, 1)]), &log, Ok(checkpoint.clone())),
        (signed(&text, &[(&log, 1)]), other, Err(other_origin())),
        (signed(&text, &[(other, 2)]), other, Err(other_origin())),
        (signed(&text, &[(other, 2)]), &log, Err(OpenError::NotSignedByLog(log.clone()))),
        (signed(&text, &[("witness", 3)]), &log, Err(OpenError::NotSignedByLog(log.clone()))),
        (
            signed(&text, &[(&log, 9)]),
            &log,
            Err(OpenError::Signature(NoteVerifyError::NoKnownSignature)),
        ),
        (signed("not\n", &[(&log, 1)]), &log, Err(OpenError::Text(CheckpointError::Lines))),
        (text.clone().into_bytes(), &log, Err(OpenError::Note(NoteParseError::NoBlankLine))),
    ] {
        assert_eq!(open(&note, asked, &known), expected);
    }
}

/// With the log's signature alone, no bit of the whole note can change.
#[test]
fn every_flipped_bit_of_a_signed_checkpoint_fails() {
    let text = Checkpoint::new("c/g/0", 5, &[7; 32]).unwrap().to_text();
    let known = KnownKeys::new([verifier("c/g/0", 1)]).unwrap();
    let note = signed(&text, &[("c/g/0", 1)]);
    assert!(open(&note, "c/g/0", &known).is_ok());
    for place in 0..note.len() * 8 {
        let mut flipped = note.clone();
        flipped[place / 8] ^= 1 << (place % 8);
        assert!(open(&flipped, "c/g/0", &known).is_err(), "bit {place}");
    }
}

proptest! {
    #[test]
    fn checkpoints_round_trip(
        origin in "[a-z./é]{1,20}",
        size in any::<u64>(),
        root in any::<[u8; 32]>(),
        extensions in proptest::collection::vec("[ -~é]{1,20}", 0..4),
    ) {
        let checkpoint = Checkpoint::with_extensions(&origin, size, &root, extensions).unwrap();
        prop_assert_eq!(Checkpoint::parse(&checkpoint.to_text()), Ok(checkpoint));
    }

    #[test]
    fn whatever_parses_is_the_one_spelling(text in "[a+ \n]{1,3}\n[0-9+]{1,3}\n[AB=]{43,44}\n?[ab\n]{0,4}") {
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert_eq!(checkpoint.to_text(), text);
        }
    }
}
