//! `fiscus admin keys`: the encrypted files with signing keys, and the keys of a running cluster.

mod add;
mod held;
pub(super) mod rotate;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use fiscus_ledger::facts::Environment;
use fiscus_ledger::payload::{Object, array};
use fiscus_node::signer::{
    HeldKey, KeyFile, KeyFileError, KeyPurpose, KeyToStore, PassphraseSource, Signer,
};

use super::cluster::Connection;
use super::{Failure, Report, operate, tell};

/// Far more groups than a cluster has, and few enough for a key file.
const GROUPS_MAX: u64 = 1_000;
/// A key's name is this and `-GROUP-sandbox`, 32 bytes at most.
const PREFIX_BYTES_MAX: usize = 19;

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    Generate(Generate),
    Add(add::Arguments),
    List(List),
    Rotate(rotate::Arguments),
    RenewLog(RenewLog),
}

/// Make a file with the signing keys of a cluster.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  (umask 077; head -c 32 /dev/urandom | base64 > passphrase)
  fiscus admin keys generate --out cd.keys --groups 3 --name cd --passphrase-file passphrase

For the directory, which is group 0, and for each data group it makes three Ed25519 keys: an authority
for live seals, one for trials, and a log key for checkpoints. Every voter of a group needs the same
file. A file that is there is never replaced: its keys could not be had again.

Exit codes:
  0  made
  1  the file is there already
  2  wrong usage, or the passphrase or the file cannot be used")]
pub(crate) struct Generate {
    /// The file to make.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The number of data groups.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=GROUPS_MAX))]
    groups: u64,
    /// What the names of the keys begin with, and so the ids of the authorities.
    #[arg(long, default_value = "fiscus", value_name = "PREFIX")]
    name: String,
    /// A file with the passphrase, readable by its owner only.
    #[arg(long, value_name = "FILE")]
    passphrase_file: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// List the keys of a file, or those that the nodes of a cluster hold. Shows nothing secret.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus admin keys list cd.keys --json
  fiscus admin --dir DIR keys list

A file is listed without its passphrase. Without a file every node is asked what it holds, and its group
what each key is for it: prepared, active, retired, or unused.

Exit codes:
  0  listed
  2  wrong usage, this is no key file, or no node answers")]
pub(crate) struct List {
    /// The key file; the nodes of the cluster are asked when absent.
    file: Option<PathBuf>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Make a file with the same authorities and new log keys, for a restored cluster.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin keys renew-log cd.keys --passphrase-file passphrase --out cd-2.keys

The authorities stay: what they signed stays verifiable, and what the backup holds unsigned can be signed.
Each group gets a new log key, because a restored cluster has new logs. The new file has the same
passphrase; the old one is not changed.

Exit codes:
  0  made
  1  the new file is there already
  2  wrong usage, or the passphrase or a file cannot be used")]
pub(crate) struct RenewLog {
    /// The key file of the cluster that was backed up.
    file: PathBuf,
    /// A file with its passphrase, readable by its owner only.
    #[arg(long, value_name = "FILE")]
    passphrase_file: PathBuf,
    /// The file to make.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command and prints its answer.
pub(super) fn run(connection: &Connection, command: &Keys) -> ExitCode {
    match command {
        Keys::Generate(arguments) => {
            tell("admin keys generate", generate(arguments), arguments.json)
        }
        Keys::Add(arguments) => add::run(arguments),
        Keys::List(arguments) => {
            let listed = match &arguments.file {
                Some(file) => list(file),
                None => operate(connection, async |cluster| held::list(&cluster).await),
            };
            tell("admin keys list", listed, arguments.json)
        }
        Keys::Rotate(arguments) => rotate::run(connection, arguments),
        Keys::RenewLog(arguments) => {
            tell("admin keys renew-log", renew_log(arguments), arguments.json)
        }
    }
}

fn failed(error: &KeyFileError) -> Failure {
    match error {
        KeyFileError::Exists(_) => Failure::new(1, "KEY_FILE_EXISTS", error),
        _ => Failure::new(2, "KEY_FILE_INVALID", error),
    }
}

fn generate(arguments: &Generate) -> Result<Report, Failure> {
    if arguments.name.len() > PREFIX_BYTES_MAX {
        let detail = format!("--name has at most {PREFIX_BYTES_MAX} bytes");
        return Err(Failure::new(2, "KEY_FILE_INVALID", &detail));
    }
    let passphrase = PassphraseSource::File(arguments.passphrase_file.clone())
        .read()
        .map_err(|error| Failure::new(2, "KEY_FILE_INVALID", &error))?;
    let keys = cluster_keys(&arguments.name, arguments.groups).map_err(|error| failed(&error))?;
    let file =
        KeyFile::create(&arguments.out, &passphrase, keys).map_err(|error| failed(&error))?;
    Ok(report(&arguments.out.display().to_string(), &file.keys()))
}

/// Two authorities and a log key for the directory and for each data group.
pub(crate) fn cluster_keys(prefix: &str, groups: u64) -> Result<Vec<KeyToStore>, KeyFileError> {
    let mut keys = Vec::new();
    for group in 0..=groups {
        for environment in [Environment::Live, Environment::Sandbox] {
            let name = format!("{prefix}-{group}-{}", environment.as_str());
            keys.push(KeyToStore::generate_authority(&name, environment, Some(group))?);
        }
        keys.push(KeyToStore::generate_log(&format!("{prefix}-{group}-log"), Some(group))?);
    }
    Ok(keys)
}

fn list(file: &Path) -> Result<Report, Failure> {
    let keys = KeyFile::list(file).map_err(|error| failed(&error))?;
    Ok(report(&file.display().to_string(), &keys))
}

fn renew_log(arguments: &RenewLog) -> Result<Report, Failure> {
    let passphrase = PassphraseSource::File(arguments.passphrase_file.clone())
        .read()
        .map_err(|error| Failure::new(2, "KEY_FILE_INVALID", &error))?;
    let old = KeyFile::open(&arguments.file, &passphrase).map_err(|error| failed(&error))?;
    let new = old.renew_log(&arguments.out, &passphrase).map_err(|error| failed(&error))?;
    Ok(report(&arguments.out.display().to_string(), &new.keys()))
}

fn report(file: &str, keys: &[HeldKey]) -> Report {
    let mut text = String::from("group  purpose    environment  name\n");
    for key in keys {
        let group = key.group.map_or_else(|| "any".to_owned(), |group| group.to_string());
        let environment = key.environment.map_or("both", Environment::as_str);
        let purpose = key.purpose.as_str();
        let _ = writeln!(text, "{group:<5}  {purpose:<9}  {environment:<11}  {}", full_name(key));
    }
    let json = Object::new()
        .flag("ok", true)
        .text("file", file)
        .json("keys", &array(keys.iter().map(key_json)));
    Report { text, json }
}

/// An authority is known by its id, a log by the name of its key.
fn full_name(key: &HeldKey) -> String {
    match key.purpose {
        KeyPurpose::Authority => key.authority_id(),
        KeyPurpose::Log => key.name.clone(),
    }
}

fn key_json(key: &HeldKey) -> String {
    let id = (key.purpose == KeyPurpose::Authority).then(|| key.authority_id());
    let group = key.group.map_or_else(|| "null".to_owned(), |group| group.to_string());
    Object::new()
        .text("name", &key.name)
        .text("purpose", key.purpose.as_str())
        .optional("environment", key.environment.map(Environment::as_str))
        .json("group", &group)
        .optional("fiscal_authority_id", id.as_deref())
        .bytes("public_key", &key.public_key)
        .finish()
}
