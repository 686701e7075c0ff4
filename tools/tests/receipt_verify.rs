//! `fiscus receipt verify` as a user runs it: answers, exit codes, and which stream they go to.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fiscus_ledger::credential::{Credential, CredentialTerms};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors")
}

/// The receipts of the golden values: two online ones and an offline one.
fn urls() -> Vec<String> {
    let text = fs::read_to_string(vectors().join("seal.json")).unwrap();
    let quoted = text.split("\"qr_url\": \"").skip(1);
    quoted.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

fn online() -> String {
    urls().swap_remove(0)
}

fn offline() -> String {
    urls().swap_remove(2)
}

fn golden_keys() -> String {
    fs::read_to_string(vectors().join("fiscal-keys.json")).unwrap()
}

/// Writes a keys file for one row of one test.
fn keys_file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-keys.json"));
    fs::write(&path, text).unwrap();
    path
}

fn verify(url: &str, keys: &Path, json: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fiscus"));
    command.args(["receipt", "verify", url, "--keys"]).arg(keys);
    if json {
        command.arg("--json");
    }
    command.output().unwrap()
}

fn verify_stdin(text: &[u8], keys: &Path) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fiscus"))
        .args(["receipt", "verify", "-", "--json", "--keys"])
        .arg(keys)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Both forms of the answer to a receipt that is not proved: its exit code, its code, its words.
fn refused(name: &str, url: &str, keys: &Path, exit: i32, code: &str, words: &str) {
    let json = verify(url, keys, true);
    assert_eq!(json.status.code(), Some(exit), "{name}: {}", stdout(&json));
    let start = format!("{{\"ok\":false,\"code\":\"{code}\",\"detail\":\"");
    assert!(stdout(&json).starts_with(&start), "{name}: {}", stdout(&json));
    assert!(stdout(&json).contains(words), "{name}: {}", stdout(&json));
    assert_eq!(stdout(&json).lines().count(), 1, "{name}");
    let text = verify(url, keys, false);
    assert_eq!(text.status.code(), Some(exit), "{name}");
    assert_eq!(stdout(&text), "", "{name}");
    assert!(stderr(&text).contains(code), "{name}: {}", stderr(&text));
}

#[test]
fn genuine_receipts_are_told_in_full() {
    let keys = vectors().join("fiscal-keys.json");
    let output = verify(&online(), &keys, true);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout(&output),
        "{\"ok\":true,\"fiscal_number\":\"CD-KIN01-1\",\"timestamp\":\"2026-02-01T08:30:00.123Z\",\
         \"kind\":\"sale\",\"total\":\"1160.00\",\"currency\":\"CDF\",\
         \"fiscal_authority_id\":\"demo.10ba682c8ad13513\",\"auth_code\":\"BC62-H9RV-VQPR-CRKE\",\
         \"hidden_hash\":\"b29530e2582dfa68d536c5520a4ae62dab305d7b69779bec0348c7e42769c39f\",\
         \"entry_hash\":\"ad20d32aef15eef4d56a8e2900ac64e305bf29810794641250ed84a4a5166fdc\",\
         \"environment\":\"live\"}\n"
    );
    let text = verify(&online(), &keys, false);
    assert_eq!(text.status.code(), Some(0));
    for word in ["genuine", "CD-KIN01-1", "1160.00 CDF", "sale", "BC62-H9RV-VQPR-CRKE"] {
        assert!(stdout(&text).contains(word), "{word}");
    }
    let text = verify(&offline(), &keys, false);
    assert_eq!(text.status.code(), Some(0));
    assert!(stdout(&text).contains("offline, under credential credential-0001"));
}

#[test]
fn the_text_may_come_from_standard_input_and_through_a_messenger() {
    let keys = vectors().join("fiscal-keys.json");
    let decoded = online().replace("%3A", ":");
    for text in [online(), format!("{}\n", online()), format!("{}\r\n", online()), decoded] {
        assert_eq!(verify_stdin(text.as_bytes(), &keys).status.code(), Some(0), "{text:?}");
    }
    for text in [format!("{}\n\n", online()), format!("{} ", online()), String::new()] {
        assert_eq!(verify_stdin(text.as_bytes(), &keys).status.code(), Some(3), "{text:?}");
    }
    assert_eq!(verify_stdin(b"https://\xff", &keys).status.code(), Some(3));
    assert_eq!(verify_stdin(&[b'x'; 5_000], &keys).status.code(), Some(3));
}

#[test]
fn tampered_receipts_are_refused() {
    let keys = vectors().join("fiscal-keys.json");
    for (from, to) in [
        ("t=1160.00", "t=1160.01"),
        ("CD-KIN01-1", "CD-KIN01-2"),
        ("k=sale", "k=export"),
        ("c=CDF", "c=USD"),
        ("00.123Z", "00.124Z"),
        ("h=spUw", "h=spUx"),
        ("s=FUd6", "s=FUd7"),
    ] {
        let url = online().replacen(from, to, 1);
        refused(to, &url, &keys, 1, "SIGNATURE_INVALID", "does not match");
    }
}

#[test]
fn malformed_texts_are_refused_with_their_field() {
    let keys = vectors().join("fiscal-keys.json");
    for (from, to, words) in [
        ("https://", "http://", "scheme: "),
        ("t=1160.00", "t=1160", "t: "),
        ("k=sale", "k=gift", "k: "),
        ("%3A", "%3a", "ts: "),
        ("&c=CDF", "", "c: the parameter c is missing"),
        ("&c=CDF", "&c=CDF&\"=1", "query: receipts have no parameter "),
    ] {
        let url = online().replacen(from, to, 1);
        refused(to, &url, &keys, 3, "QR_MALFORMED", words);
    }
}

#[test]
fn the_keys_file_decides() {
    let golden = golden_keys();
    let id = "demo.10ba682c8ad13513";
    for (name, from, to, exit, code) in [
        ("unknown", id, "demo.other", 4, "AUTHORITY_UNKNOWN"),
        ("algorithm", "\"Ed25519\"", "\"RSA\"", 4, "AUTHORITY_UNKNOWN"),
        ("status", "\"active\"", "\"asleep\"", 4, "AUTHORITY_UNKNOWN"),
        ("not-json", "{\"keys\"", "\"keys\"", 5, "KEYS_INVALID"),
        ("spki", "MCowBQYDK2VwAyEA0", "MCowBQYDK2VwAyEA1", 5, "KEYS_INVALID"),
        ("later", "2026-02-01T08:30:00.000Z", "2026-02-01T08:30:10Z", 6, "KEY_NOT_VALID_AT_TIME"),
        ("ended", "null", "\"2026-02-01T08:30:00.100Z\"", 6, "KEY_NOT_VALID_AT_TIME"),
        ("prepared", "\"active\"", "\"prepared\"", 6, "KEY_NOT_VALID_AT_TIME"),
        ("compromised", "\"active\"", "\"compromised\"", 7, "KEY_COMPROMISED"),
    ] {
        assert!(golden.contains(from), "{name}");
        let keys = keys_file(name, &golden.replacen(from, to, 1));
        refused(name, &online(), &keys, exit, code, "");
    }
    let missing = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-such-file.json");
    refused("missing", &online(), &missing, 5, "KEYS_INVALID", "no-such-file.json");
    let large = keys_file("large", &" ".repeat((1 << 20) + 1));
    refused("large", &online(), &large, 5, "KEYS_INVALID", "larger than 1048576 bytes");
    let retired = keys_file("retired", &golden.replace("\"active\"", "\"retired\""));
    assert_eq!(verify(&online(), &retired, true).status.code(), Some(0));
}

#[test]
fn a_credential_that_was_widened_is_refused() {
    let url = offline();
    let (seal, compact) = url.split_once("&cr=").unwrap();
    let credential = Credential::from_compact(compact).unwrap();
    let terms = CredentialTerms { last: 1_000, ..credential.terms().clone() };
    let widened = Credential::new(terms, *credential.signature()).unwrap().to_compact();
    let keys = vectors().join("fiscal-keys.json");
    let url = format!("{seal}&cr={widened}");
    refused("widened", &url, &keys, 8, "CREDENTIAL_INVALID", "credential");
}

#[test]
fn wrong_usage_and_the_promised_exit_codes() {
    for arguments in [&["receipt", "verify"][..], &["receipt", "verify", "-"], &["receipt"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_fiscus")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_fiscus"))
        .args(["receipt", "verify", "--help"])
        .output()
        .unwrap();
    for exit in 0..=8 {
        assert!(stdout(&output).contains(&format!("\n  {exit}  ")), "{exit}");
    }
}
