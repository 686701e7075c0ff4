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
        let view = match arguments.node {
            Some(id) => roster.node(id)?,
            None => {
                let mut answering = roster.views.iter().filter(|view| view.status.is_ok());
                answering.next().ok_or_else(|| Failure::refused("no node answers"))?
            }
        };
        if let Err(error) = &view.status {
            return Err(Failure::refused(format!("{}: {error}", view.address)));
        }
        let asked = cluster.node(&view.address)?.config(ConfigRequest {}).await;
        let asked = asked.map_err(|status| Failure::of_call(&view.address, &status))?;
        let text = asked.into_inner().toml;
        let json = Report::ok().count("node", view.id.unwrap_or(0)).text("toml", &text);
        Ok(Report { text, json })
    });
    tell("admin config", printed, arguments.json)
}
