//! `fiscus verify log`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use fiscus_verify::verify_log;
use serde_json::json;

use super::{Answer, Common, Problem, checkpoint_json, checkpoint_text, finish, read};

/// Has the log only grown since a checkpoint that was kept?
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  curl \"$URL/log/1/checkpoint\" > june.checkpoint                    in June, and kept
  curl -H \"Authorization: Bearer $KEY\" \"$URL/api/v1/audit/proofs/consistency?group=1&from_size=57\" > proof.json
  fiscus verify log --policy policy.toml --since june.checkpoint proof.json

`from_size` is the second line of the checkpoint. A log that was cut, changed or forked does not pass.
Exit codes: `fiscus verify --help`.")]
pub(super) struct Arguments {
    /// The answer of /api/v1/audit/proofs/consistency, or - to read it from standard input.
    proof: PathBuf,
    /// The checkpoint that was kept.
    #[arg(long, value_name = "CHECKPOINT")]
    since: PathBuf,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    finish("verify log", arguments.common.json, check(arguments))
}

fn check(arguments: &Arguments) -> Result<Answer, Problem> {
    let policy = arguments.common.policy()?;
    let log = verify_log(&read(&arguments.since)?, &read(&arguments.proof)?, &policy)?;
    let members = json!({
        "since": checkpoint_json(&log.since),
        "now": checkpoint_json(&log.now),
        "checked": {"bytes": log.bytes, "proofs": 1, "hashes": log.hashes},
    });
    let text = format!(
        "the log only grew: nothing of the first {} leaves was changed or cut off\nsince        {} leaves\n{}",
        log.since.size,
        log.since.size,
        checkpoint_text(&log.now),
    );
    Ok(Answer { members, text })
}
