//! Ends a replica's recovery: once it has everything that was committed when the recovery began.
//!
//! The leader confirms with a majority that it leads and says where its log ends. Whatever this replica
//! may have acknowledged and forgotten is at or below that entry, committed or not; when it is applied
//! here and durable, the replica votes and leads again.

use std::sync::Arc;
use std::time::Duration;

use fiscus_proto::peer::ReadIndexRequest;
use fiscus_raft::consensus::Lane;

use crate::context::NodeContext;
use crate::groups::Hosted;

/// Between two attempts.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(250);
/// A leader answers within this time, or is asked again.
const ASK_WAIT: Duration = Duration::from_secs(3);
/// A snapshot takes long; its progress shows in the status meanwhile.
const APPLY_WAIT: Duration = Duration::from_secs(60);

/// Works until the replica has recovered.
pub(crate) async fn run(context: Arc<NodeContext>, hosted: Arc<Hosted>) {
    let group = hosted.handle.group();
    let mut attempt = tokio::time::interval(ATTEMPT_INTERVAL);
    attempt.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while hosted.handle.recovering().is_some() {
        attempt.tick().await;
        let Some(index) = confirmed_index(&context, &hosted).await else { continue };
        if let Err(why) = hosted.handle.wait_applied(index, APPLY_WAIT).await {
            tracing::debug!(group, index, why, "the replica has not caught up yet");
            continue;
        }
        match hosted.handle.finish_recovery().await {
            Ok(true) => return,
            Ok(false) => tracing::debug!(group, index, "what is applied is not durable yet"),
            Err(error) => tracing::error!(group, %error, "the recovery does not end"),
        }
    }
}

/// The last entry of a leader that is another node, and that a majority has just confirmed. It has
/// everything that was committed, and everything that this replica may have acknowledged to it.
pub(crate) async fn confirmed_index(context: &NodeContext, hosted: &Hosted) -> Option<u64> {
    let status = hosted.handle.status();
    let own = context.identity.node;
    // The one that is known to lead first; a replica that has stopped may be wrong about it.
    let mut asked: Vec<u64> = status.voters.iter().copied().filter(|id| *id != own).collect();
    asked.sort_by_key(|id| Some(*id) != status.leader);
    for id in asked {
        let Some(member) = status.members.get(&id) else { continue };
        let client = context.pool.client(id, &member.incarnation, &member.rpc, Lane::Control);
        let Ok(mut client) = client else { continue };
        let request = ReadIndexRequest { group: hosted.handle.group() };
        let answer = tokio::time::timeout(ASK_WAIT, client.read_index(request)).await;
        let Ok(Ok(answer)) = answer else { continue };
        let answer = answer.into_inner();
        if !answer.not_leader {
            return Some(answer.index.max(answer.last_log));
        }
    }
    None
}
