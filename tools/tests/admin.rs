//! `fiscus admin pki` and `fiscus admin keys`, as an operator runs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use fiscus_ledger::json::Value;
use fiscus_node::signer::{KeyFile, PassphraseSource, Signer, self_test};
use tempfile::TempDir;

fn fiscus(dir: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fiscus"))
        .args(arguments.split(' '))
        .current_dir(dir)
        .output()
        .expect("fiscus runs")
}

/// The exit code and what was printed on standard output.
fn outcome(dir: &Path, arguments: &str) -> (i32, String) {
    let output = fiscus(dir, arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn succeeds(dir: &Path, arguments: &str) -> String {
    let output = fiscus(dir, arguments);
    assert!(output.status.success(), "{arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn text(json: &str, member: &str) -> String {
    match Value::parse(json).unwrap().member(member) {
        Some(Value::String(text)) => text.to_string(),
        other => panic!("{member} of {json}: {other:?}"),
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_ca_and_certificates_are_made_and_shown() {
    let dir = folder();
    let dir = dir.path();
    let ca = succeeds(dir, "admin pki init --out pki --cluster cd --days 400 --json");
    assert_eq!(text(&ca, "subject"), "cd CA");
    assert_eq!(mode(&dir.join("pki/ca.key")), 0o600);
    let issue = "admin pki issue --ca pki --role node --node-id 1 --name n1 --host n1.example --host 10.0.0.1";
    let made = succeeds(dir, &format!("{issue} --days 90 --out out --json"));
    assert_eq!(mode(&dir.join("out/n1.key")), 0o600);
    let shown = succeeds(dir, "admin pki show out/n1.pem --json");
    assert_eq!(text(&shown, "sha256"), text(&made, "sha256"));
    assert!(
        shown.contains(r#""roles":["node"],"node":1,"hosts":["n1.example","10.0.0.1"]"#),
        "{shown}"
    );
    let shown = succeeds(dir, "admin pki show out/n1.pem");
    assert!(
        shown.contains("roles        node\nnode         1\nhosts        n1.example, 10.0.0.1\n"),
        "{shown}"
    );
    for printed in [ca, made, shown] {
        assert!(!printed.contains("PRIVATE"), "{printed}");
    }
}

#[test]
fn certificates_are_replaced_only_when_told() {
    let dir = folder();
    let dir = dir.path();
    succeeds(dir, "admin pki init --out pki");
    let issue = "admin pki issue --ca pki --role admin --name a --out pki --json";
    let first = succeeds(dir, issue);
    let before = fs::read(dir.join("pki/ca.key")).unwrap();
    for command in ["admin pki init --out pki --json", issue] {
        let (exit, out) = outcome(dir, command);
        assert_eq!((exit, text(&out, "code").as_str()), (1, "PKI_FILE_EXISTS"), "{out}");
    }
    let forced = succeeds(dir, &format!("{issue} --force"));
    assert_ne!(text(&forced, "sha256"), text(&first, "sha256"));
    assert_eq!(fs::read(dir.join("pki/ca.key")).unwrap(), before);
    succeeds(dir, "admin pki init --out pki --force");
    assert_ne!(fs::read(dir.join("pki/ca.key")).unwrap(), before);
    assert_eq!(mode(&dir.join("pki/ca.key")), 0o600);
}

#[test]
fn what_cannot_be_issued_is_told() {
    let dir = folder();
    let dir = dir.path();
    succeeds(dir, "admin pki init --out pki --days 100");
    for (arguments, word) in [
        ("--ca none --role node --node-id 1 --name n --out pki", "none/ca.key"),
        ("--ca pki --role node --node-id 1 --name n --out pki", "--days"),
        ("--ca pki --role node --node-id 1 --name ca --force --out pki", "own files"),
        ("--ca pki --role node --node-id 1 --name CA --force --out pki", "own files"),
        ("--ca pki --role node --node-id 1 --name ../n --days 9 --out pki", "a name matches"),
        ("--ca pki --role node --name n --days 9 --out pki", "--node-id"),
        ("--ca pki --role proxy --node-id 3 --name n --days 9 --out pki", "--node-id"),
        ("--ca pki --role admin --name n --host node.fiscus.internal --days 9 --out pki", "role"),
    ] {
        let (exit, out) = outcome(dir, &format!("admin pki issue {arguments} --json"));
        assert_eq!((exit, text(&out, "code").as_str()), (2, "PKI_FAILED"), "{out}");
        assert!(text(&out, "detail").contains(word), "{out}");
    }
    let unknown = fiscus(dir, "admin pki issue --ca pki --role king --name n --out pki");
    assert_eq!(unknown.status.code(), Some(2));
    assert_eq!(outcome(dir, "admin pki show pki/ca.key").0, 2);
    fs::set_permissions(dir.join("pki/ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let exposed =
        "admin pki issue --ca pki --role node --node-id 1 --name n --days 9 --out pki --json";
    let (exit, out) = outcome(dir, exposed);
    assert_eq!(exit, 2);
    assert!(text(&out, "detail").contains("chmod 600"), "{out}");
    assert_eq!(fs::read_dir(dir.join("pki")).unwrap().count(), 2, "nothing else was written");
}

fn passphrase(dir: &Path, secret: &str) {
    fs::write(dir.join("secret"), secret).unwrap();
    fs::set_permissions(dir.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_key_file_holds_what_each_group_needs() {
    let dir = folder();
    let dir = dir.path();
    passphrase(dir, "correct horse battery\n");
    let generate =
        "admin keys generate --out k --groups 2 --name cd --passphrase-file secret --json";
    let made = succeeds(dir, generate);
    assert_eq!(succeeds(dir, "admin keys list k --json"), made);
    assert_eq!(mode(&dir.join("k")), 0o600);

    let secret = PassphraseSource::File(dir.join("secret")).read().unwrap();
    let file = KeyFile::open(&dir.join("k"), &secret).unwrap();
    let keys = file.keys();
    let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    let expected: Vec<String> = (0..=2)
        .flat_map(|group| ["live", "sandbox", "log"].map(|kind| format!("cd-{group}-{kind}")))
        .collect();
    assert_eq!(names, expected);
    for (index, key) in keys.iter().enumerate() {
        assert_eq!(key.group, Some(u64::try_from(index / 3).unwrap()));
        self_test(&file, &key.public_key).unwrap();
    }
    let listed = succeeds(dir, "admin keys list k");
    assert!(listed.contains(&keys[0].authority_id()), "{listed}");

    let (exit, out) = outcome(dir, generate);
    assert_eq!((exit, text(&out, "code").as_str()), (1, "KEY_FILE_EXISTS"));
}

#[test]
fn unusable_key_files_and_passphrases_are_told() {
    let dir = folder();
    let dir = dir.path();
    passphrase(dir, "short");
    let generate = "admin keys generate --out k --groups 1 --passphrase-file";
    fs::write(dir.join("open"), "correct horse battery").unwrap();
    fs::set_permissions(dir.join("open"), fs::Permissions::from_mode(0o644)).unwrap();
    for command in [
        format!("{generate} secret --json"),
        format!("{generate} open --json"),
        format!("{generate} none --json"),
        format!("{generate} secret --name a-name-that-is-too-long --json"),
        "admin keys list secret --json".to_owned(),
        "admin keys list none --json".to_owned(),
    ] {
        let (exit, out) = outcome(dir, &command);
        assert_eq!(
            (exit, text(&out, "code").as_str()),
            (2, "KEY_FILE_INVALID"),
            "{command}: {out}"
        );
    }
    assert!(!dir.join("k").exists());
    for groups in ["0", "1001", "x"] {
        let refused =
            format!("admin keys generate --out k --passphrase-file secret --groups {groups}");
        assert_eq!(outcome(dir, &refused).0, 2);
    }
}
