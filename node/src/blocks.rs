//! Closes the blocks that nobody brought back: their credential and its grace have expired.
//!
//! Only the group's leader proposes it, and apply decides by the group's time. Not here: blocks that are used
//! up, which apply closes with their last number, and those that a terminal returns.

use std::sync::Arc;
use std::time::Duration;

use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::Block;
use fiscus_proto::command::{self as proto, Command, command};
use fiscus_proto::ledger::submit_response::Result as Answer;
use fiscus_raft::store::StoreError;
use prost::Message;

use crate::groups::Hosted;

/// Between two looks. A block waits for three days before; it can wait for this, too.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Blocks closed after one look, so that a leader that finds many leaves room for sales.
const CLOSED_AT_ONCE_MAX: usize = 16;
/// A block that is not closed within this time is looked at again.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Looks for as long as the group lives here.
pub(crate) async fn run(hosted: Arc<Hosted>) {
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if hosted.handle.leading().is_none() {
            continue;
        }
        match lapsed(&hosted) {
            Ok(closings) => {
                for (credential_id, command) in closings {
                    close(&hosted, &credential_id, command).await;
                }
            }
            Err(error) => {
                let group = hosted.handle.group();
                tracing::error!(group, %error, "expired blocks cannot be looked for");
            }
        }
    }
}

/// What closes the blocks whose time has run out.
fn lapsed(hosted: &Hosted) -> Result<Vec<(Id, Command)>, StoreError> {
    let reading = hosted.handle.replica().read()?;
    let mut closings = Vec::new();
    for credential_id in reading.lapsed_blocks(CLOSED_AT_ONCE_MAX)? {
        let Some(block) = reading.row::<Block>(&credential_id)? else { continue };
        let close = proto::CloseBlock {
            outlet_id: block.outlet_id.to_string(),
            credential_id: credential_id.to_string(),
            reason: proto::CloseReason::Expired.into(),
        };
        closings
            .push((credential_id, Command { command: Some(command::Command::CloseBlock(close)) }));
    }
    Ok(closings)
}

/// Submits as any client does; what comes to nothing is found again at the next look.
async fn close(hosted: &Hosted, credential_id: &Id, command: Command) {
    let group = hosted.handle.group();
    let bytes = command.encoded_len();
    let Ok(answer) = hosted.submit.submit(command, bytes) else { return };
    match tokio::time::timeout(ANSWER_WAIT, answer).await {
        Ok(Ok(Answer::Recorded(_))) => {
            tracing::info!(group, %credential_id, "an expired block is closed");
        }
        Ok(Ok(Answer::Refused(refusal))) => {
            let (code, detail) = (refusal.code, refusal.detail);
            tracing::warn!(group, %credential_id, code, detail, "an expired block stays open");
        }
        // It does not lead any more, or is busy.
        Ok(_) | Err(_) => {}
    }
}
