//! Writes down in the directory's log how far the other groups' logs are: whoever watches that one log sees when another
//! one is cut or split.
//!
//! Only the directory's leader does it. What it sees of the groups that live on its node it takes from there; of the others,
//! and of those that are out of service here, it takes what another node shows that the group's log has signed. Not here: the
//! directory's own log, which is witnessed directly, as each of them is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fiscus_ledger::commands::{CHECKPOINT_KIND, recorded_size};
use fiscus_ledger::hash::Hash32;
use fiscus_proto::command::{self as proto, Command, command};
use fiscus_proto::ledger::submit_response::Result as Answer;
use fiscus_proto::peer::SignedCheckpointsRequest;
use fiscus_raft::consensus::Lane;
use fiscus_raft::entry::DIRECTORY_GROUP;
use fiscus_raft::store::StoreError;
use futures_util::future::join_all;
use prost::Message;

use crate::checkpoints;
use crate::context::NodeContext;
use crate::groups::{DATA_GROUPS_MAX, Groups, Hosted};
use crate::incidents::Cause;
use crate::monitor;

/// Between two looks, unless checkpoints are recorded more often.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A checkpoint that is not recorded within this time is offered again.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Another node shows its checkpoints within this time, or is asked at the next look.
const ASK_WAIT: Duration = Duration::from_secs(2);

/// The largest checkpoint of each group that is known: its size and root.
type Largest = BTreeMap<u64, (u64, Hash32)>;

/// What is seen of the groups' logs.
#[derive(Debug, Default)]
struct Seen {
    largest: Largest,
    /// The groups, each with a size, whose log has two roots for it.
    forked: BTreeSet<(u64, u64)>,
}

/// Looks for as long as the directory lives here.
pub(crate) async fn run(context: Arc<NodeContext>, groups: Arc<Groups>, hosted: Arc<Hosted>) {
    let every = Duration::from_millis(context.config.limits.checkpoint_record_ms);
    let mut look = tokio::time::interval(LOOK_INTERVAL.min(every));
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // A new leader does not know when the last one recorded, and begins with a wait.
    let mut recorded: BTreeMap<u64, Instant> = BTreeMap::new();
    let mut asked: Option<Instant> = None;
    let mut elsewhere = Seen::default();
    let mut told = BTreeSet::new();
    loop {
        look.tick().await;
        if hosted.handle.leading().is_none() {
            recorded.clear();
            continue;
        }
        if asked.is_none_or(|asked| asked.elapsed() >= every) {
            elsewhere = shown_by_others(&context, &groups).await;
            asked = Some(Instant::now());
        }
        let mut known = decided_here(&groups);
        for (group, shown) in &elsewhere.largest {
            known.take(*group, *shown);
        }
        known.forked.extend(&elsewhere.forked);
        for fork in known.forked.difference(&told) {
            tell_of_fork(&context, *fork);
        }
        told.extend(&known.forked);
        let sound = known
            .largest
            .into_iter()
            .filter(|(group, _)| !known.forked.iter().any(|(forked, _)| forked == group));
        for (group, checkpoint) in sound {
            if recorded.entry(group).or_insert_with(Instant::now).elapsed() < every {
                continue;
            }
            match is_news(&hosted, group, checkpoint.0) {
                Ok(true) => record(&hosted, group, checkpoint).await,
                Ok(false) => continue,
                Err(error) => {
                    tracing::error!(group, %error, "the recorded checkpoint cannot be read");
                }
            }
            recorded.insert(group, Instant::now());
        }
    }
}

impl Seen {
    fn take(&mut self, group: u64, new: (u64, Hash32)) {
        let largest = self.largest.entry(group).or_insert(new);
        if largest.0 == new.0 && largest.1 != new.1 {
            self.forked.insert((group, new.0));
        }
        if largest.0 < new.0 {
            *largest = new;
        }
    }
}

/// A log that has signed two roots for one size contradicts itself, and its key is not to be believed any more.
fn tell_of_fork(context: &NodeContext, (group, size): (u64, u64)) {
    context.metrics.alerts.add(1);
    tracing::error!(
        group,
        size,
        "THE LOG HAS SIGNED TWO ROOTS FOR ONE SIZE; it is not recorded any more"
    );
    let what = format!("the log has signed two roots for the size {size}");
    monitor::note(context, group, Cause::OtherLogs, &what);
}

/// What the groups that live here have decided.
fn decided_here(groups: &Groups) -> Seen {
    let data = groups.all().into_iter().filter(|other| other.handle.group() != DIRECTORY_GROUP);
    let decided = data.filter_map(|other| {
        let decided = other.handle.replica().progress().borrow().decided.clone()?;
        Some((other.handle.group(), (decided.size, decided.root)))
    });
    Seen { largest: decided.collect(), forked: BTreeSet::new() }
}

/// What the other nodes show that the groups' logs have signed.
async fn shown_by_others(context: &NodeContext, groups: &Groups) -> Seen {
    let own = context.identity.node;
    let members = groups.members();
    let asking = members.iter().filter(|(id, _)| **id != own).map(|(id, member)| async move {
        let client = context.pool.client(*id, &member.incarnation, &member.rpc, Lane::Control);
        let mut client = client.ok()?;
        let asked = client.signed_checkpoints(SignedCheckpointsRequest {});
        match tokio::time::timeout(ASK_WAIT, asked).await {
            Ok(Ok(shown)) => Some(shown.into_inner().checkpoints),
            Ok(Err(_)) | Err(_) => {
                tracing::debug!(node = id, "a node does not show its checkpoints");
                None
            }
        }
    });
    let mut seen = Seen::default();
    for shown in join_all(asking).await.into_iter().flatten().flatten() {
        let group = shown.group;
        if !(1..=DATA_GROUPS_MAX).contains(&group) {
            continue;
        }
        match checkpoints::open(context, group, &shown.note) {
            Some(signed) => seen.take(group, (signed.size(), *signed.root())),
            None => tracing::warn!(group, "what another node shows is no checkpoint of this log"),
        }
    }
    seen
}

fn is_news(hosted: &Hosted, group: u64, size: u64) -> Result<bool, StoreError> {
    let known = hosted.handle.replica().read()?.document(CHECKPOINT_KIND, &group.to_string())?;
    Ok(known.as_ref().and_then(recorded_size).unwrap_or(0) < size)
}

async fn record(hosted: &Hosted, group: u64, (size, root): (u64, Hash32)) {
    let record = proto::RecordCheckpoint { group, size, root: root.to_vec().into() };
    let command = Command { command: Some(command::Command::RecordCheckpoint(record)) };
    let bytes = command.encoded_len();
    let Ok(answer) = hosted.submit.submit(command, bytes) else { return };
    match tokio::time::timeout(ANSWER_WAIT, answer).await {
        Ok(Ok(Answer::Refused(refusal))) => {
            tracing::warn!(
                group,
                code = refusal.code,
                "a checkpoint is not recorded: {}",
                refusal.detail
            );
        }
        Ok(Ok(_)) => {}
        Ok(Err(_)) | Err(_) => {
            tracing::debug!(group, "it is not known whether a checkpoint was recorded");
        }
    }
}
