//! `fiscus verify …`: what an auditor checks without trusting, or asking, anybody. The checks are in the crate
//! `fiscus-verify`, which shares no code with the server; here are the arguments, the files and the answers.

mod export;
mod log;
mod picture;
mod policy;
mod range;
mod receipt;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use fiscus_verify::{Checkpoint, Failure, JournalSummary, Policy, VerifyError};
use serde_json::{Map, Value, json};

use crate::output::answer;

/// Proofs and receipts are far below this.
const FILE_BYTES_MAX: u64 = 4 << 20;
const EXIT_USAGE: u8 = 2;
const EXIT_POLICY: u8 = 3;

/// Check receipts, exports, logs and ranges offline, with the keys of a policy file.
#[derive(Debug, Args)]
#[command(after_help = "\
The policy is the only thing that is trusted: which logs, witnesses and authorities, with their keys
(`fiscus verify policy --help`). Nothing in what is checked adds to it, and nobody is asked.

Exit codes of all of them:
  0   it holds
  2   wrong usage, or a file cannot be read
  3   the policy cannot be used
  10  signature    a signature, or the key that it should be by
  11  inclusion    a record or a head is not where a proof says
  12  consistency  a log is not the continuation of an earlier state
  13  chain        a record is not what its hash says, or does not continue its journal
  14  gap          something is left out
  15  duplicate    something is there twice
  16  totals       sums are not those of the records
  17  tax          a tax, its base, or the rules for its group
  18  quorum       too few witnesses saw it
  19  format       it is not spelled as its format says")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Receipt(receipt::Arguments),
    Export(export::Arguments),
    Log(log::Arguments),
    Range(range::Arguments),
    Policy(policy::Arguments),
}

/// Runs one of them.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        Command::Receipt(arguments) => receipt::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Log(arguments) => log::run(arguments),
        Command::Range(arguments) => range::run(arguments),
        Command::Policy(arguments) => policy::run(arguments),
    }
}

/// What all of them take.
#[derive(Debug, Args)]
struct Common {
    /// What is trusted: logs, witnesses, authorities.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Policy(#[from] fiscus_verify::PolicyError),
    #[error(transparent)]
    Found(#[from] Failure),
}

/// A good answer: for programs, and for people.
struct Answer {
    members: Value,
    text: String,
}

impl Common {
    fn policy(&self) -> Result<Policy, Problem> {
        Ok(Policy::load(&self.policy)?)
    }
}

/// Prints what came out. A failure goes to standard error, or in JSON to standard output.
fn finish(command: &str, json: bool, outcome: Result<Answer, Problem>) -> ExitCode {
    let problem = match outcome {
        Ok(Answer { members, .. }) if json => {
            let mut line = Map::from_iter([("ok".to_owned(), Value::Bool(true))]);
            if let Value::Object(members) = members {
                line.extend(members);
            }
            return answer(command, &format!("{}\n", Value::Object(line)), 0);
        }
        Ok(Answer { text, .. }) => return answer(command, &text, 0),
        Err(problem) => problem,
    };
    let (exit, kind, place) = match &problem {
        Problem::Usage(_) => (EXIT_USAGE, "usage", ""),
        Problem::Policy(_) => (EXIT_POLICY, "policy", ""),
        Problem::Found(failure) => {
            (failure.kind.exit_code(), failure.kind.as_str(), &*failure.place)
        }
    };
    if json {
        let detail = match &problem {
            Problem::Found(failure) => failure.detail.clone(),
            other => other.to_string(),
        };
        let line =
            json!({"ok": false, "kind": kind, "place": place, "detail": detail, "exit": exit});
        return answer(command, &format!("{line}\n"), exit);
    }
    match &problem {
        Problem::Found(failure) => {
            eprintln!("not verified ({}): {}: {}", failure.kind, failure.place, failure.detail);
        }
        other => eprintln!("fiscus {command}: {other}"),
    }
    ExitCode::from(exit)
}

/// A file that cannot be read is no finding about what is in it.
fn found(file: &Path, error: VerifyError) -> Problem {
    match error {
        VerifyError::Found(failure) => Problem::Found(failure),
        VerifyError::Read(error) => unreadable(file, &error),
    }
}

fn unreadable(file: &Path, error: &io::Error) -> Problem {
    Problem::Usage(format!("{}: {error}", file.display()))
}

/// The bytes of a whole small file; `-` is standard input.
fn read_bytes(file: &Path, bytes_max: u64) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().take(bytes_max + 1).read_to_end(&mut bytes)
    } else {
        File::open(file).and_then(|opened| opened.take(bytes_max + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| unreadable(file, &error))?;
    if bytes.len() > usize::try_from(bytes_max).unwrap_or(usize::MAX) {
        let most = bytes_max >> 20;
        return Err(Problem::Usage(format!(
            "{}: the file is longer than {most} MiB",
            file.display()
        )));
    }
    Ok(bytes)
}

/// The text of a whole small file; `-` is standard input.
fn read(file: &Path) -> Result<String, Problem> {
    read_bytes(file, FILE_BYTES_MAX).map(text_of)
}

/// Bytes that are no text are a finding, not a file that cannot be read.
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn checkpoint_json(checkpoint: &Checkpoint) -> Value {
    json!({
        "origin": checkpoint.origin,
        "tree_size": checkpoint.size,
        "root": hex(&checkpoint.root),
        "witnesses": checkpoint.witnesses,
    })
}

fn checkpoint_text(checkpoint: &Checkpoint) -> String {
    let witnesses = match checkpoint.witnesses {
        0 => "the policy asks for no witness".to_owned(),
        1 => "1 witness has seen it".to_owned(),
        more => format!("{more} witnesses have seen it"),
    };
    format!("log          {}, {} leaves; {witnesses}\n", checkpoint.origin, checkpoint.size)
}

fn journal_json(journal: &JournalSummary) -> Value {
    let totals = journal.totals.iter().map(|total| {
        json!({"currency": total.currency, "subtotal": total.subtotal, "total_vat": total.total_vat})
    });
    json!({
        "outlet_id": journal.outlet,
        "from_position": journal.positions.0,
        "to_position": journal.positions.1,
        "from": journal.times.0,
        "to": journal.times.1,
        "from_the_start": journal.from_the_start,
        "records": journal.records,
        "invoices": journal.invoices,
        "closures": journal.closures,
        "series": journal.series,
        "last_number": journal.last_number,
        "open": journal.open,
        "missing": journal.missing,
        "totals": totals.collect::<Vec<_>>(),
        "unchecked_credits": journal.unchecked_credits,
        "perpetual_digest": journal.perpetual_digest,
        "sandbox": journal.sandbox,
    })
}

fn journal_text(journal: &JournalSummary) -> String {
    let (first, last) = journal.positions;
    let before = if journal.from_the_start {
        "from the outlet's first record"
    } else {
        "what came before is not in it"
    };
    let mut text = format!(
        "outlet       {}\nrecords      {} (positions {first} to {last}), {before}\ntimes        {} to {}\n\
         invoices     {}, daily closures {}\n",
        journal.outlet,
        journal.records,
        journal.times.0,
        journal.times.1,
        journal.invoices,
        journal.closures
    );
    if journal.sandbox {
        text.insert_str(0, "TEST / SPÉCIMEN: trials, no sale was made\n");
    }
    if let Some((series, last)) = journal.series.as_ref().zip(journal.last_number) {
        text.push_str(&format!("numbers      {series}, the last one is {last}"));
        for (what, ranges) in [("lent", &journal.open), ("missing", &journal.missing)] {
            let ranges: Vec<String> =
                ranges.iter().map(|(first, last)| format!("{first}–{last}")).collect();
            if !ranges.is_empty() {
                text.push_str(&format!("; {what}: {}", ranges.join(", ")));
            }
        }
        text.push('\n');
    }
    for total in &journal.totals {
        text.push_str(&format!(
            "total        {} without taxes {}, taxes {}\n",
            total.currency, total.subtotal, total.total_vat
        ));
    }
    if journal.unchecked_credits > 0 {
        let notes = journal.unchecked_credits;
        text.push_str(&format!("not checked  {notes} credit notes whose invoices are not in it\n"));
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
