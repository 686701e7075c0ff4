//! `fiscus admin`: what operators do.

mod backup;
mod backup_file;
pub(crate) mod cluster;
pub(crate) mod files;
pub(crate) mod init;
pub(crate) mod keys;
mod outlets;
mod pki;
mod restore;
mod status;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use fiscus_ledger::payload::Object;

use crate::output::answer;

/// Operate a cluster.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: cluster::Connection,
    #[command(subcommand)]
    command: Admin,
}

#[derive(Debug, Subcommand)]
enum Admin {
    Init(init::Arguments),
    Status(status::Arguments),
    /// Make and look at certificates for mutual TLS.
    #[command(subcommand)]
    Pki(pki::Pki),
    /// Make and look at the files with signing keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    Backup(backup::Arguments),
    Restore(restore::Arguments),
    /// Work with outlets.
    #[command(subcommand)]
    Outlets(outlets::Outlets),
}

/// Runs the command and prints its answer.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let connection = &arguments.connection;
    match &arguments.command {
        Admin::Init(command) => init::run(connection, command),
        Admin::Status(command) => status::run(connection, command),
        Admin::Pki(command) => pki::run(command),
        Admin::Keys(command) => keys::run(command),
        Admin::Backup(command) => backup::run(connection, command),
        Admin::Restore(command) => restore::run(command),
        Admin::Outlets(command) => outlets::run(connection, command),
    }
}

/// Runs what waits for the network.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("starting the runtime")?.block_on(work)
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
