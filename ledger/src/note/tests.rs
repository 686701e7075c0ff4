use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

use super::*;

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn verifier(name: &str, seed: u8) -> VerifierKey {
    VerifierKey::new(name, signing_key(seed).verifying_key().as_bytes()).unwrap()
}

fn signer(seed: u8) -> impl FnOnce(&[u8]) -> [u8; 64] {
    move |text| signing_key(seed).sign(text).to_bytes()
}

fn known(keys: &[(&str, u8)]) -> KnownKeys {
    KnownKeys::new(keys.iter().map(|(name, seed)| verifier(name, *seed))).unwrap()
}

fn signed(text: &str, keys: &[(&str, u8)]) -> Note {
    let (first, others) = keys.split_first().unwrap();
    let mut note = Note::sign(text, &verifier(first.0, first.1), signer(first.1)).unwrap();
    for (name, seed) in others {
        note.add_signature(&verifier(name, *seed), signer(*seed)).unwrap();
    }
    note
}

/// The example of the Go package in which the format began.
#[test]
fn a_note_that_others_signed_verifies() {
    let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let text = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n";
    let line = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqf\
                qdngotpRZb6KE6RyyBwJnAM=\n";
    let whole = format!("{text}\n{line}");
    let verifier = VerifierKey::parse(key).unwrap();
    assert_eq!(verifier.to_text(), key);
    let known = KnownKeys::new([verifier]).unwrap();
    let note = Note::parse(whole.as_bytes()).unwrap();
    assert_eq!(note.verify(&known).unwrap().text(), text);
    assert_eq!(note.to_text(), whole);
}

#[test]
fn verifier_keys_have_one_spelling() {
    let good = verifier("log.example/g/1", 1).to_text();
    assert_eq!(VerifierKey::parse(&good), Ok(verifier("log.example/g/1", 1)));
    let (name, id_and_key) = good.split_once('+').unwrap();
    let (id, key) = id_and_key.split_once('+').unwrap();
    let witness = encode_standard(&[&[4][..], &[7; 32]].concat());
    let short = encode_standard(&[1; 32]);
    let small_order = [&[ED25519, 1][..], &[0; 31]].concat();
    let small_order = encode_standard(&small_order);
    for (text, error) in [
        (String::new(), KeyError::Format),
        (name.to_owned(), KeyError::Format),
        (format!("{name}+{id}"), KeyError::Format),
        (format!("{name}+{id}+"), KeyError::Format),
        (format!("{name}+{}+{key}", id.to_uppercase()), KeyError::Format),
        (format!("{name}+{id}0+{key}"), KeyError::Format),
        (format!("{name}+{id}+{key}\n"), KeyError::Format),
        (format!("{name}+{id}+{key}+"), KeyError::Format),
        (format!("{name}+{id}+{short}"), KeyError::Format),
        (format!("{name}+{id}+{witness}"), KeyError::Algorithm(4)),
        (format!("+{id}+{key}"), KeyError::Name(String::new())),
        (format!("a b+{id}+{key}"), KeyError::Name("a b".to_owned())),
        (format!("a\u{a0}b+{id}+{key}"), KeyError::Name("a\u{a0}b".to_owned())),
        (format!("a\u{1}b+{id}+{key}"), KeyError::Name("a\u{1}b".to_owned())),
        (format!("{name}+{id}+{small_order}"), KeyError::PublicKey(name.to_owned())),
        (format!("{name}x+{id}+{key}"), KeyError::Id(format!("{name}x"))),
        (format!("{name}+00000000+{key}"), KeyError::Id(name.to_owned())),
    ] {
        assert_eq!(VerifierKey::parse(&text), Err(error), "{text:?}");
    }
}

#[test]
fn notes_have_one_spelling() {
    let line = signed("t\n", &[("k", 1)]).signatures()[0].to_line();
    let encoded = line.trim_end().rsplit(' ').next().unwrap();
    let three_bytes = encode_standard(&[0; 3]);
    let only_id = encode_standard(&[0; 4]);
    let long = format!("— k {}\n", encode_standard(&[0; SIGNATURE_LINE_BYTES_MAX]));
    let bad_line = NoteParseError::SignatureLine;
    for (note, error) in [
        (String::new(), NoteParseError::NoBlankLine),
        ("t\n".to_owned(), NoteParseError::NoBlankLine),
        (format!("t\n{line}"), NoteParseError::NoBlankLine),
        (format!("t{line}"), NoteParseError::NoBlankLine),
        ("t\n\n".to_owned(), NoteParseError::NoSignatures),
        (format!("t\n\n{}", line.trim_end()), NoteParseError::NoSignatures),
        (format!("t\n\n{line}\n"), NoteParseError::NoSignatures),
        (format!("t\n\n{line}x\n"), bad_line(2)),
        (format!("t\n\n\u{2013} k {encoded}\n"), bad_line(1)),
        (format!("t\n\n—  k {encoded}\n"), bad_line(1)),
        (format!("t\n\n— k  {encoded}\n"), bad_line(1)),
        (format!("t\n\n— k {encoded} \n"), bad_line(1)),
        (format!("t\n\n—  {encoded}\n"), bad_line(1)),
        (format!("t\n\n— k+ {encoded}\n"), bad_line(1)),
        (format!("t\n\n— k\u{2003}l {encoded}\n"), bad_line(1)),
        (format!("t\n\n— k {encoded}=\n"), bad_line(1)),
        (format!("t\n\n— k {three_bytes}\n"), bad_line(1)),
        (format!("t\n\n— k {only_id}\n"), bad_line(1)),
        ("t\n\n— k \n".to_owned(), bad_line(1)),
        (format!("t\n\n{long}"), bad_line(1)),
        (format!("t\r\n\n{line}"), NoteParseError::ControlCharacter),
        (format!("t\0\n\n{line}"), NoteParseError::ControlCharacter),
        (format!("t\n\n{}\r\n", line.trim_end()), NoteParseError::ControlCharacter),
        (format!("{}\n\n{line}", "t".repeat(TEXT_BYTES_MAX)), NoteParseError::TextTooLong),
        ("t".repeat(2 << 20), NoteParseError::TextTooLong),
        (format!("t\n\n{}", line.repeat(101)), NoteParseError::TooManySignatures),
    ] {
        assert_eq!(Note::parse(note.as_bytes()), Err(error), "{note:.60?}");
    }
    assert_eq!(Note::parse(b"t\xff\n\n"), Err(NoteParseError::Encoding));
    for text in
        ["\n", "t\n", "\n\n\n", "a\n\nb\n", &format!("a\n\n{line}\n{line}"), "é\u{7f}\u{2028}\n"]
    {
        let note = format!("{text}\n{}", line.repeat(100));
        let parsed = Note::parse(note.as_bytes()).unwrap();
        assert_eq!((parsed.text.as_str(), parsed.to_text()), (text, note));
    }
    let longest = format!("{}\n\n{line}", "t".repeat(TEXT_BYTES_MAX - 1));
    assert!(Note::parse(longest.as_bytes()).is_ok());
}

#[test]
fn known_signatures_count_and_others_do_not() {
    let note = signed("text\n", &[("a", 1), ("b", 2), ("a", 1), ("a", 3)]);
    let none: &[&str] = &[];
    for (keys, signers) in [
        (&[][..], none),
        (&[("c", 1)], none),
        (&[("a", 2), ("b", 1)], none),
        (&[("a", 1)], &["a"]),
        (&[("b", 2), ("a", 1)], &["a", "b"]),
        (&[("a", 3), ("a", 1)], &["a", "a"]),
        (&[("b", 2), ("z", 9)], &["b"]),
    ] {
        let keys = known(keys);
        match note.verify(&keys) {
            Ok(verified) => {
                let names: Vec<_> = verified.signers().iter().map(|key| key.name()).collect();
                assert_eq!(names, signers);
                assert_eq!(verified.text(), "text\n");
            }
            Err(error) => {
                assert_eq!((error, signers), (NoteVerifyError::NoKnownSignature, none));
            }
        }
    }
}

#[test]
fn every_signature_by_a_known_key_must_hold() {
    let (a, b) = (known(&[("a", 1)]), known(&[("b", 2)]));
    let bad = |name: &str| Err(NoteVerifyError::BadSignature(name.to_owned()));
    let both = signed("text\n", &[("a", 1), ("b", 2), ("a", 1)]);
    for place in 0..3 {
        let mut note = both.clone();
        note.signatures[place].signature[40] ^= 1;
        let (expect_a, expect_b) = (note.verify(&a), note.verify(&b));
        if place == 1 {
            assert!(expect_a.is_ok());
            assert_eq!(expect_b, bad("b"));
        } else {
            assert_eq!(expect_a, bad("a"));
            assert!(expect_b.is_ok());
        }
    }
    for length in [1, 63, 65] {
        let mut note = both.clone();
        note.signatures[0].signature.resize(length, 0);
        assert_eq!(note.verify(&a), bad("a"));
    }
    let mut other_text = both.clone();
    other_text.text = "texT\n".to_owned();
    assert_eq!(other_text.verify(&a), bad("a"));
}

#[test]
fn what_cannot_be_a_note_is_not_signed() {
    let key = verifier("k", 1);
    let long_name = "n".repeat(SIGNATURE_LINE_BYTES_MAX);
    for (text, key, error) in [
        ("t", &key, NoteSignError::NoNewline),
        ("", &key, NoteSignError::NoNewline),
        ("a\tb\n", &key, NoteSignError::ControlCharacter),
        ("t\n", &verifier("k", 2), NoteSignError::WrongKey("k".to_owned())),
        ("t\n", &verifier(&long_name, 1), NoteSignError::NameTooLong),
        (&format!("{}\n", "t".repeat(TEXT_BYTES_MAX)), &key, NoteSignError::TextTooLong),
    ] {
        assert_eq!(Note::sign(text, key, signer(1)), Err(error), "{text:.20?}");
    }
    let mut full = signed("t\n", &[("k", 1); SIGNATURES_MAX]);
    let one_more = full.add_signature(&key, signer(1));
    assert_eq!(one_more, Err(NoteSignError::TooManySignatures));
    assert_eq!(Note::parse(full.to_text().as_bytes()), Ok(full));
}

#[test]
fn two_keys_that_cannot_be_told_apart_are_refused() {
    let (one, mut other) = (verifier("k", 1), verifier("k", 2));
    assert!(KnownKeys::new([one.clone(), other.clone(), one.clone()]).is_ok());
    other.id = one.id;
    assert_eq!(KnownKeys::new([one, other]).unwrap_err(), AmbiguousKeys("k".to_owned()));
}

#[test]
fn every_flipped_bit_of_a_note_fails() {
    let whole = signed("origin\n12\nroot\n", &[("log", 1), ("witness", 2)]).to_text().into_bytes();
    let keys = known(&[("log", 1), ("witness", 2)]);
    for place in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[place / 8] ^= 1 << (place % 8);
        // A changed name or key id makes a signature unknown, but can never add a signer.
        let both_signed = Note::parse(&flipped)
            .is_ok_and(|note| note.verify(&keys).is_ok_and(|by| by.signers().len() == 2));
        assert!(!both_signed, "bit {place}");
    }
}

proptest! {
    #[test]
    fn whatever_parses_is_the_one_spelling(
        text in "[a-b\n]{0,6}\n",
        lines in proptest::collection::vec("— [a+ ]{1,3} [A-Za-z0-9+/]{6}[AQgw]=", 0..3),
        end in "\n?",
    ) {
        let whole = format!("{text}\n{}{end}", lines.join("\n"));
        if let Ok(note) = Note::parse(whole.as_bytes()) {
            prop_assert_eq!(note.to_text(), whole);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(note) = Note::parse(&bytes) {
            prop_assert_eq!(note.to_text().into_bytes(), bytes);
        }
    }

    #[test]
    fn signed_texts_verify(text in "[^\u{0}-\u{1f}]{0,40}\n", seed in 1_u8..9) {
        let note = signed(&text, &[("k", seed)]);
        let parsed = Note::parse(note.to_text().as_bytes()).unwrap();
        let keys = known(&[("k", seed)]);
        prop_assert_eq!(parsed.verify(&keys).unwrap().text(), text);
    }
}
