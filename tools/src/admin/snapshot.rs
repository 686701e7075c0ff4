//! `fiscus admin snapshot`.

use std::process::ExitCode;

use clap::Args;
use fiscus_proto::admin::SnapshotRequest;

use super::cluster::Connection;
use super::roster::Roster;
use super::{Failure, Report, operate, tell};

/// Have a node snapshot a group now, so that its log can be shortened.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR snapshot 1
  fiscus admin --dir DIR snapshot 1 --node 2

A node makes its own snapshots; this is for the moment before something that needs a short log. The node
goes on working. It ends when the snapshot is complete.

Exit codes:
  0  made
  1  the node does not have the group, or does not answer
  2  wrong usage, or no node answers")]
pub(crate) struct Arguments {
    /// The group.
    group: u64,
    /// The node; the group's leader when absent.
    #[arg(long, value_name = "ID")]
    node: Option<u64>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let made = operate(connection, async |cluster| {
        let group = arguments.group;
        let roster = Roster::read(&cluster).await?;
        let leader = roster.group(group)?.leader;
        let id = arguments.node.or(leader);
        let id = id.ok_or_else(|| {
            Failure::refused(format!("group {group} has no leader; name a --node"))
        })?;
        eprintln!(
            "Node {id} makes a snapshot of group {group}; sealing goes on, and nothing is changed but the \
             files that it keeps."
        );
        let address = roster.answering(id)?;
        let made = cluster.node(address)?.snapshot(SnapshotRequest { group }).await;
        let made = made.map_err(|status| Failure::of_call(&address, &status))?.into_inner();
        let json = Report::ok()
            .count("node", id)
            .count("group", group)
            .count("index", made.index)
            .count("bytes", made.bytes)
            .count("files", made.files);
        let text = format!(
            "node {id} has a snapshot of group {group} at entry {}: {} bytes in {} files",
            made.index, made.bytes, made.files
        );
        Ok(Report::done(&text, json))
    });
    tell("admin snapshot", made, arguments.json)
}
