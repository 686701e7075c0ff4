//! `fiscus admin groups list`.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use fiscus_ledger::payload::{Object, array};

use crate::admin::cluster::Connection;
use crate::admin::roster::{GroupView, Roster, listed, numbers};
use crate::admin::{Report, operate, tell};

/// List the groups: the directory, which is group 0, and the data groups.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR groups list

Exit codes:
  0  listed
  2  wrong usage, or no node answers")]
pub(crate) struct Arguments {
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let listed = operate(connection, async |cluster| Ok(report(&Roster::read(&cluster).await?)));
    tell("admin groups list", listed, arguments.json)
}

fn report(roster: &Roster) -> Report {
    let mut text = String::from(
        "group  leader  voters     learners  term  applied   records   signed    prefers    rules\n",
    );
    let mut rows = Vec::new();
    for (id, group) in roster.groups() {
        let best = &group.best;
        let leader = group.leader.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let _ = writeln!(
            text,
            "{id:<5}  {leader:<6}  {:<9}  {:<8}  {:<4}  {:<8}  {:<8}  {:<8}  {:<9}  {}",
            listed(&group.voters),
            listed(&group.learners),
            best.term,
            best.applied,
            best.leaves,
            best.signed_leaves,
            best.preferred_region,
            best.apply_version
        );
        rows.push(row(*id, group));
    }
    Report { text, json: Report::ok().json("groups", &array(rows)) }
}

fn row(id: u64, group: &GroupView) -> String {
    let best = &group.best;
    Object::new()
        .count("id", id)
        .json("leader", &group.leader.map_or_else(|| "null".to_owned(), |id| id.to_string()))
        .json("voters", &numbers(&group.voters))
        .json("learners", &numbers(&group.learners))
        .count("term", best.term)
        .count("applied", best.applied)
        .count("leaves", best.leaves)
        .count("signed_leaves", best.signed_leaves)
        .text("preferred_region", &best.preferred_region)
        .count("apply_version", best.apply_version.into())
        .finish()
}
