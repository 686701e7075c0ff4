//! Writes down in the directory's log how far the other groups' logs are: whoever watches that one log sees when another
//! one is cut or split.
//!
//! Only the directory's leader does it, of the groups that live on its node. Not here: the directory's own log, which is
//! witnessed directly, as each of them is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fiscus_ledger::commands::{CHECKPOINT_KIND, recorded_size};
use fiscus_ledger::state::group::CheckpointTuple;
use fiscus_proto::command::{self as proto, Command, command};
use fiscus_proto::ledger::submit_response::Result as Answer;
use fiscus_raft::store::StoreError;
use prost::Message;

use crate::context::NodeContext;
use crate::groups::{Groups, Hosted};

/// Between two looks, unless checkpoints are recorded more often.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A checkpoint that is not recorded within this time is offered again.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Looks for as long as the directory lives here.
pub(crate) async fn run(context: Arc<NodeContext>, groups: Arc<Groups>, hosted: Arc<Hosted>) {
    let every = Duration::from_millis(context.config.limits.checkpoint_record_ms);
    let mut look = tokio::time::interval(LOOK_INTERVAL.min(every));
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // A new leader does not know when the last one recorded, and begins with a wait.
    let mut recorded: BTreeMap<u64, Instant> = BTreeMap::new();
    loop {
        look.tick().await;
        if hosted.handle.leading().is_none() {
            recorded.clear();
            continue;
        }
        for other in groups.all() {
            let group = other.handle.group();
            let decided = other.handle.replica().progress().borrow().decided.clone();
            drop(other);
            let Some(tuple) = decided.filter(|_| group != hosted.handle.group()) else { continue };
            if recorded.entry(group).or_insert_with(Instant::now).elapsed() < every {
                continue;
            }
            match is_news(&hosted, group, tuple.size) {
                Ok(true) => record(&hosted, group, &tuple).await,
                Ok(false) => continue,
                Err(error) => {
                    tracing::error!(group, %error, "the recorded checkpoint cannot be read");
                }
            }
            recorded.insert(group, Instant::now());
        }
    }
}

fn is_news(hosted: &Hosted, group: u64, size: u64) -> Result<bool, StoreError> {
    let known = hosted.handle.replica().read()?.document(CHECKPOINT_KIND, &group.to_string())?;
    Ok(known.as_ref().and_then(recorded_size).unwrap_or(0) < size)
}

async fn record(hosted: &Hosted, group: u64, tuple: &CheckpointTuple) {
    let record =
        proto::RecordCheckpoint { group, size: tuple.size, root: tuple.root.to_vec().into() };
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
