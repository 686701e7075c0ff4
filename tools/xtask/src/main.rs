//! `cargo xtask check`: the rules of this repository that neither rustc nor clippy can check.
//!
//! Each rule is a pure function from what was read (the cargo graph, the tracked files) to findings;
//! `workspace` and `files` do all the reading. Nothing here fetches: the lock file is the whole truth.
//!
//! Non-goals: formatting (rustfmt), types and names (rustc, clippy), behaviour (the tests).

mod arrows;
mod duplicates;
mod files;
mod finding;
mod licences;
mod links;
mod marks;
mod planted;
mod purity;
mod shape;
mod source;
mod workspace;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};

use finding::{Finding, RULES};

const USAGE: &str = "\
Checks the rules of this repository that neither rustc nor clippy can check.

Usage: cargo xtask check [--json]
       cargo xtask --help

Prints one line per finding, `path:line: rule: what to do`, on stdout and a closing line on stderr.
With --json: {\"ok\":bool,\"files\":n,\"findings\":[{\"path\",\"line\",\"rule\",\"message\"}]} on stdout.

Exit: 0 nothing found, 1 findings, 2 the check itself could not run.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["--help" | "-h" | "help"] => print_usage().map(|()| true),
        ["check"] => check(false),
        ["check", "--json"] => check(true),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn print_usage() -> Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{USAGE}\nRules:\n")?;
    for (rule, what) in RULES {
        writeln!(out, "  {rule:<18} {what}")?;
    }
    Ok(())
}

/// Runs every rule; true when nothing was found.
fn check(json: bool) -> Result<bool> {
    let root = workspace::root()?;
    let workspace = workspace::read(&root)?;
    let core = workspace::closure(&root, "fiscus-ledger", "all").context("the core's closure")?;
    let shipped = workspace::closure(&root, "fiscus-tools", workspace::SHIPPED_TARGET)
        .context("the shipped binary's closure")?;
    let files = files::read(&root)?;

    let mut findings = arrows::check(&workspace);
    findings.extend(purity::check_closure(&core));
    findings.extend(licences::check(&workspace.third_party));
    findings.extend(duplicates::check(&shipped, duplicates::ALLOWED));
    findings.extend(planted::check_shipped(&shipped));
    findings.extend(files::check(&files));
    findings.extend(links::check(&files));
    for file in files.iter().filter(|file| file.path.ends_with("Cargo.toml")) {
        findings.extend(arrows::check_lints_inherited(&file.path, &file.text));
        findings.extend(planted::check_manifest(&file.path, &file.text));
    }
    for file in &files {
        findings.extend(marks::check(&file.path, &file.text));
        findings.extend(shape::check(&file.path, &file.text));
        if purity::is_core_source(&file.path) {
            findings.extend(purity::check_source(&file.path, &file.text));
        }
    }
    findings.sort();
    report(&findings, files.len(), json)?;
    Ok(findings.is_empty())
}

fn report(findings: &[Finding], files: usize, json: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", finding::to_json(findings, files))?;
        return Ok(());
    }
    for finding in findings {
        writeln!(out, "{finding}")?;
    }
    eprintln!("xtask check: {} findings in {files} files", findings.len());
    Ok(())
}
