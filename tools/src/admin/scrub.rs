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
--repair mends what the other nodes have intact.

Exit codes:
  0  nothing was found, or everything was mended
  1  something was found and not mended, or a scrub did not end
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
    let Sums { findings, repairs } = sums;
    if findings > repairs {
        let what = format!("{findings} findings, {repairs} of them mended");
        return Err(Failure::new(1, "SCRUB_FOUND", &what));
    }
    let json = Report::ok()
        .count("replicas", replicas.len() as u64)
        .count("findings", findings)
        .count("repairs", repairs);
    let text = format!("{} replicas read, {findings} findings, {repairs} mended", replicas.len());
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
        sums.findings += u64::from(!step.finding.is_empty());
        sums.repairs += u64::from(!step.repaired.is_empty());
        if let Some(text) = told_line(replica, &step, arguments.json) {
            line(&text)?;
        } else if told.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
            let of = if step.total == 0 { String::new() } else { format!(" of {}", step.total) };
            eprintln!("node {node}, group {group}: {} {}{of}", step.step, step.done);
            told = Some(Instant::now());
        }
        if step.finished {
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
