//! The tour of the README works as it is printed, and prints what the README shows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme-day");
    let _ = fs::remove_dir_all(&dir);
    // The binary of this very build stands in for `cargo run`, which would build another.
    let commands = blocks(tour, "sh")
        .replace("cargo run --quiet --package fiscus-tools --", env!("CARGO_BIN_EXE_fiscus"))
        .replace("/tmp/fiscus-day", dir.to_str().unwrap());
    assert!(commands.contains("receipt verify") && commands.contains("invoice check"));
    let output = Command::new("sh")
        .args(["-e", "-c", &commands])
        .current_dir(repository())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("TOTALS_MISMATCH at /totals/total: the figure is not"), "{errors}");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("exit code 1"), "{shown}");
    // Codes and ids come from a key that differs in each run.
    let drawn = ["08:15", "authority ", "auth code ", "…"];
    for line in blocks(tour, "text").lines() {
        if !drawn.iter().any(|start| line.starts_with(start)) {
            assert!(shown.contains(line), "the README shows, but the tour does not print: {line}");
        }
    }
}
