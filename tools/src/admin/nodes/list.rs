//! `fiscus admin nodes list`.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use fiscus_ledger::payload::array;

use crate::admin::cluster::{Connection, NodeView};
use crate::admin::roster::{Roster, listed, numbers};
use crate::admin::{Failure, Report, operate, tell};

/// List the nodes, and what each takes part in.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR nodes list

Exit codes:
  0  listed
  2  wrong usage, or no node answers")]
pub(crate) struct Arguments {
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let listed = operate(connection, async |cluster| report(&Roster::read(&cluster).await?));
    tell("admin nodes list", listed, arguments.json)
}

/// What a node takes part in, group by group.
struct Parts {
    leads: Vec<u64>,
    votes: Vec<u64>,
    follows: Vec<u64>,
}

fn parts(roster: &Roster, node: u64) -> Parts {
    let all = roster.groups();
    Parts {
        leads: all.iter().filter(|(_, g)| g.leader == Some(node)).map(|(id, _)| *id).collect(),
        votes: all.iter().filter(|(_, g)| g.voters.contains(&node)).map(|(id, _)| *id).collect(),
        follows: all
            .iter()
            .filter(|(_, g)| g.learners.contains(&node))
            .map(|(id, _)| *id)
            .collect(),
    }
}

fn state(view: &NodeView) -> &'static str {
    match &view.status {
        Err(_) => "silent",
        Ok(answer) if answer.node.as_ref().is_some_and(|node| node.draining) => "draining",
        Ok(_) => "up",
    }
}

fn report(roster: &Roster) -> Result<Report, Failure> {
    let mut text = String::from(
        "node  address                region     state     version  leads     votes in  learns\n",
    );
    let mut rows = Vec::new();
    for view in &roster.views {
        let id = view.id.map_or_else(|| "?".to_owned(), |id| id.to_string());
        let parts = parts(roster, view.id.unwrap_or(0));
        let node = view.status.as_ref().ok().and_then(|answer| answer.node.as_ref());
        let region = node.map_or("", |node| &node.region);
        let version = node.map_or("", |node| &node.version);
        let _ = writeln!(
            text,
            "{id:<4}  {:<21}  {region:<9}  {:<8}  {version:<7}  {:<8}  {:<8}  {}",
            view.address,
            state(view),
            listed(&parts.leads),
            listed(&parts.votes),
            listed(&parts.follows)
        );
        let row = fiscus_ledger::payload::Object::new()
            .json("id", &view.id.map_or_else(|| "null".to_owned(), |id| id.to_string()))
            .text("rpc", &view.address)
            .text("state", state(view))
            .text("region", region)
            .text("version", version)
            .json("leads", &numbers(&parts.leads))
            .json("votes", &numbers(&parts.votes))
            .json("learns", &numbers(&parts.follows));
        rows.push(row.finish());
    }
    Ok(Report { text, json: Report::ok().json("nodes", &array(rows)) })
}
