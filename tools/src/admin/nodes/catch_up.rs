//! A node that was added becomes a voter: it is waited for, told of, and promoted.

use std::time::{Duration, Instant};

use fiscus_proto::admin::ChangeMembersRequest;
use fiscus_proto::admin::change_members_request::Change;

use crate::admin::Failure;
use crate::admin::cluster::{Cluster, explain};
use crate::admin::roster::Roster;

/// A group's change of members is over within this time, or is asked for again.
const CHANGE_WAIT: Duration = Duration::from_secs(60);
/// A learner that got no further for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(120);
/// A learner becomes a voter when it lacks at most so many entries, as the leader wants it.
const LAG_MAX: u64 = 64;
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
const TELL_INTERVAL: Duration = Duration::from_secs(2);

/// Has a group's leader change the members; finds the leader again when it has moved.
pub(super) async fn change(
    cluster: &Cluster,
    group: u64,
    change: Change,
) -> Result<String, Failure> {
    let until = Instant::now() + CHANGE_WAIT;
    loop {
        let (node, mut leader) = cluster.leader(group).await?;
        let request = ChangeMembersRequest { group, change: Some(change.clone()) };
        let asked = tokio::time::timeout(CHANGE_WAIT, leader.change_members(request)).await;
        let status = match asked {
            Ok(Ok(done)) => return Ok(done.into_inner().detail),
            Ok(Err(status)) => status,
            Err(_) => tonic::Status::deadline_exceeded("the leader did not finish in time"),
        };
        let may_pass = matches!(status.code(), tonic::Code::Aborted | tonic::Code::Unavailable);
        if !may_pass || Instant::now() >= until {
            let whom = format!("group {group}, node {node}");
            return Err(given_up(&whom, &status));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// A node's own no is a refusal. After anything else the change may be under way, and can be asked for
/// again.
fn given_up(whom: &str, status: &tonic::Status) -> Failure {
    use tonic::Code;
    let unclear = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown];
    if !unclear.contains(&status.code()) {
        return Failure::of_call(&whom, status);
    }
    let said = explain(status);
    Failure::unfinished(format!("{whom}: {said}; whether it happened is not known: run it again"))
}

/// Waits until a node lacks next to nothing of a group, and tells how far it is.
pub(super) async fn wait(cluster: &Cluster, group: u64, node: u64) -> Result<(), Failure> {
    let mut least = u64::MAX;
    let mut advanced = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        let roster = Roster::read(cluster).await?;
        let view = roster.group(group)?;
        if !view.has(node) {
            return Err(Failure::refused(format!("node {node} is no member of group {group}")));
        }
        let lag = view.lag_of(node);
        if view.leader.is_some() && lag <= LAG_MAX {
            return Ok(());
        }
        if lag < least {
            (least, advanced) = (lag, Instant::now());
        }
        if advanced.elapsed() >= STUCK_AFTER {
            return Err(Failure::unfinished(format!(
                "node {node} lacks {lag} entries of group {group} and gets no further; look at its \
                 log, then run this again"
            )));
        }
        if told.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
            eprintln!("group {group}: node {node} lacks {lag} entries");
            told = Some(Instant::now());
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Waits for a learner and makes it a voter of a group.
pub(super) async fn promote(cluster: &Cluster, group: u64, node: u64) -> Result<(), Failure> {
    wait(cluster, group, node).await?;
    let done = change(cluster, group, Change::Promote(node)).await?;
    eprintln!("group {group}: {done}");
    Ok(())
}
