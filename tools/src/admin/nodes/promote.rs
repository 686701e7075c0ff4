//! `fiscus admin nodes promote`.

use std::process::ExitCode;

use clap::Args;

use super::{add, catch_up};
use crate::admin::cluster::{Cluster, Connection};
use crate::admin::consent::Consent;
use crate::admin::roster::{Roster, listed, numbers};
use crate::admin::{Failure, Report, operate, tell};

/// Give a learner a vote in every group that it follows.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR nodes promote 4

It waits until the node has caught up. A voter may come to lead, so it must hold every active signing key.

Exit codes:
  0  promoted, or it votes everywhere already
  1  the cluster refuses, or the node does not catch up
  2  wrong usage, not agreed to, or no node answers")]
pub(crate) struct Arguments {
    /// The node's id.
    id: u64,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let promoted = operate(connection, async |cluster| promote(&cluster, arguments).await);
    tell("admin nodes promote", promoted, arguments.json)
}

async fn promote(cluster: &Cluster, arguments: &Arguments) -> Result<Report, Failure> {
    let id = arguments.id;
    let roster = Roster::read(cluster).await?;
    let address = roster.answering(id)?;
    let follows = roster.groups().iter().filter(|(_, view)| view.learners.contains(&id));
    let groups: Vec<u64> = follows.map(|(group, _)| *group).collect();
    let json = Report::ok().count("node", id).json("groups", &numbers(&groups));
    if groups.is_empty() {
        return Ok(Report::done(&format!("node {id} is nobody's learner"), json));
    }
    add::require_keys(cluster, &groups, id, address).await?;
    arguments.consent.ask(&format!(
        "Node {id} becomes a voter of the groups {}: from then on it counts for the majority.",
        listed(&groups)
    ))?;
    for group in &groups {
        catch_up::promote(cluster, *group, id).await?;
    }
    Ok(Report::done(&format!("node {id} votes in the groups {}", listed(&groups)), json))
}
