//! `fiscus admin keys add`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use fiscus_ledger::facts::Environment;
use fiscus_node::signer::{KeyFile, KeyToStore, PassphraseSource, Signer};

use super::{failed, report};
use crate::admin::{Failure, Report, tell};

/// A key's name has at most so many bytes.
const NAME_BYTES_MAX: usize = 32;

/// Add a new authority key to a key file, before `keys rotate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin keys add cd.keys --group 1 --environment live --name cd-1-live-2027 \\
    --passphrase-file passphrase

The keys that are in the file stay. Give the same file to every node and restart them one after the other;
nothing signs with the new key before `fiscus admin keys rotate`.

Exit codes:
  0  added
  1  the file holds a key of this name already
  2  wrong usage, or the passphrase or the file cannot be used")]
pub(crate) struct Arguments {
    /// The key file.
    file: PathBuf,
    /// The group that it signs for.
    #[arg(long)]
    group: u64,
    /// What it signs.
    #[arg(long, value_enum)]
    environment: Kind,
    /// The key's name, which its authority id begins with.
    #[arg(long)]
    name: String,
    /// A file with the passphrase, readable by its owner only.
    #[arg(long, value_name = "FILE")]
    passphrase_file: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What an authority signs.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Kind {
    Live,
    Sandbox,
}

impl Kind {
    pub(super) fn environment(self) -> Environment {
        match self {
            Self::Live => Environment::Live,
            Self::Sandbox => Environment::Sandbox,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    tell("admin keys add", add(arguments), arguments.json)
}

fn add(arguments: &Arguments) -> Result<Report, Failure> {
    if arguments.name.is_empty() || arguments.name.len() > NAME_BYTES_MAX {
        let detail = format!("--name has 1 to {NAME_BYTES_MAX} bytes");
        return Err(Failure::new(2, "KEY_FILE_INVALID", &detail));
    }
    let passphrase = PassphraseSource::File(arguments.passphrase_file.clone())
        .read()
        .map_err(|error| Failure::new(2, "KEY_FILE_INVALID", &error))?;
    let opened = KeyFile::open(&arguments.file, &passphrase);
    let mut file = opened.map_err(|error| failed(&error))?;
    if file.keys().iter().any(|key| key.name == arguments.name) {
        let detail = format!("{} holds a key {} already", arguments.file.display(), arguments.name);
        return Err(Failure::refused(detail));
    }
    let environment = arguments.environment.environment();
    let key = KeyToStore::generate_authority(&arguments.name, environment, Some(arguments.group));
    let key = key.map_err(|error| failed(&error))?;
    file.add(&passphrase, vec![key]).map_err(|error| failed(&error))?;
    Ok(report(&arguments.file.display().to_string(), &file.keys()))
}
