//! `fiscus admin config`.

use std::process::ExitCode;

use clap::Args;
use fiscus_proto::admin::ConfigRequest;

use super::cluster::Connection;
use super::roster::Roster;
use super::{Failure, Report, operate, tell};

/// Print the configuration that a node runs with.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR config --node 2

It is a complete configuration file, with every default filled in. A configuration names the files of
secrets and holds none, so nothing has to be left out.

Exit codes:
  0  printed
  1  the node does not answer
  2  wrong usage, or no node answers")]
pub(crate) struct Arguments {
    /// The node; the first one that answers when absent.
    #[arg(long, value_name = "ID")]
    node: Option<u64>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let printed = operate(connection, async |cluster| {
        let roster = Roster::read(&cluster).await?;
        let mut answering = roster.views.iter().filter(|view| view.status.is_ok());
        let first = answering.next().and_then(|view| view.id);
        let id = arguments.node.or(first).ok_or_else(|| Failure::refused("no node answers"))?;
        let address = roster.answering(id)?;
        let asked = cluster.node(address)?.config(ConfigRequest {}).await;
        let asked = asked.map_err(|status| Failure::of_call(&address, &status))?;
        let text = asked.into_inner().toml;
        let json = Report::ok().count("node", id).text("toml", &text);
        Ok(Report { text, json })
    });
    tell("admin config", printed, arguments.json)
}
