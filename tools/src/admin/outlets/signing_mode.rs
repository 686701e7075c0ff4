//! `fiscus admin outlets signing-mode`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use fiscus_ledger::facts::{OutletFact, SigningMode};
use fiscus_proto::command::{ChangeOutlet, Command, command};

use super::{registered, wire};
use crate::admin::cluster::{Cluster, Connection};
use crate::admin::consent::Consent;
use crate::admin::{Failure, Report, operate, tell};

/// Who seals for an outlet.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// The ledger.
    Cluster,
    /// A real fiscal device behind `fiscus device-proxy --attach`.
    Def,
}

/// Let the ledger, or a real fiscal device, seal for an outlet.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus admin --dir DIR outlets signing-mode outlet-gombe def
  fiscus admin --dir DIR outlets signing-mode outlet-gombe cluster

A record of the outlet's journal states the last number of each series; none is interrupted. In the mode def
the ledger refuses to seal for the outlet (SIGNING_MODE_DEF); what its devices sealed is imported in both.

Exit codes:
  0  changed, or it was so already
  1  there is no such outlet, it is closed, or somebody else changed it meanwhile
  2  wrong usage, not agreed to, or no node answers
  3  a command was sent and nobody knows whether it was taken; look before you run it again")]
pub(crate) struct Arguments {
    /// The outlet's id.
    id: String,
    /// Who seals for it.
    mode: Mode,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let done = operate(connection, async |cluster| change(&cluster, arguments).await);
    tell("admin outlets signing-mode", done, arguments.json)
}

async fn change(cluster: &Cluster, arguments: &Arguments) -> Result<Report, Failure> {
    let id = &arguments.id;
    let (signing_mode, name, what) = match arguments.mode {
        Mode::Cluster => (SigningMode::Cluster, "cluster", "the ledger seals for it"),
        Mode::Def => (SigningMode::Def, "def", "only its real devices seal for it"),
    };
    let known = registered(&cluster.client().await?, id).await?;
    let done = |version| {
        let json = Report::ok().text("id", id).text("signing_mode", name).count("version", version);
        Report::done(&format!("outlet {id} is in the signing mode {name}"), json)
    };
    if known.fact.signing_mode == signing_mode {
        return Ok(done(known.version));
    }
    arguments.consent.ask(&format!("Outlet {id} changes to the signing mode {name}: {what}."))?;
    let change = ChangeOutlet {
        fact: Some(wire(&OutletFact { signing_mode, ..known.fact })),
        expected_version: known.version,
    };
    let change = Command { command: Some(command::Command::ChangeOutlet(change)) };
    cluster.execute(0, &change).await?;
    Ok(done(known.version + 1))
}
