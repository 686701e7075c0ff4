//! The documents are true: the tour of the README works and prints what it shows, and what the others
//! name exists.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::auditor::trust;
use support::{Demo, fresh};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The fenced blocks of a language, joined.
fn blocks(text: &str, language: &str) -> String {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn the_tour_works_and_shows_what_it_promises() {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let tour = readme.split("## Two minutes").nth(1).unwrap();
    let tour = tour.split("\n## ").next().unwrap();
    let (first, second) = tour.split_once("**A cluster.**").unwrap();
    let (_, second) = second.split_once("In another").unwrap();
    let demo = Demo::start(&fresh("readme-fiscus-demo"));
    let dir = demo.dir.to_str().unwrap().to_owned();
    // The binary of this very build stands in for `cargo run`, which would build another.
    let commands = (blocks(first, "sh") + &blocks(second, "sh"))
        .replace("cargo run --quiet --package fiscus-tools --", env!("CARGO_BIN_EXE_fiscus"))
        .replace("/tmp/fiscus-demo", &dir)
        .replace("fiscus-demo/n$", &format!("{dir}/n$"));
    assert!(commands.contains("receipt verify") && commands.contains("kill -9"));
    // As a file: on the shell's own command line, `pgrep` would find what it looks for.
    let script = demo.dir.join("tour.sh");
    fs::write(&script, commands).unwrap();
    let output =
        Command::new("sh").arg("-e").arg(&script).current_dir(repository()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("TOTALS_MISMATCH at /totals/total: the figure is not"), "{errors}");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("exit code 1"), "{shown}");
    let read = |name: &str| fs::read_to_string(demo.dir.join(name)).unwrap();
    assert!(read("receipt.html").contains("KIN-GOMBE-"), "the receipt names its number");
    assert!(read("sealed.json").contains("\"fiscal_number\""), "{}", read("sealed.json"));
    for line in blocks(first, "text").lines().chain(blocks(second, "text").lines()) {
        assert!(shown.contains(line), "the README shows, but the tour does not print: {line}");
    }
    demo.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_auditors_guide_works_as_it_is_written() {
    let guide = fs::read_to_string(repository().join("docs/AUDITING.md")).unwrap();
    let demo = Demo::start_with(&fresh("auditing"), &["--nodes", "1"]);
    // "Write the policy from these two": what people do here.
    trust(&demo).await;
    let sealed = demo.ask("GET", "/api/v1/invoices/KIN-GOMBE-1").send().await.expect(200).json();
    let code = sealed["qr_payload"].as_str().unwrap();
    let dir = demo.dir.to_str().unwrap();
    let example = "URL=http://127.0.0.1:8080 KEY=fsk_…";
    assert!(guide.contains(example) && guide.contains("zbarimg"));
    let commands = blocks(&guide, "sh")
        .replace(example, &format!("URL={} KEY={}", demo.gateway, demo.api_key))
        .replace("https://verify.example.cd/v?fn=…", code)
        .replace("/tmp/kinshasa", dir);
    assert!(!commands.contains('…'), "{commands}");
    let program = Path::new(env!("CARGO_BIN_EXE_fiscus")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let script = demo.dir.join("guide.sh");
    fs::write(&script, &commands).unwrap();
    let mut shell = Command::new("sh");
    let output = shell.arg("-e").arg(&script).current_dir(&demo.dir).env("PATH", path).output();
    let output = output.unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    // The code as a text, as a picture, through zbarimg, and with its proof.
    assert_eq!(said.matches("genuine: the signature matches").count(), 4, "{said}");
    let whole = [
        "# digest ",
        "from the outlet's first record",
        "the outlet issued exactly these records",
        "the log has no outlet \"outlet-nowhere\"",
    ];
    for words in whole {
        assert!(said.contains(words), "the guide's commands do not say: {words}\n{said}");
    }
    let listed: Value =
        serde_json::from_slice(&fs::read(demo.dir.join("listed.json")).unwrap()).unwrap();
    assert_eq!(listed["data"][0]["proved_hash"], sealed["entry_hash"]);
    demo.stop();
}

/// The Rust source of crates and of their tests.
fn sources(crates: &[&str]) -> String {
    let mut folders: Vec<PathBuf> = crates.iter().map(|name| repository().join(name)).collect();
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    text
}

fn document(name: &str) -> String {
    fs::read_to_string(repository().join("docs").join(name)).unwrap()
}

/// What stands in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_format_names_every_tag_of_a_hash_and_no_other() {
    let core =
        sources(&["device-proxy/src", "ledger", "node", "proto", "raft", "tools", "verify/src"]);
    let gateway = sources(&["gateway/src"]);
    let is_tag = |text: &&str| {
        let name = text.strip_prefix("fiscus/").and_then(|rest| rest.strip_suffix("/v1"));
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
    };
    let hashed = core.split("Tagged::new(\"").skip(1).filter_map(|rest| rest.split('"').next());
    // The demonstration's own tag is of no format.
    let hashed: BTreeSet<&str> =
        hashed.filter(is_tag).filter(|tag| *tag != "fiscus/demo/v1").collect();
    // A gateway hashes in ways of its own, too; the formats of its proofs are names of files.
    let own = gateway.split('"').filter(is_tag).filter(|tag| !tag.ends_with("-proof/v1"));
    let hashed: BTreeSet<&str> = hashed.into_iter().chain(own).collect();
    let format = document("FORMAT.md");
    let named: BTreeSet<&str> = quoted(&format).filter(is_tag).collect();
    assert!(hashed.len() > 10);
    assert_eq!(named, hashed);
}

#[test]
fn invariants_are_numbered_once_and_their_tests_exist() {
    let text = document("INVARIANTS.md");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| INV-")).collect();
    let numbers: Vec<&str> = rows.iter().map(|row| &row[2..8]).collect();
    assert!(numbers.len() > 20 && numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    let crates =
        ["device-proxy", "gateway", "jepsen", "ledger", "node", "proto", "raft", "tools", "verify"];
    let sources = sources(&crates);
    for row in rows {
        let checked_by = row.split('|').nth_back(1).unwrap();
        assert!(!checked_by.trim().is_empty(), "{row}");
        // Files and modules have a dot or one word; names of tests are sentences.
        let tests = quoted(checked_by).filter(|name| !name.contains('.') && name.contains('_'));
        for test in tests {
            assert!(sources.contains(&format!("fn {test}(")), "there is no test {test}: {row}");
        }
    }
}
