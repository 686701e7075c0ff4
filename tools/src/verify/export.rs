//! `fiscus verify export`.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use fiscus_verify::{ExportOptions, Progress, verify_export};
use serde_json::{Value, json};

use super::{
    Answer, Common, Problem, checkpoint_json, checkpoint_text, finish, found, journal_json,
    journal_text, unreadable,
};

const TELL_EVERY: Duration = Duration::from_secs(2);

/// Check a whole audit export: chain, numbers, arithmetic, taxes, signatures, proofs and totals.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  curl -H \"Authorization: Bearer $KEY\" \"$URL/api/v1/audit/export?outlet_id=outlet-gombe\" > gombe.ndjson
  fiscus verify export --policy policy.toml gombe.ndjson
  fiscus verify export --policy policy.toml --json gombe.ndjson

The file has one chunk a line; the last one carries the checkpoint. It is read once, on every core, and
never held in memory. Progress goes to standard error. Exit codes: `fiscus verify --help`.")]
pub(super) struct Arguments {
    /// The export.
    file: PathBuf,
    /// How many threads check records; one a core unless said.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Say nothing on the way.
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    finish("verify export", arguments.common.json, check(arguments))
}

fn check(arguments: &Arguments) -> Result<Answer, Problem> {
    let policy = arguments.common.policy()?;
    let file = File::open(&arguments.file).map_err(|error| unreadable(&arguments.file, &error))?;
    let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let options =
        ExportOptions { threads: arguments.threads.map_or_else(cores, NonZeroUsize::get) };
    let begun = Instant::now();
    let mut teller = Teller::new(arguments.quiet, begun);
    let checked = verify_export(file, &policy, options, |progress| teller.tell(progress));
    teller.end();
    let export = checked.map_err(|error| found(&arguments.file, error))?;
    let mut members = journal_json(&export.journal);
    if let Value::Object(members) = &mut members {
        members.insert("checkpoint".to_owned(), checkpoint_json(&export.checkpoint));
        let checked = json!({
            "bytes": export.bytes,
            "chunks": export.chunks,
            "records": export.journal.records,
            "proofs": export.proofs,
            "signatures": export.signatures,
        });
        members.insert("checked".to_owned(), checked);
    }
    let text = format!(
        "the export holds: chain, numbers, taxes, totals, signatures and proofs\n{}{}\
         checked      {} bytes, {} records, {} proofs, {} signatures in {:.1} s\n",
        journal_text(&export.journal),
        checkpoint_text(&export.checkpoint),
        export.bytes,
        export.journal.records,
        export.proofs,
        export.signatures,
        begun.elapsed().as_secs_f64(),
    );
    Ok(Answer { members, text })
}

/// Tells now and then how far it is: on one line of a terminal, otherwise on lines of their own.
struct Teller {
    quiet: bool,
    on_terminal: bool,
    last: Instant,
    told: bool,
}

impl Teller {
    fn new(quiet: bool, begun: Instant) -> Self {
        Self { quiet, on_terminal: io::stderr().is_terminal(), last: begun, told: false }
    }

    fn tell(&mut self, progress: Progress) {
        if self.quiet || self.last.elapsed() < TELL_EVERY {
            return;
        }
        self.last = Instant::now();
        self.told = true;
        let percent = progress.bytes.saturating_mul(100) / progress.of_bytes.max(1);
        let mib = |bytes: u64| bytes >> 20;
        let line = format!(
            "{percent} %: {} of {} MiB, {} records",
            mib(progress.bytes),
            mib(progress.of_bytes),
            progress.records
        );
        if self.on_terminal {
            eprint!("\r{line}");
        } else {
            eprintln!("{line}");
        }
    }

    fn end(&self) {
        if self.told && self.on_terminal {
            eprintln!();
        }
    }
}
