use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

use super::*;
use crate::credential::{CoverError, CredentialTerms};
use crate::facts::Environment;
use crate::keys::{AuthorityKey, KeySet, KeyStatus};
use crate::seal;

/// 2026-02-01T08:30:00.123Z
const SEALED_AT: u64 = 1_769_934_600_123;
const HOST: &str = "verify.example.cd";

fn time(unix_ms: u64) -> UnixMs {
    UnixMs::new(unix_ms)
}

fn authority() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn terminal() -> SigningKey {
    SigningKey::from_bytes(&[2; 32])
}

fn authority_id() -> String {
    seal::authority_id("demo", authority().verifying_key().as_bytes())
}

fn unsigned_fields() -> QrFields {
    QrFields {
        host: HOST.to_owned(),
        fiscal_number: "CD-KIN01-42".to_owned(),
        timestamp: time(SEALED_AT),
        kind: "sale".to_owned(),
        total: "1160.00".to_owned(),
        currency: "CDF".to_owned(),
        authority_id: authority_id(),
        hidden_hash: [0xfb; 32],
        signature: [0; 64],
        credential: None,
    }
}

fn sign(mut fields: QrFields, key: &SigningKey) -> QrPayload {
    fields.signature = key.sign(&QrPayload::new(fields.clone()).unwrap().entry_hash()).to_bytes();
    QrPayload::new(fields).unwrap()
}

fn online() -> QrPayload {
    sign(unsigned_fields(), &authority())
}

fn terms() -> CredentialTerms {
    CredentialTerms {
        id: "cred-7".to_owned(),
        outlet_id: "outlet-1".to_owned(),
        prefix: "CD-KIN01".to_owned(),
        first: 40,
        last: 50,
        not_before_ms: SEALED_AT - 1_000,
        not_after_ms: SEALED_AT + 1_000,
        terminal_key: terminal().verifying_key().to_bytes(),
        block_entry_hash: [4; 32],
        authority_id: authority_id(),
    }
}

/// An offline seal under changed terms and with changed fields, signed by both keys.
fn offline_with(
    change_terms: impl FnOnce(&mut CredentialTerms),
    change_fields: impl FnOnce(&mut QrFields),
) -> QrPayload {
    let mut terms = terms();
    change_terms(&mut terms);
    let signature = authority().sign(&terms.signed_hash()).to_bytes();
    let mut fields = unsigned_fields();
    fields.authority_id = "cred-7".to_owned();
    fields.credential = Some(Credential::new(terms, signature).unwrap());
    change_fields(&mut fields);
    sign(fields, &terminal())
}

fn offline() -> QrPayload {
    offline_with(|_| {}, |_| {})
}

fn keys_with(change: impl FnOnce(&mut AuthorityKey)) -> KeySet {
    let mut key = AuthorityKey {
        id: authority_id(),
        public_key: authority().verifying_key(),
        valid_from: time(SEALED_AT - 10_000),
        valid_until: Some(time(SEALED_AT + 10_000)),
        status: KeyStatus::Active,
        environment: Environment::Live,
    };
    change(&mut key);
    KeySet::new([key]).unwrap()
}

fn keys() -> KeySet {
    keys_with(|_| {})
}

#[test]
fn the_url_has_its_parts_in_order() {
    let url = online().to_url();
    let start = format!(
        "https://verify.example.cd/v?fn=CD-KIN01-42&ts=2026-02-01T08%3A30%3A00.123Z&k=sale\
         &t=1160.00&c=CDF&fa={}&h=-_v7",
        authority_id()
    );
    assert!(url.starts_with(&start), "{url}");
    assert!(!url.contains("&cr="));
    assert!(offline().to_url().contains("&fa=cred-7&h="));
    assert!(offline().to_url().contains("&cr=AQ"));
}

#[test]
fn values_are_escaped_in_upper_case() {
    let mut fields = unsigned_fields();
    fields.authority_id = "a/b:c+%~".to_owned();
    let payload = sign(fields, &authority());
    assert!(payload.to_url().contains("&fa=a%2Fb%3Ac%2B%25~&"), "{}", payload.to_url());
    assert_eq!(QrPayload::parse(&payload.to_url()), Ok(payload));
}

#[test]
fn genuine_receipts_verify() {
    for (payload, credential_id) in [(online(), None), (offline(), Some("cred-7".to_owned()))] {
        let read = QrPayload::parse(&payload.to_url()).unwrap();
        assert_eq!(read, payload);
        let verified = verify(&read, &keys()).unwrap();
        assert_eq!(verified.entry_hash, payload.entry_hash());
        assert_eq!(verified.auth_code, AuthCode::of_signature(&payload.fields().signature));
        assert_eq!(verified.authority_id, authority_id());
        assert_eq!(verified.credential_id, credential_id);
    }
}

#[test]
fn both_colons_of_the_time_may_stand_raw_and_no_other() {
    let mut fields = unsigned_fields();
    fields.authority_id = "a:b".to_owned();
    let payload = sign(fields, &authority());
    let url = payload.to_url();
    let tolerated = url.replace("08%3A30%3A00", "08:30:00");
    assert_eq!(QrPayload::parse(&tolerated).as_ref(), Ok(&payload));
    for mixed in ["08:30%3A00", "08%3A30:00"] {
        let error = QrPayload::parse(&url.replace("08%3A30%3A00", mixed)).unwrap_err();
        let spelling = Spelling::MixedColons;
        assert_eq!(error, QrError::Spelling { field: "ts", spelling });
    }
    let error = QrPayload::parse(&url.replace("a%3Ab", "a:b")).unwrap_err();
    assert_eq!(error, QrError::Spelling { field: "fa", spelling: Spelling::RawCharacter });
}

/// Each row replaces one piece of a good URL and names the field that is then wrong.
// long: one table of spellings, a row each
#[test]
fn other_spellings_are_refused_with_their_field() {
    let url = online().to_url();
    let signature = url.rsplit_once("&s=").unwrap().1.to_owned();
    let with_signature = format!("&s={signature}");
    let spelling = |field, spelling| QrError::Spelling { field, spelling };
    let value = |field| QrError::Value { field, rule: "" };
    use Spelling::*;
    for (from, to, expected) in [
        ("https://", "http://", QrError::Scheme),
        ("https://", "HTTPS://", QrError::Scheme),
        ("https://", " https://", QrError::Scheme),
        ("https://", "", QrError::Scheme),
        (HOST, "Verify.example.cd", QrError::Host),
        (HOST, "", QrError::Host),
        (HOST, "user@verify.example.cd", QrError::UserInfo),
        ("/v?", "/w?", QrError::Path),
        ("/v?", "//v?", QrError::Path),
        ("/v?", "/v/?", QrError::Path),
        ("/v?", "?", QrError::Path),
        ("/v?fn=CD-KIN01-42&", "/v#", QrError::Fragment),
        (&with_signature, &format!("{with_signature}#"), QrError::Fragment),
        ("fn=CD-KIN01-42&", "", QrError::Missing("fn")),
        ("&k=sale", "", QrError::Missing("k")),
        (&with_signature, "", QrError::Missing("s")),
        (&with_signature, "&", QrError::Unknown(String::new())),
        (&with_signature, &format!("{with_signature}&"), QrError::Unknown(String::new())),
        (&with_signature, &format!("{with_signature}&x=1"), QrError::Unknown("x".to_owned())),
        (&with_signature, &with_signature.repeat(2), QrError::Duplicate("s")),
        ("&k=sale", "&k=sale&k=sale", QrError::Duplicate("k")),
        ("&k=sale&t=1160.00", "&t=1160.00&k=sale", QrError::OutOfOrder("t")),
        ("&k=sale", "&K=sale", QrError::Unknown("K".to_owned())),
        ("&k=sale", "&k", value("k")),
        ("%3A30", "%3a30", spelling("ts", LowerCaseEscape)),
        ("%3A30", "%3", spelling("ts", BrokenEscape)),
        ("=sale", "=sal%65", spelling("k", NeedlessEscape)),
        ("=sale", "=sal%", spelling("k", BrokenEscape)),
        ("=sale", "=sal%6", spelling("k", BrokenEscape)),
        ("=sale", "=sal%zz", spelling("k", BrokenEscape)),
        ("=sale", "=sal%FF", spelling("k", NotText)),
        ("=sale", "=sale+", spelling("k", RawCharacter)),
        ("=sale", "=salé", spelling("k", RawCharacter)),
        (&with_signature, &format!("{with_signature}=="), spelling("s", Padding)),
        (&with_signature, &format!("{with_signature} "), spelling("s", RawCharacter)),
        (&with_signature, &format!("{with_signature}\n"), spelling("s", RawCharacter)),
        (&with_signature, &format!("{with_signature}A"), value("s")),
        ("&h=-_v7", "&h=", value("h")),
        ("=sale", "=Sale", value("k")),
        ("=sale", "=online_sale", value("k")),
        ("=sale", "=", value("k")),
        ("=1160.00", "=1160", value("t")),
        ("=1160.00", "=1160.0", value("t")),
        ("=1160.00", "=1160.000", value("t")),
        ("=1160.00", "=01160.00", value("t")),
        ("=1160.00", "=-1160.00", value("t")),
        ("=1160.00", "=.00", value("t")),
        ("=1160.00", "=1160%2C00", value("t")),
        ("=1160.00", "=1000000000000000000000.00", value("t")),
        ("=CDF", "=cdf", value("c")),
        ("=CDF", "=CD", value("c")),
        ("=CDF", "=CDFX", value("c")),
        ("=CD-KIN01-42", "=CD-KIN01-042", value("fn")),
        ("=CD-KIN01-42", "=CD-KIN01-0", value("fn")),
        ("=CD-KIN01-42", "=42", value("fn")),
        ("=CD-KIN01-42", "=cd-KIN01-42", value("fn")),
        ("00.123Z", "00Z", value("ts")),
        ("00.123Z", "00.123%2B00%3A00", value("ts")),
        ("00.123Z", "60.123Z", value("ts")),
        ("2026-02-01", "2026-02-30", value("ts")),
        ("2026-02-01", "1969-12-31", value("ts")),
        (&format!("&fa={}", authority_id()), "&fa=", value("fa")),
        (&authority_id(), "a%20b", value("fa")),
        (&authority_id(), &"x".repeat(129), value("fa")),
    ] {
        assert!(url.contains(from), "{from}");
        let error = QrPayload::parse(&url.replacen(from, to, 1)).unwrap_err();
        let same = match (&error, &expected) {
            (QrError::Value { field, .. }, QrError::Value { field: other, .. }) => field == other,
            _ => error == expected,
        };
        assert!(same, "{from} → {to}: {error:?}, not {expected:?}");
        assert_eq!(error.field(), expected.field());
    }
}

#[test]
fn long_texts_and_broken_credentials_are_refused() {
    assert_eq!(QrPayload::parse(&"x".repeat(4097)), Err(QrError::TooLong));
    let url = online().to_url();
    for (credential, expected) in [
        (
            "",
            "the parameter cr cannot be read: the credential cannot be decoded: \
              the bytes end inside version",
        ),
        ("AQ==", "the parameter cr has base64 padding, which receipts leave out"),
        (
            "AQ",
            "the parameter cr cannot be read: the credential cannot be decoded: \
                the bytes end inside id",
        ),
    ] {
        let error = QrPayload::parse(&format!("{url}&cr={credential}")).unwrap_err();
        assert_eq!((error.field(), error.to_string().as_str()), ("cr", expected));
    }
}

#[test]
fn hosts_are_lower_case_names_or_addresses_with_an_optional_port() {
    let long_label = "a".repeat(64);
    let long_name = format!("{}a", "a.".repeat(127));
    for (host, good) in [
        ("verify.example.cd", true),
        ("localhost", true),
        ("localhost:8443", true),
        ("127.0.0.1:1", true),
        ("1.example", true),
        ("xn--caf-dma.example", true),
        ("", false),
        (":80", false),
        ("example.cd.", false),
        ("exa_mple.cd", false),
        ("-a.cd", false),
        ("a-.cd", false),
        ("a..cd", false),
        ("127.0.0", false),
        ("127.0.0.01", false),
        ("256.0.0.1", false),
        ("[::1]", false),
        ("a:", false),
        ("a:0", false),
        ("a:080", false),
        ("a:65536", false),
        ("a:+80", false),
        ("a:80:80", false),
        (&long_label, false),
        (&long_label[1..], true),
        (&long_name, false),
        (&long_name[2..], true),
    ] {
        let mut fields = unsigned_fields();
        fields.host = host.to_owned();
        assert_eq!(QrPayload::new(fields).is_ok(), good, "{host}");
    }
}

#[test]
fn the_life_of_the_key_decides_after_the_signature() {
    type Change = fn(&mut AuthorityKey);
    let rows: [(&str, Change, Result<(), VerifyError>); 9] = [
        ("first moment", |k| k.valid_from = time(SEALED_AT), Ok(())),
        ("last moment", |k| k.valid_until = Some(time(SEALED_AT)), Ok(())),
        ("no end", |k| k.valid_until = None, Ok(())),
        ("retired", |k| k.status = KeyStatus::Retired, Ok(())),
        (
            "too early",
            |k| k.valid_from = time(SEALED_AT + 1),
            Err(VerifyError::KeyNotValidAtTime(authority_id())),
        ),
        (
            "too late",
            |k| k.valid_until = Some(time(SEALED_AT - 1)),
            Err(VerifyError::KeyNotValidAtTime(authority_id())),
        ),
        (
            "prepared",
            |k| k.status = KeyStatus::Prepared,
            Err(VerifyError::KeyPrepared(authority_id())),
        ),
        (
            "compromised",
            |k| k.status = KeyStatus::Compromised,
            Err(VerifyError::KeyCompromised(authority_id())),
        ),
        ("other key", |k| k.public_key = terminal().verifying_key(), {
            Err(VerifyError::SignatureInvalid)
        }),
    ];
    for (name, change, expected) in rows {
        assert_eq!(verify(&online(), &keys_with(change)).map(|_| ()), expected, "{name}");
    }
    let unknown = Err(VerifyError::AuthorityUnknown(authority_id()));
    assert_eq!(verify(&online(), &KeySet::default()), unknown);
    assert_eq!(verify(&offline(), &KeySet::default()), unknown);
}

#[test]
fn offline_seals_verify_within_their_credential_only() {
    let uncovered = |payload: &QrPayload| match verify(payload, &keys()) {
        Err(VerifyError::NotCovered(error)) => error,
        other => panic!("{other:?}"),
    };
    let below = offline_with(|_| {}, |f| f.fiscal_number = "CD-KIN01-39".to_owned());
    assert_eq!(uncovered(&below), CoverError::OutOfRange { sequence: 39, first: 40, last: 50 });
    let elsewhere = offline_with(|_| {}, |f| f.fiscal_number = "CD-KIN02-42".to_owned());
    assert!(matches!(uncovered(&elsewhere), CoverError::OtherSeries { .. }));
    let late = offline_with(|_| {}, |f| f.timestamp = time(SEALED_AT + 1_001));
    assert_eq!(uncovered(&late), CoverError::OutOfWindow);
    let renamed = offline_with(|_| {}, |f| f.authority_id = "cred-8".to_owned());
    assert!(matches!(uncovered(&renamed), CoverError::OtherCredential { .. }));

    let no_key = offline_with(|t| t.terminal_key = [2; 32], |_| {});
    assert_eq!(verify(&no_key, &keys()), Err(VerifyError::TerminalKey));
    let other_terminal =
        offline_with(|t| t.terminal_key = authority().verifying_key().to_bytes(), |_| {});
    assert_eq!(verify(&other_terminal, &keys()), Err(VerifyError::SignatureInvalid));

    let mut widened = offline().fields().clone();
    let forged = CredentialTerms { last: 1_000, ..terms() };
    let signature = *offline().fields().credential.as_ref().unwrap().signature();
    widened.credential = Some(Credential::new(forged, signature).unwrap());
    let widened = QrPayload::new(widened).unwrap();
    assert_eq!(verify(&widened, &keys()), Err(VerifyError::CredentialSignature));
}

#[test]
fn a_key_that_rotates_while_a_terminal_is_offline_leaves_its_paper_genuine() {
    let rotated = keys_with(|key| key.valid_until = Some(time(SEALED_AT - 500)));
    assert!(verify(&offline(), &rotated).is_ok());
    let earlier = keys_with(|key| key.valid_until = Some(time(SEALED_AT - 1_001)));
    let refusal = Err(VerifyError::KeyNotValidAtTime(authority_id()));
    assert_eq!(verify(&offline(), &earlier), refusal);
}

fn is_genuine(text: &str, keys: &KeySet) -> bool {
    QrPayload::parse(text).is_ok_and(|payload| verify(&payload, keys).is_ok())
}

/// Every position, every printable character and some others: replaced, inserted, removed, swapped.
#[test]
fn no_changed_character_outside_the_host_goes_unnoticed() {
    let keys = keys();
    let alphabet: Vec<char> = (' '..='~').chain(['\n', '\0', 'é', '：']).collect();
    let host = "https://".len()..="https://".len() + HOST.len();
    for payload in [online(), offline()] {
        let url = payload.to_url();
        for place in (0..=url.len()).filter(|place| !host.contains(place)) {
            let (before, after) = url.split_at(place);
            let mut rest = after.chars();
            let here = rest.next();
            for other in &alphabet {
                let inserted = format!("{before}{other}{after}");
                assert!(!is_genuine(&inserted, &keys), "{inserted:?}");
                if here.is_some_and(|here| here != *other) {
                    let replaced = format!("{before}{other}{}", rest.as_str());
                    assert!(!is_genuine(&replaced, &keys), "{replaced:?}");
                }
            }
            if here.is_some() {
                let removed = format!("{before}{}", rest.as_str());
                assert!(!is_genuine(&removed, &keys), "{removed:?}");
            }
        }
    }
}

fn any_fields() -> impl Strategy<Value = QrFields> {
    (
        (
            "[a-z0-9]{1,10}(\\.[a-z]{1,5}){0,2}(:[1-9][0-9]{0,3})?",
            "[A-Z0-9]{1,12}(-[A-Z0-9]{1,12}){0,2}-[1-9][0-9]{0,9}",
        ),
        (0_u64..=253_402_300_799_999, 0_usize..5, "(0|[1-9][0-9]{0,13})\\.[0-9]{2}", "[A-Z]{3}"),
        ("[!-~]{1,128}", any::<[u8; 32]>(), any::<[u8; 32]>(), any::<bool>()),
    )
        .prop_filter_map("a host whose last label is digits is an address", |parts| {
            let ((host, number), (at, kind, total, currency), (authority, hidden, half, has)) =
                parts;
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&half);
            is_host(&host).then(|| QrFields {
                host,
                fiscal_number: number,
                timestamp: time(at),
                kind: RECEIPT_KINDS[kind].to_owned(),
                total,
                currency,
                authority_id: authority,
                hidden_hash: hidden,
                signature,
                credential: has.then(|| Credential::new(terms(), signature).unwrap()),
            })
        })
}

proptest! {
    #[test]
    fn payloads_round_trip(fields in any_fields()) {
        let payload = QrPayload::new(fields).unwrap();
        let url = payload.to_url();
        prop_assert!(url.len() <= URL_BYTES_MAX);
        prop_assert_eq!(QrPayload::parse(&url), Ok(payload.clone()));
        prop_assert_eq!(QrPayload::parse(&url.replacen("%3A", ":", 2)), Ok(payload));
    }

    #[test]
    fn random_text_never_panics(text in "\\PC{0,200}") {
        let _ = QrPayload::parse(&text);
        let _ = QrPayload::parse(&format!("https://{text}"));
        let _ = QrPayload::parse(&format!("https://a/v?{text}"));
    }

    #[test]
    fn what_is_read_is_written_back(
        place in 0_usize..500,
        length in 0_usize..6,
        replacement in "[A-Za-z0-9%&=:/?#.~_-]{0,6}",
        is_offline: bool,
    ) {
        let url = if is_offline { offline() } else { online() }.to_url();
        let start = place % url.len();
        let end = (start + length).min(url.len());
        let changed = format!("{}{replacement}{}", &url[..start], &url[end..]);
        if let Ok(payload) = QrPayload::parse(&changed) {
            let canonical = payload.to_url();
            prop_assert!(changed == canonical || changed == canonical.replacen("%3A", ":", 2));
        }
    }
}
