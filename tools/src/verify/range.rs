//! `fiscus verify range`.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use fiscus_verify::{Asked, verify_range};
use serde_json::{Value, json};

use super::{
    Answer, Common, Problem, checkpoint_json, checkpoint_text, finish, found, journal_json,
    journal_text, unreadable,
};

/// Did the outlet issue exactly these records, no more and no fewer? Or does it not exist?
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  curl -H \"Authorization: Bearer $KEY\" \"$URL/api/v1/audit/proofs/range?outlet_id=outlet-gombe\" > gombe.range
  fiscus verify range --policy policy.toml --outlet outlet-gombe --from KIN-GOMBE-1 --to KIN-GOMBE-40 gombe.range
  fiscus verify range --policy policy.toml --outlet outlet-gombe --from 1 --to 60 --json gombe.range
  fiscus verify range --policy policy.toml --outlet outlet-nowhere nowhere.absence

--from and --to are fiscal numbers or positions of the journal; the bundle must cover them. Without them
everything in it is checked, and a proof of absence, too, is taken. Exit codes: `fiscus verify --help`.")]
pub(super) struct Arguments {
    /// The answer of /api/v1/audit/proofs/range or …/absence, or - to read it from standard input.
    bundle: PathBuf,
    /// The outlet.
    #[arg(long, value_name = "ID")]
    outlet: String,
    /// The first fiscal number, or position.
    #[arg(long, value_name = "A", requires = "to")]
    from: Option<String>,
    /// The last one.
    #[arg(long, value_name = "B", requires = "from")]
    to: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    finish("verify range", arguments.common.json, check(arguments))
}

fn check(arguments: &Arguments) -> Result<Answer, Problem> {
    let policy = arguments.common.policy()?;
    let asked = match (&arguments.from, &arguments.to) {
        (Some(from), Some(to)) => Asked::parse(from, to).ok_or_else(|| {
            let detail =
                "--from and --to are two positions, or two numbers of one series, in order";
            Problem::Usage(detail.to_owned())
        })?,
        _ => Asked::Everything,
    };
    let source: Box<dyn BufRead> = if arguments.bundle == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file =
            File::open(&arguments.bundle).map_err(|error| unreadable(&arguments.bundle, &error))?;
        Box::new(BufReader::new(file))
    };
    let range = verify_range(source, &arguments.outlet, &asked, &policy)
        .map_err(|error| found(&arguments.bundle, error))?;
    let mut members = match &range.journal {
        Some(journal) => journal_json(journal),
        None => json!({"outlet_id": range.outlet, "records": 0}),
    };
    if let Value::Object(members) = &mut members {
        members.insert("absent".to_owned(), Value::Bool(range.journal.is_none()));
        members.insert("leaves".to_owned(), json!([range.leaves.0, range.leaves.1]));
        members.insert("checkpoint".to_owned(), checkpoint_json(&range.checkpoint));
        let records = range.journal.as_ref().map_or(0, |journal| journal.records);
        let checked = json!({"bytes": range.bytes, "records": records, "proofs": range.proofs});
        members.insert("checked".to_owned(), checked);
    }
    let (first, last) = range.leaves;
    let body = match &range.journal {
        Some(journal) => format!(
            "the outlet issued exactly these records between leaves {first} and {last}, no more and no fewer\n{}",
            journal_text(journal)
        ),
        None => format!("the log has no outlet {:?} at leaf {last}\n", range.outlet),
    };
    let text = format!("{body}{}", checkpoint_text(&range.checkpoint));
    Ok(Answer { members, text })
}
