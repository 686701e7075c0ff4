//! `fiscus admin outlets release`: lets outlets seal again that a restore has put on hold.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use fiscus_ledger::facts::{Fact, FactKind};
use fiscus_ledger::payload::{Object, array};
use fiscus_ledger::record::Record;

use fiscus_proto::command::{self as proto, Command, command};
use fiscus_proto::ledger::submit_response::Result as Answer;
use fiscus_proto::ledger::{Consistency, ReadDocumentRequest};

use crate::admin::cluster::{Cluster, Connection, OutcomeUnknown, Refusal};
use crate::admin::consent::Consent;
use crate::admin::{Failure, Report, block_on, tell};

const READ_WAIT: Duration = Duration::from_secs(20);

/// Let outlets seal again that a restore has put on hold.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus admin --dir DIR outlets release outlet-gombe --last-issued 1204 \\
    --evidence 'receipt KIN-GOMBE-1204 of 2026-11-21' --operator a.mbuyi
  fiscus admin --dir DIR outlets release --file evidence.csv --operator a.mbuyi

A backup does not know what was sealed after it. The last number is the highest that the outlet ever gave
away, sealed or lent to a terminal, by anything that shows it: a newer checkpoint with its proof, an export,
an acknowledged upload, a receipt. Numbers between the backup's and this one are skipped for ever and stand
in the journal as a recovery_gap, with the evidence and your name.

A number that is too high costs nothing but a gap. One that is too low would let numbers be given away
twice: the ledger refuses less than it knows itself, but it cannot know what it has forgotten. So there is
no --force and no default: when in doubt, take a higher one.

The file has lines outlet,last_issued,evidence; a first line that says just that is skipped. It can be run
again: an outlet that is not held is left alone.

Exit codes:
  0  all released, or they were not held
  1  the ledger refuses at least one; the others are released
  2  wrong usage, not agreed to, or the cluster cannot be reached
  3  a release was sent and nobody knows whether it was taken; run it again")]
pub(in crate::admin) struct Release {
    /// The outlet.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    outlet: Option<String>,
    /// The last number that it ever gave away; 0 when it never did.
    #[arg(long, value_name = "N", required_unless_present = "file", conflicts_with = "file")]
    last_issued: Option<u64>,
    /// What shows it.
    #[arg(long, value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    evidence: Option<String>,
    /// Many outlets, as CSV.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Who vouches for it.
    #[arg(long, value_name = "NAME")]
    operator: String,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Release) -> ExitCode {
    let released = released(connection, arguments);
    let outcome = released.and_then(|released| report(&released));
    tell("admin outlets release", outcome, arguments.json)
}

fn released(
    connection: &Connection,
    arguments: &Release,
) -> Result<Vec<(Claim, Outcome)>, Failure> {
    let claims = claims(arguments).map_err(failed)?;
    let cluster = connection.open().map_err(failed)?;
    arguments.consent.ask(&explanation(&claims, &arguments.operator))?;
    block_on(release_all(&cluster, claims, &arguments.operator)).map_err(failed)
}

/// A release that was sent and has no answer is told as such, like any other change.
fn failed(error: anyhow::Error) -> Failure {
    if error.is::<OutcomeUnknown>() {
        return Failure::from(error);
    }
    Failure::new(2, "RELEASE_FAILED", &format!("{error:#}"))
}

fn explanation(claims: &[Claim], operator: &str) -> String {
    let mut text = String::new();
    for Claim { outlet, last_issued, evidence } in claims {
        let next = last_issued.saturating_add(1);
        text.push_str(&format!("{outlet} goes on with number {next}, because of: {evidence}\n"));
    }
    text.push_str(&format!(
        "What lies between that and the backup is skipped for ever and stands in the journal under the \
         name {operator}. A number that is too low repeats invoices, and nothing takes that back."
    ));
    text
}

/// What is claimed of an outlet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    outlet: String,
    last_issued: u64,
    evidence: String,
}

/// What became of a claim.
#[derive(Debug)]
enum Outcome {
    /// Released; the record's position and its payload.
    Released(u64, String),
    NotHeld,
    Refused(String),
}

fn claims(arguments: &Release) -> Result<Vec<Claim>> {
    match (&arguments.file, &arguments.outlet) {
        (Some(file), _) => read_claims(file),
        (None, Some(outlet)) => Ok(vec![Claim {
            outlet: outlet.clone(),
            last_issued: arguments.last_issued.context("give --last-issued")?,
            evidence: arguments.evidence.clone().context("give --evidence")?,
        }]),
        (None, None) => bail!("name an outlet, or a --file"),
    }
}

async fn release_all(
    cluster: &Cluster,
    claims: Vec<Claim>,
    operator: &str,
) -> Result<Vec<(Claim, Outcome)>> {
    let total = claims.len();
    let mut done = Vec::new();
    for claim in claims {
        let outcome = release(cluster, &claim, operator)
            .await
            .with_context(|| format!("{} ({} of {total} are done)", claim.outlet, done.len()))?;
        done.push((claim, outcome));
        if total > 1 {
            eprintln!("fiscus admin outlets release: {} of {total}", done.len());
        }
    }
    Ok(done)
}

async fn release(cluster: &Cluster, claim: &Claim, operator: &str) -> Result<Outcome> {
    let group = group_of(cluster, &claim.outlet).await?;
    let gap = proto::RecoveryGap {
        outlet_id: claim.outlet.clone(),
        last_issued: claim.last_issued,
        evidence: claim.evidence.clone(),
        operator: operator.to_owned(),
    };
    let gap = Command { command: Some(command::Command::RecoveryGap(gap)) };
    match cluster.execute(group, &gap).await {
        Ok(Answer::Recorded(sealed)) => {
            let record = Record::decode(&sealed.record).context("the record of the gap")?;
            let payload = String::from_utf8(record.payload.to_vec()).context("its payload")?;
            Ok(Outcome::Released(record.position, payload))
        }
        Ok(answer) => bail!("an answer that was not expected: {answer:?}"),
        Err(error) => {
            let code = error.downcast_ref::<Refusal>().map(|refusal| refusal.code.as_str());
            match code {
                Some("OUTLET_NOT_HELD") => Ok(Outcome::NotHeld),
                Some("EVIDENCE_TOO_LOW" | "FIELD_INVALID" | "OUTLET_UNKNOWN" | "NO_AUTHORITY") => {
                    Ok(Outcome::Refused(error.to_string()))
                }
                _ => Err(error),
            }
        }
    }
}

async fn group_of(cluster: &Cluster, outlet: &str) -> Result<u64> {
    let request = ReadDocumentRequest {
        kind: FactKind::Outlet.as_str().to_owned(),
        id: outlet.to_owned(),
        consistency: Consistency::Linearizable.into(),
    };
    let read = cluster.client().await?.read_document(request, READ_WAIT).await?;
    let document = read.document.with_context(|| format!("no outlet {outlet} is registered"))?;
    match Fact::decode(FactKind::Outlet, &document.bytes).context("its registration")? {
        Fact::Outlet(fact) => Ok(fact.group),
        _ => bail!("the registration of {outlet} is of another kind"),
    }
}

fn read_claims(path: &Path) -> Result<Vec<Claim>> {
    let named = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(named)?;
    let mut claims = Vec::new();
    for (number, line) in (1_u64..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || (number == 1 && line == "outlet,last_issued,evidence") {
            continue;
        }
        claims.push(claim(line).with_context(|| format!("{}, line {number}", named()))?);
    }
    ensure!(!claims.is_empty(), "{} names no outlet", named());
    Ok(claims)
}

/// Reads a line; the evidence is its rest, commas and all, and may stand in quotes.
fn claim(line: &str) -> Result<Claim> {
    let mut fields = line.splitn(3, ',').map(str::trim);
    let (Some(outlet), Some(last), Some(evidence)) = (fields.next(), fields.next(), fields.next())
    else {
        bail!("a line is outlet,last_issued,evidence");
    };
    let quoted = evidence.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let evidence = quoted.map_or_else(|| evidence.to_owned(), |inner| inner.replace("\"\"", "\""));
    ensure!(!outlet.is_empty() && !evidence.is_empty(), "outlet and evidence must not be empty");
    let last_issued = last.parse().with_context(|| format!("{last} is not a number"))?;
    Ok(Claim { outlet: outlet.to_owned(), last_issued, evidence })
}

fn report(done: &[(Claim, Outcome)]) -> Result<Report, Failure> {
    let mut text = String::new();
    let mut refused = Vec::new();
    for (claim, outcome) in done {
        let outlet = &claim.outlet;
        text.push_str(&match outcome {
            Outcome::Released(position, payload) => {
                format!("{outlet}: released, record {position}: {payload}\n")
            }
            Outcome::NotHeld => format!("{outlet}: is not held; left alone\n"),
            Outcome::Refused(why) => {
                refused.push(format!("{outlet}: {why}"));
                format!("{outlet}: refused: {why}\n")
            }
        });
    }
    if !refused.is_empty() {
        let detail = format!("{} of {} refused; {}", refused.len(), done.len(), refused.join("; "));
        return Err(Failure::new(1, "RELEASE_REFUSED", &detail));
    }
    let json = Object::new().flag("ok", true).json(
        "outlets",
        &array(done.iter().map(|(claim, outcome)| {
            let line = Object::new().text("outlet", &claim.outlet);
            match outcome {
                Outcome::Released(position, payload) => line
                    .flag("released", true)
                    .count("position", *position)
                    .json("recovery_gap", payload),
                Outcome::NotHeld | Outcome::Refused(_) => line.flag("released", false),
            }
            .finish()
        })),
    );
    Ok(Report { text, json })
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_unknown_outcome_is_not_a_failure() {
        let unknown = OutcomeUnknown { detail: "lost".to_owned() };
        let unknown = anyhow::Error::from(unknown).context("outlet-gombe (3 of 9 are done)");
        let told = failed(unknown);
        assert_eq!((told.exit, &*told.code), (3, "OUTCOME_UNKNOWN"));
        assert!(told.detail.contains("3 of 9"), "{}", told.detail);
        let told = failed(anyhow!("no leader"));
        assert_eq!((told.exit, &*told.code), (2, "RELEASE_FAILED"));
    }

    #[test]
    fn lines_of_evidence_are_read() {
        let read =
            |line| claim(line).map(|claim| (claim.outlet, claim.last_issued, claim.evidence));
        let plain = |evidence: &str| ("o-1".to_owned(), 12, evidence.to_owned());
        for (line, expected) in [
            ("o-1,12,receipt KIN-A-12", plain("receipt KIN-A-12")),
            ("o-1, 12 ,export, page 3", plain("export, page 3")),
            ("o-1,12,\"the \"\"last\"\" one, seen\"", plain("the \"last\" one, seen")),
        ] {
            assert_eq!(read(line).expect("it is a line"), expected);
        }
        for line in ["o-1,12", "o-1,x,e", ",12,e", "o-1,-1,e", "o-1,12,\"\"", ""] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
