//! `fiscus admin apply-version`: the rules by which every replica makes state of entries.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use fiscus_proto::command::{Command, RaiseApplyVersion, command};

use super::cluster::{Cluster, Connection};
use super::consent::Consent;
use super::roster::{Roster, listed, numbers};
use super::{Failure, Report, operate, tell};

#[derive(Debug, Subcommand)]
pub(super) enum ApplyVersion {
    Raise(Arguments),
}

/// Let every group follow newer rules, once all its voters know them.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR apply-version raise 2

Update the program on every node first, one after the other. All voters of a group must know the version,
and must answer now: a replica that meets rules that it does not know stops. It cannot be lowered again,
so a node can no longer run an older program afterwards.

Exit codes:
  0  every group follows it
  1  a voter does not know it, or does not answer
  2  wrong usage, not agreed to, or no node answers
  3  a command was sent and nobody knows whether it was taken; look before you run it again")]
pub(super) struct Arguments {
    /// The new version.
    to: u32,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, command: &ApplyVersion) -> ExitCode {
    let ApplyVersion::Raise(arguments) = command;
    let raised = operate(connection, async |cluster| raise(&cluster, arguments).await);
    tell("admin apply-version raise", raised, arguments.json)
}

async fn raise(cluster: &Cluster, arguments: &Arguments) -> Result<Report, Failure> {
    let to = arguments.to;
    let roster = Roster::read(cluster).await?;
    for node in roster.voters() {
        let status = roster.status_of(node).and_then(|status| status.node.as_ref());
        let known = status.map(|status| status.apply_version_max);
        let known = known.ok_or_else(|| {
            Failure::refused(format!(
                "node {node} votes and does not answer, so nobody knows what it knows"
            ))
        })?;
        if known < to {
            return Err(Failure::refused(format!(
                "node {node} knows the rules up to version {known}; update its program first"
            )));
        }
    }
    let below = roster.groups().iter().filter(|(_, view)| view.best.apply_version < to);
    let groups: Vec<u64> = below.map(|(group, _)| *group).collect();
    let json = Report::ok().count("apply_version", to.into()).json("groups", &numbers(&groups));
    if groups.is_empty() {
        return Ok(Report::done(&format!("every group follows version {to} already"), json));
    }
    arguments.consent.ask(&format!(
        "The groups {} follow the rules of version {to} from now on. This cannot be taken back, and no node \
         can run an older program afterwards.",
        listed(&groups)
    ))?;
    for group in &groups {
        // It is raised one by one.
        for step in roster.group(*group)?.best.apply_version + 1..=to {
            let raise = command::Command::RaiseApplyVersion(RaiseApplyVersion { to: step });
            cluster.execute(*group, &Command { command: Some(raise) }).await?;
        }
        eprintln!("group {group} follows version {to}");
    }
    Ok(Report::done(&format!("every group follows version {to}"), json))
}
