//! `fiscus-check`: judges a history file.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use fiscus_check::{Finding, History, check, edn, exit_code};

/// So many findings are told in words; with --json all of them are.
const TOLD_MAX: usize = 20;
/// The exit code when nothing is wrong with a part of a history.
const NOT_WHOLE: u8 = 2;

/// Judge a history of what clients saw of a cluster.
#[derive(Debug, Parser)]
#[command(after_help = "\
A whole history has an operation, the line that says when all was healed, and for every group with records a replica's end.
Of one that is not whole, such as a run that was stopped, checks see a part only.

Examples:
  fiscus-check target/jepsen/7/history.jsonl
  fiscus-check target/jepsen/7/history.jsonl --json --edn history.edn
  fiscus-check stopped/history.jsonl --partial

Exit codes:
  0   sound
  2   wrong usage, or this is no history, or it is not whole and nothing is wrong with what there is
  10  numbers      a number is left out, given twice, or out of its series
  11  lost         what was acknowledged is not in the journal
  12  doubled      a submission is in the journal more than once
  13  altered      an answer differs from the journal, or from an earlier answer
  14  order        what ended before something else began has the higher number
  15  reads        a read misses what was acknowledged, goes back, or sees the future
  16  log          two states of one log
  17  states       replicas at the same entry have different states
  18  totals       totals are not sums, or more is credited than was sold
  19  convergence  all is healed, and something is not answered or not equal
  20  chain        a chain has a gap, is not linked, or goes back in time
  21  phantom      the journal has what nobody submitted, or what was refused
  22  dated        a record's time lies outside of its submission's
  23  proofs       a proof does not verify
  24  crashed      a process ended or panicked although nobody ended it (of fiscus-jepsen only)
  1   findings of several kinds")]
struct Arguments {
    /// A history, as fiscus-jepsen writes it.
    history: PathBuf,
    /// Write the history as Jepsen's tools read it, too.
    #[arg(long, value_name = "FILE")]
    edn: Option<PathBuf>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    /// Accept a history that is not whole.
    #[arg(long)]
    partial: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match judge(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("fiscus-check: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn judge(arguments: &Arguments) -> Result<u8> {
    let path = &arguments.history;
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let history = History::read(BufReader::with_capacity(1 << 20, file))
        .with_context(|| path.display().to_string())?;
    if let Some(edn) = &arguments.edn {
        write_edn(&history, edn).with_context(|| edn.display().to_string())?;
    }
    let (findings, lacks) = (check(&history), history.lacks());
    let code = match exit_code(&findings) {
        0 if !lacks.is_empty() && !arguments.partial => NOT_WHOLE,
        code => code,
    };
    tell(&history, (&findings, &lacks), code == 0, arguments.json)?;
    Ok(code)
}

fn write_edn(history: &History, path: &Path) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    edn::write(history, &mut out)?;
    Ok(out.flush()?)
}

fn tell(
    history: &History,
    (findings, lacks): (&[Finding], &[String]),
    ok: bool,
    json: bool,
) -> Result<()> {
    let (operations, records) = (history.operations(), history.records());
    let mut out = std::io::stdout().lock();
    if json {
        let document = serde_json::json!({
            "ok": ok,
            "whole": lacks.is_empty(),
            "lacks": lacks,
            "operations": operations,
            "records": records,
            "findings": findings,
        });
        return Ok(writeln!(out, "{document}")?);
    }
    writeln!(out, "{operations} operations, {records} records: {} findings", findings.len())?;
    for what in lacks {
        writeln!(out, "  not whole: {what}")?;
    }
    for finding in findings.iter().take(TOLD_MAX) {
        writeln!(out, "  {:?}: {}", finding.kind, finding.detail)?;
    }
    Ok(())
}
