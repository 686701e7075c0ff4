//! `fiscus admin nodes remove`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use fiscus_proto::admin::change_members_request::Change;
use fiscus_raft::entry::DIRECTORY_GROUP;

use super::catch_up;
use crate::admin::cluster::{Cluster, Connection};
use crate::admin::consent::Consent;
use crate::admin::groups::transfer;
use crate::admin::roster::{GroupView, Roster, listed, numbers};
use crate::admin::{Failure, Report, operate, tell};

/// Make a node leave every group.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR nodes remove 2

What the node leads is given away first. A group whose other voters that answer are no majority of those
that remain could not decide anything afterwards: that is refused. --force removes the node all the same,
for the case that the silent voters are known to be coming back; until they do, those groups take nothing.

The id is never used again. The node still holds signing keys: when it, or its disk, leaves your hands,
rotate them with `fiscus admin keys rotate`.

Exit codes:
  0  removed
  1  the cluster refuses, or it would lose its majority
  2  wrong usage, not agreed to, or no node answers")]
pub(crate) struct Arguments {
    /// The node's id.
    id: u64,
    /// Remove it even when a group would be left without a majority that answers.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let removed = operate(connection, async |cluster| remove(&cluster, arguments).await);
    tell("admin nodes remove", removed, arguments.json)
}

async fn remove(cluster: &Cluster, arguments: &Arguments) -> Result<Report, Failure> {
    let id = arguments.id;
    let roster = Roster::read(cluster).await?;
    roster.node(id)?;
    let groups = roster.groups_of(id);
    let json = Report::ok().count("node", id).json("groups", &numbers(&groups));
    if groups.is_empty() {
        return Ok(Report::done(&format!("node {id} is no member of any group"), json));
    }
    let mut fragile = Vec::new();
    for group in &groups {
        let rest = Rest::without(roster.group(*group)?, id, &roster);
        rest.check(*group, arguments.force)?;
        if rest.voters < 3 {
            fragile.push(*group);
        }
    }
    let mut what =
        format!("Node {id} leaves the groups {}; its id is never used again.", listed(&groups));
    if !fragile.is_empty() {
        what.push_str(&format!(
            "\nThe groups {} are left with fewer than three voters: they will not bear the loss of another \
             node.",
            listed(&fragile)
        ));
    }
    arguments.consent.ask(&what)?;
    // The directory comes first, and is told even when the node is not in it: it notes that the id has
    // left, without which no group lets the node go.
    let all = BTreeSet::from_iter(groups.iter().copied().chain([DIRECTORY_GROUP]));
    for group in &all {
        give_away(cluster, *group, id).await?;
        let done = catch_up::change(cluster, *group, Change::Remove(id)).await?;
        eprintln!("group {group}: {done}");
    }
    eprintln!(
        "Stop node {id} now. It still holds signing keys: when it leaves your hands, rotate them with \
         `fiscus admin keys rotate`."
    );
    Ok(Report::done(&format!("node {id} has left the groups {}", listed(&groups)), json))
}

/// The voters of a group that remain.
struct Rest {
    voters: usize,
    answering: usize,
}

impl Rest {
    fn without(group: &GroupView, id: u64, roster: &Roster) -> Self {
        let rest = group.voters.iter().filter(|voter| **voter != id);
        let answering = rest.clone().filter(|voter| roster.lives(**voter)).count();
        Self { voters: rest.count(), answering }
    }

    fn check(&self, group: u64, force: bool) -> Result<(), Failure> {
        let Self { voters, answering } = *self;
        if voters == 0 {
            return Err(Failure::refused(format!("it is the last voter of group {group}")));
        }
        let majority = voters / 2 + 1;
        if answering >= majority {
            return Ok(());
        }
        let what = format!(
            "group {group} would be left with {voters} voters of which {answering} answer, and needs \
             {majority}"
        );
        if force {
            eprintln!("Forced: {what}.");
            return Ok(());
        }
        Err(Failure::refused(format!(
            "{what}; start the silent ones, or add a node first. --force does it all the same"
        )))
    }
}

/// Moves the lead of a group off a node, to the voter that is furthest.
async fn give_away(cluster: &Cluster, group: u64, id: u64) -> Result<(), Failure> {
    let roster = Roster::read(cluster).await?;
    let view = roster.group(group)?;
    if view.leader != Some(id) {
        return Ok(());
    }
    let others = view.voters.iter().filter(|voter| **voter != id && roster.lives(**voter));
    let best = others.min_by_key(|voter| view.lag_of(**voter)).ok_or_else(|| {
        Failure::refused(format!("node {id} leads group {group}, and no other voter answers"))
    })?;
    eprintln!("group {group}: node {best} takes the lead");
    transfer::transfer(cluster, group, *best).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_keeps_a_majority_that_answers_or_the_removal_is_refused() {
        // Voters that remain, those that answer, forced, whether it goes on.
        let rows = [
            (2, 2, false, true),
            (2, 1, false, false),
            (2, 1, true, true),
            (3, 2, false, true),
            (3, 1, false, false),
            (0, 0, false, false),
            (0, 0, true, false),
        ];
        for (voters, answering, force, goes_on) in rows {
            let rest = Rest { voters, answering };
            assert_eq!(rest.check(1, force).is_ok(), goes_on, "{voters} {answering} {force}");
        }
    }
}
