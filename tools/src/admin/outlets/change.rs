//! `fiscus admin outlets suspend`, `activate` and `close`.

use std::process::ExitCode;

use clap::Args;
use fiscus_ledger::facts::{OutletFact, OutletStatus};
use fiscus_proto::command::{ChangeOutlet, Command, command};

use super::{registered, status_name, wire};
use crate::admin::cluster::{Cluster, Connection};
use crate::admin::consent::Consent;
use crate::admin::{Failure, Report, operate, tell};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus admin --dir DIR outlets suspend outlet-gombe
  fiscus admin --dir DIR outlets activate outlet-gombe
  fiscus admin --dir DIR outlets close outlet-gombe

The outlet's group hears of it within a second. A closed outlet never sells again.

Exit codes:
  0  changed, or it was so already
  1  there is no such outlet, it is closed, or somebody else changed it meanwhile
  2  wrong usage, not agreed to, or no node answers
  3  a command was sent and nobody knows whether it was taken; look before you run it again")]
pub(crate) struct Arguments {
    /// The outlet's id.
    id: String,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    connection: &Connection,
    verb: &str,
    status: OutletStatus,
    arguments: &Arguments,
) -> ExitCode {
    let done = operate(connection, async |cluster| change(&cluster, status, arguments).await);
    tell(&format!("admin outlets {verb}"), done, arguments.json)
}

async fn change(
    cluster: &Cluster,
    status: OutletStatus,
    arguments: &Arguments,
) -> Result<Report, Failure> {
    let id = &arguments.id;
    let known = registered(&cluster.client().await?, id).await?;
    let name = status_name(status);
    let done = |version| {
        let json = Report::ok().text("id", id).text("status", name).count("version", version);
        Report::done(&format!("outlet {id} is {name}"), json)
    };
    if known.fact.status == status {
        return Ok(done(known.version));
    }
    let what = match status {
        OutletStatus::Active => "it may seal again",
        OutletStatus::Suspended => "nothing is sealed for it until it is activated",
        OutletStatus::Closed => "it never seals again; this cannot be taken back",
    };
    arguments.consent.ask(&format!("Outlet {id} becomes {name}: {what}."))?;
    let change = ChangeOutlet {
        fact: Some(wire(&OutletFact { status, ..known.fact })),
        expected_version: known.version,
    };
    let change = Command { command: Some(command::Command::ChangeOutlet(change)) };
    cluster.execute(0, &change).await?;
    Ok(done(known.version + 1))
}
