//! `fiscus admin scrub`: every node reads what it holds and compares it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use fiscus_ledger::payload::Object;
use fiscus_proto::admin::{Progress, ScrubRequest};

use super::cluster::{Cluster, Connection};
use super::consent::Consent;
use super::roster::Roster;
use super::{Failure, Report, operate, tell};
use crate::output::line;

/// Have nodes read everything that they hold and compare it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus admin --dir DIR scrub
  fiscus admin --dir DIR scrub --node 2 --group 1 --repair --yes

Findings and repairs are printed as they come, a line each (with --json a line of JSON each, and a last one
with the sums). Without --node every node that answers is scrubbed, one after the other; nodes go on working.
--repair mends what the other nodes have intact, and looks again: what counts is what the last look found.

Exit codes:
  0  nothing is wrong, or nothing is wrong any more
  1  something is wrong still, or a scrub did not end
  2  wrong usage, not agreed to, or no node answers")]
pub(crate) struct Arguments {
    /// Only this node.
    #[arg(long, value_name = "ID")]
    node: Option<u64>,
    /// Only this group.
    #[arg(long)]
    group: Option<u64>,
    /// Mend what can be mended from the other nodes.
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    consent: Consent,
    /// Print lines of JSON.
    #[arg(long)]
    json: bool,
}

const TELL_INTERVAL: Duration = Duration::from_secs(2);

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let scrubbed = operate(connection, async |cluster| scrub(&cluster, arguments).await);
    tell("admin scrub", scrubbed, arguments.json)
}

/// What has come up so far.
#[derive(Debug, Default)]
struct Sums {
    findings: u64,
    repairs: u64,
    /// What the last pass over each replica found.
    left: u64,
}

impl Sums {
    /// Counts a message. Says whether it is the last one.
    fn count(&mut self, step: &Progress) -> bool {
        self.findings += u64::from(!step.finding.is_empty());
        self.repairs += u64::from(!step.repaired.is_empty());
        self.left += step.left.unwrap_or(0);
        step.finished
    }
}

/// One replica: a group on a node.
#[derive(Debug)]
struct Replica {
    node: u64,
    address: String,
    group: u64,
}

async fn scrub(cluster: &Cluster, arguments: &Arguments) -> Result<Report, Failure> {
    let roster = Roster::read(cluster).await?;
    let replicas = replicas(&roster, arguments)?;
    if arguments.repair {
        arguments.consent.ask(
            "What is found damaged is replaced by what the other nodes have intact; nothing else is touched.",
        )?;
    }
    let mut sums = Sums::default();
    for replica in &replicas {
        scrub_one(cluster, replica, arguments, &mut sums).await?;
    }
    report(replicas.len() as u64, &sums)
}

/// Repairs and findings are no pairs: one repair may mend many findings, and one finding may take several
/// repairs. Only what is left decides.
fn report(replicas: u64, sums: &Sums) -> Result<Report, Failure> {
    let Sums { findings, repairs, left } = sums;
    if *left > 0 {
        let what = format!("{left} things are wrong still; {findings} findings, {repairs} repairs");
        return Err(Failure::new(1, "SCRUB_FOUND", &what));
    }
    let json = Report::ok()
        .count("replicas", replicas)
        .count("findings", *findings)
        .count("repairs", *repairs);
    let text =
        format!("{replicas} replicas read, {findings} findings, {repairs} repairs, nothing left");
    Ok(Report::done(&text, json))
}

fn replicas(roster: &Roster, arguments: &Arguments) -> Result<Vec<Replica>, Failure> {
    if let Some(group) = arguments.group {
        roster.group(group)?;
    }
    if let Some(node) = arguments.node {
        roster.node(node)?;
    }
    let mut replicas = Vec::new();
    for view in &roster.views {
        let Some(node) = view.id.filter(|id| arguments.node.is_none_or(|only| only == *id)) else {
            continue;
        };
        match &view.status {
            Err(error) if arguments.node.is_some() => {
                return Err(Failure::refused(format!("node {node}: {error}")));
            }
            Err(error) => eprintln!("node {node} is left out: {error}"),
            Ok(status) => {
                let groups = status.replicas.iter().map(|replica| replica.group);
                let wanted =
                    groups.filter(|group| arguments.group.is_none_or(|only| only == *group));
                let address = &view.address;
                replicas.extend(wanted.map(|group| Replica {
                    node,
                    address: address.clone(),
                    group,
                }));
            }
        }
    }
    Ok(replicas)
}

async fn scrub_one(
    cluster: &Cluster,
    replica: &Replica,
    arguments: &Arguments,
    sums: &mut Sums,
) -> Result<(), Failure> {
    let Replica { node, address, group } = replica;
    let request = ScrubRequest { group: *group, repair: arguments.repair };
    let asked = cluster.node(address)?.scrub(request).await;
    let failed = |status: &tonic::Status| Failure::of_call(&format!("node {node}"), status);
    let mut steps = asked.map_err(|status| failed(&status))?.into_inner();
    let mut told: Option<Instant> = None;
    while let Some(step) = steps.message().await.map_err(|status| failed(&status))? {
        let last = sums.count(&step);
        if last && step.left.is_none() {
            let what = format!("node {node} does not say what is left; update its program");
            return Err(Failure::unfinished(what));
        }
        if let Some(text) = told_line(replica, &step, arguments.json) {
            line(&text)?;
        } else if told.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
            let of = if step.total == 0 { String::new() } else { format!(" of {}", step.total) };
            eprintln!("node {node}, group {group}: {} {}{of}", step.step, step.done);
            told = Some(Instant::now());
        }
        if last {
            return Ok(());
        }
    }
    let what = format!("node {node}, group {group}: the scrub ended before it was finished");
    Err(Failure::unfinished(what))
}

/// A finding or a repair as a line; nothing for mere progress.
fn told_line(replica: &Replica, step: &Progress, json: bool) -> Option<String> {
    let (kind, what) = match (step.finding.as_str(), step.repaired.as_str()) {
        ("", "") => return None,
        ("", repaired) => ("repaired", repaired),
        (finding, _) => ("finding", finding),
    };
    let Replica { node, group, .. } = replica;
    Some(if json {
        Object::new().count("node", *node).count("group", *group).text(kind, what).finish()
    } else {
        format!("node {node}, group {group}: {kind}: {what}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(finding: &str) -> Progress {
        Progress { finding: finding.to_owned(), ..Progress::default() }
    }

    fn repaired(repaired: &str) -> Progress {
        Progress { repaired: repaired.to_owned(), ..Progress::default() }
    }

    fn finished(left: u64) -> Progress {
        Progress { finished: true, left: Some(left), ..Progress::default() }
    }

    #[test]
    fn only_what_is_left_decides() {
        let rows: [(&str, Vec<Progress>, bool); 5] = [
            ("sound", vec![finished(0)], true),
            ("found", vec![found("a"), finished(1)], false),
            (
                "one repair for all",
                vec![found("a"), found("b"), repaired("all"), finished(0)],
                true,
            ),
            (
                "a surplus elsewhere",
                vec![
                    found("a"),
                    repaired("a"),
                    repaired("a too"),
                    finished(0),
                    found("b"),
                    finished(1),
                ],
                false,
            ),
            ("found again", vec![found("a"), repaired("a"), found("a"), finished(1)], false),
        ];
        for (name, steps, well) in rows {
            let mut sums = Sums::default();
            let last = steps.iter().filter(|step| sums.count(step)).count();
            assert_eq!(report(1, &sums).is_ok(), well, "{name}");
            assert_eq!(last, steps.iter().filter(|step| step.finished).count(), "{name}");
        }
    }
}
