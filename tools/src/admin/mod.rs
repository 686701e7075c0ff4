//! `fiscus admin`: what operators do.

mod files;
mod keys;
mod pki;

use std::process::ExitCode;

use clap::Subcommand;
use fiscus_ledger::payload::Object;

use crate::output::answer;

/// Operate a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Make and look at certificates for mutual TLS.
    #[command(subcommand)]
    Pki(pki::Pki),
    /// Make and look at the files with signing keys.
    #[command(subcommand)]
    Keys(keys::Keys),
}

/// Runs the command and prints its answer.
pub(crate) fn run(command: &Admin) -> ExitCode {
    match command {
        Admin::Pki(command) => pki::run(command),
        Admin::Keys(command) => keys::run(command),
    }
}

/// What went wrong: a number for scripts, a code for programs, a sentence for people.
#[derive(Debug)]
struct Failure {
    exit: u8,
    code: &'static str,
    detail: String,
}

impl Failure {
    fn new(exit: u8, code: &'static str, detail: &impl ToString) -> Self {
        Self { exit, code, detail: detail.to_string() }
    }
}

/// What a command found, for people and for programs.
struct Report {
    text: String,
    json: Object,
}

/// Prints what a command made of its arguments.
fn tell(command: &str, result: Result<Report, Failure>, json: bool) -> ExitCode {
    match (result, json) {
        (Ok(report), true) => answer(command, &(report.json.finish() + "\n"), 0),
        (Ok(report), false) => answer(command, &report.text, 0),
        (Err(failure), json) => {
            eprintln!("fiscus {command}: {}", failure.detail);
            if !json {
                return ExitCode::from(failure.exit);
            }
            let line = Object::new()
                .flag("ok", false)
                .text("code", failure.code)
                .text("detail", &failure.detail)
                .finish();
            answer(command, &(line + "\n"), failure.exit)
        }
    }
}
