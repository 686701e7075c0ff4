//! `fiscus admin groups transfer`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use fiscus_proto::admin::TransferRequest;

use crate::admin::cluster::{Cluster, Connection};
use crate::admin::consent::Consent;
use crate::admin::roster::{Roster, listed};
use crate::admin::{Failure, Report, operate, tell};

/// Let another voter lead a group.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR groups transfer 1 --to 2

Sealing pauses for some tens of milliseconds; points of sale try again by themselves. A group with a
preferred region moves back to it.

Exit codes:
  0  the node leads the group
  1  it cannot lead, or does not in time
  2  wrong usage, not agreed to, or no node answers")]
pub(crate) struct Arguments {
    /// The group.
    group: u64,
    /// The node that shall lead it.
    #[arg(long, value_name = "NODE")]
    to: u64,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// A leader that can change has changed within this time.
const TRANSFER_WAIT: Duration = Duration::from_secs(20);
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let done = operate(connection, async |cluster| {
        let (group, to) = (arguments.group, arguments.to);
        let roster = Roster::read(&cluster).await?;
        let view = roster.group(group)?;
        roster.node(to)?;
        if !view.voters.contains(&to) {
            let voters = listed(&view.voters);
            return Err(Failure::refused(format!(
                "node {to} does not vote in group {group}; its voters are {voters}"
            )));
        }
        roster.answering(to)?;
        if view.leader != Some(to) {
            let from = view.leader.map_or("nobody".to_owned(), |id| format!("node {id}"));
            let what = format!("Group {group} is led by {from}; node {to} takes over.");
            arguments.consent.ask(&what)?;
            transfer(&cluster, group, to).await?;
        }
        let json = Report::ok().count("group", group).count("leader", to);
        Ok(Report::done(&format!("node {to} leads group {group}"), json))
    });
    tell("admin groups transfer", done, arguments.json)
}

/// Asks the leader to hand over, until the other one leads.
pub(in crate::admin) async fn transfer(
    cluster: &Cluster,
    group: u64,
    to: u64,
) -> Result<(), Failure> {
    let until = Instant::now() + TRANSFER_WAIT;
    loop {
        let (node, mut leader) = cluster.leader(group).await?;
        if node == to {
            return Ok(());
        }
        if let Err(status) = leader.transfer(TransferRequest { group, to }).await {
            // The lead may just have moved; anything else is tried again until the time is up.
            let passes = matches!(
                status.code(),
                tonic::Code::Aborted | tonic::Code::Unavailable | tonic::Code::DeadlineExceeded
            );
            if !passes || Instant::now() >= until {
                return Err(Failure::of_call(&format!("group {group}, node {node}"), &status));
            }
        } else if Instant::now() >= until {
            let what = format!("node {to} does not come to lead group {group}");
            return Err(Failure::unfinished(what));
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}
