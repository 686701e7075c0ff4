//! `fiscus admin`: what operators do.
//!
//! Invariants: what changes a cluster says so first and asks, or is told `--yes`; data goes to standard
//! output, progress and questions to standard error; exit codes are 0 done, 1 the state forbids it or
//! something was found, 2 wrong usage or nobody answers, 3 a command was sent and nobody knows whether it
//! was taken.

mod api_keys;
mod apply_version;
mod backup;
mod backup_file;
pub(crate) mod cluster;
mod config;
mod consent;
mod devices;
mod directory;
pub(crate) mod files;
mod groups;
pub(crate) mod init;
pub(crate) mod keys;
mod manifest;
mod nodes;
mod organisations;
mod outlets;
mod pki;
mod restore;
mod roster;
mod scrub;
mod snapshot;
mod status;
mod tail;
mod uploads;
mod wal;

use std::borrow::Cow;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use fiscus_ledger::payload::Object;
use fiscus_proto::client::{ClientError, ReadError};

use crate::output::{ReaderGone, answer};

/// The exit code of a change that was sent, and of which nobody knows whether it happened.
const OUTCOME_UNKNOWN: u8 = 3;
/// One read is answered within this time, or nobody can.
const READ_WAIT: Duration = Duration::from_secs(15);
/// A long list has come within this time.
const LIST_WAIT: Duration = Duration::from_secs(600);

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
    /// Look at the nodes of a cluster, add and remove them.
    #[command(subcommand)]
    Nodes(nodes::Nodes),
    /// Look at groups, and say who leads them.
    #[command(subcommand)]
    Groups(groups::Groups),
    /// Look at outlets, register and change them.
    #[command(subcommand)]
    Outlets(outlets::Outlets),
    /// How far the tax authority has the invoices.
    #[command(subcommand)]
    Uploads(uploads::Uploads),
    /// Make organisations, the tenants, and list them.
    #[command(subcommand)]
    Organisations(organisations::Organisations),
    /// Make keys to the API, list and revoke them.
    #[command(subcommand)]
    ApiKeys(api_keys::ApiKeys),
    /// Register fiscal devices, list, replace and revoke them.
    #[command(subcommand)]
    Devices(devices::Devices),
    /// Publish tax manifests and list them.
    #[command(subcommand)]
    Manifest(manifest::Manifests),
    Tail(tail::Arguments),
    Snapshot(snapshot::Arguments),
    Scrub(scrub::Arguments),
    Config(config::Arguments),
    /// Raise the rules that the groups follow.
    #[command(subcommand)]
    ApplyVersion(apply_version::ApplyVersion),
    /// Look at the log of a node that is stopped.
    #[command(subcommand)]
    Wal(wal::Wal),
    /// Make and look at certificates for mutual TLS.
    #[command(subcommand)]
    Pki(pki::Pki),
    /// Make, look at and change signing keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    Backup(backup::Arguments),
    Restore(restore::Arguments),
}

/// Runs the command and prints its answer.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let connection = &arguments.connection;
    match &arguments.command {
        Admin::Init(command) => init::run(connection, command),
        Admin::Status(command) => status::run(connection, command),
        Admin::Nodes(command) => nodes::run(connection, command),
        Admin::Groups(command) => groups::run(connection, command),
        Admin::Outlets(command) => outlets::run(connection, command),
        Admin::Uploads(command) => uploads::run(connection, command),
        Admin::Organisations(command) => organisations::run(connection, command),
        Admin::ApiKeys(command) => api_keys::run(connection, command),
        Admin::Devices(command) => devices::run(connection, command),
        Admin::Manifest(command) => manifest::run(connection, command),
        Admin::Tail(command) => tail::run(connection, command),
        Admin::Snapshot(command) => snapshot::run(connection, command),
        Admin::Scrub(command) => scrub::run(connection, command),
        Admin::Config(command) => config::run(connection, command),
        Admin::ApplyVersion(command) => apply_version::run(connection, command),
        Admin::Wal(command) => wal::run(command),
        Admin::Pki(command) => pki::run(command),
        Admin::Keys(command) => keys::run(connection, command),
        Admin::Backup(command) => backup::run(connection, command),
        Admin::Restore(command) => restore::run(command),
    }
}

/// Runs what waits for the network.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("starting the runtime")?.block_on(work)
}

/// Runs what is done with a cluster.
fn operate<T>(
    connection: &cluster::Connection,
    work: impl AsyncFnOnce(cluster::Cluster) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let cluster = connection.open()?;
    block_on(async { Ok(work(cluster).await) })?
}

/// What went wrong: a number for scripts, a code for programs, a sentence for people.
#[derive(Debug)]
struct Failure {
    exit: u8,
    code: Cow<'static, str>,
    detail: String,
}

impl Failure {
    fn new(exit: u8, code: &'static str, detail: &impl ToString) -> Self {
        Self { exit, code: code.into(), detail: detail.to_string() }
    }

    /// The arguments name what is not there, or cannot be.
    fn argument(detail: impl Into<String>) -> Self {
        Self { exit: 2, code: "ARGUMENT_INVALID".into(), detail: detail.into() }
    }

    /// The state of the cluster forbids it; nothing was done.
    fn refused(detail: impl Into<String>) -> Self {
        Self { exit: 1, code: "OPERATION_REFUSED".into(), detail: detail.into() }
    }

    /// It was begun, and is not done.
    fn unfinished(detail: impl Into<String>) -> Self {
        Self { exit: 1, code: "OPERATION_UNFINISHED".into(), detail: detail.into() }
    }

    /// What a node says to a call.
    fn of_call(node: &impl ToString, status: &tonic::Status) -> Self {
        use tonic::Code;
        let detail = format!("{}: {}", node.to_string(), cluster::explain(status));
        match status.code() {
            Code::FailedPrecondition | Code::Aborted | Code::Unimplemented | Code::NotFound => {
                Self::refused(detail)
            }
            Code::InvalidArgument => Self::argument(detail),
            // Only an id can be there already.
            Code::AlreadyExists => Self { exit: 1, code: "NODE_ID_USED".into(), detail },
            _ => Self { exit: 2, code: "CLUSTER_UNREACHABLE".into(), detail },
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let detail = format!("{error:#}");
        if let Some(refusal) = error.downcast_ref::<cluster::Refusal>() {
            return Self { exit: 1, code: refusal.code.clone().into(), detail };
        }
        if error.is::<ReaderGone>() {
            return Self { exit: 0, code: "".into(), detail };
        }
        if error.is::<cluster::OutcomeUnknown>() {
            return Self { exit: OUTCOME_UNKNOWN, code: "OUTCOME_UNKNOWN".into(), detail };
        }
        Self { exit: 2, code: "CLUSTER_UNREACHABLE".into(), detail }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Rejected { .. } => Self::refused(error.to_string()),
            ReadError::Unavailable { .. } => Self::from(anyhow::Error::from(error)),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::from(anyhow::Error::from(error))
    }
}

/// What a command found, for people and for programs.
#[derive(Debug)]
struct Report {
    text: String,
    json: Object,
}

impl Report {
    /// A sentence, and fields beside `ok`.
    fn done(sentence: &str, json: Object) -> Self {
        Self { text: format!("{sentence}\n"), json: json.text("detail", sentence) }
    }

    /// The first field of every answer.
    fn ok() -> Object {
        Object::new().flag("ok", true)
    }
}

/// Prints what a command made of its arguments.
fn tell(command: &str, result: Result<Report, Failure>, json: bool) -> ExitCode {
    match (result, json) {
        (Ok(report), true) => answer(command, &(report.json.finish() + "\n"), 0),
        (Ok(report), false) => answer(command, &report.text, 0),
        // Whoever read the answer has gone away: that is no failure, and there is nobody to tell.
        (Err(Failure { exit: 0, .. }), _) => ExitCode::SUCCESS,
        (Err(failure), json) => {
            eprintln!("fiscus {command}: {}", failure.detail);
            if !json {
                return ExitCode::from(failure.exit);
            }
            let line = Object::new()
                .flag("ok", false)
                .text("code", &failure.code)
                .text("detail", &failure.detail)
                .finish();
            answer(command, &(line + "\n"), failure.exit)
        }
    }
}
