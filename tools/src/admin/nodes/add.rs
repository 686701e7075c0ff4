//! `fiscus admin nodes add`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use fiscus_proto::admin::change_members_request::Change;
use fiscus_proto::admin::{KeysRequest, StatusRequest};
use fiscus_proto::ledger::Consistency;

use super::catch_up;
use crate::admin::cluster::{Cluster, Connection};
use crate::admin::consent::Consent;
use crate::admin::roster::Roster;
use crate::admin::{Failure, READ_WAIT, Report, operate, tell};

/// Make a running node part of every group.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR nodes add n4.example:7400

The node runs already, with an id that no node ever had, on an empty directory. It becomes a learner of
the directory and of every data group, is waited for until it has caught up, and becomes a voter. It
can be run again after a failure: what is done already is left as it is.

A voter may come to lead, so it must hold every active signing key; a learner need not.

Exit codes:
  0  added
  1  the cluster refuses, or the node does not catch up
  2  wrong usage, not agreed to, or no node answers")]
pub(crate) struct Arguments {
    /// Where the others reach the new node.
    #[arg(value_name = "HOST:PORT")]
    address: String,
    /// Let it follow without a vote; `nodes promote` gives it one later.
    #[arg(long)]
    learner: bool,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let added = operate(connection, async |cluster| add(&cluster, arguments).await);
    tell("admin nodes add", added, arguments.json)
}

async fn add(cluster: &Cluster, arguments: &Arguments) -> Result<Report, Failure> {
    let address = &arguments.address;
    let roster = Roster::read(cluster).await?;
    let status = cluster.node(address)?.status(StatusRequest {}).await;
    let status = status.map_err(|status| Failure::of_call(address, &status))?.into_inner();
    let id = status.node.map_or(0, |node| node.id);
    let groups: Vec<u64> = roster.groups().keys().copied().collect();
    if !arguments.learner {
        require_keys(cluster, &groups, id, address).await?;
    }
    let role = if arguments.learner { "a learner" } else { "a voter" };
    let last = roster.data_groups();
    arguments.consent.ask(&format!(
        "Node {id} at {address} becomes {role} of the directory and of {last} data groups. It is sent \
         everything that they hold; sealing goes on meanwhile."
    ))?;
    for group in &groups {
        let done = catch_up::change(cluster, *group, Change::AddLearner(address.clone())).await?;
        eprintln!("group {group}: {done}");
    }
    for group in &groups {
        if arguments.learner {
            catch_up::wait(cluster, *group, id).await?;
        } else {
            catch_up::promote(cluster, *group, id).await?;
        }
    }
    let json =
        Report::ok().count("node", id).text("rpc", address).flag("votes", !arguments.learner);
    Ok(Report::done(&format!("node {id} is {role} of {} groups", groups.len()), json))
}

/// Refuses a voter that could not sign if it came to lead.
pub(super) async fn require_keys(
    cluster: &Cluster,
    groups: &[u64],
    id: u64,
    address: &str,
) -> Result<(), Failure> {
    let keys = cluster.node(address)?.keys(KeysRequest {}).await;
    let keys = keys.map_err(|status| Failure::of_call(&address, &status))?.into_inner().keys;
    let held: BTreeSet<String> = keys.into_iter().map(|key| key.authority_id).collect();
    let client = cluster.client().await?;
    for group in groups {
        let known = client.read_group(*group, Consistency::Linearizable, READ_WAIT);
        let lacked = known.await?.authorities;
        let lacked =
            lacked.iter().find(|known| known.status == "active" && !held.contains(&known.id));
        if let Some(authority) = lacked {
            return Err(Failure::refused(format!(
                "node {id} does not hold {}, which signs for group {group}; give it the cluster's key \
                 file and start it again, or add it with --learner",
                authority.id
            )));
        }
    }
    Ok(())
}
