//! Takes commands from clients: which of them may come from outside, and what became of each.

use std::time::{Duration, Instant};

use fiscus_proto::command::{Command, command};
use fiscus_proto::ledger as wire;
use fiscus_proto::ledger::submit_response::Result as Answer;
use fiscus_raft::entry::{DIRECTORY_GROUP, data_command, directory_command};
use prost::Message;

use super::ledger::LedgerService;

/// A submission without a limit of its own is given up after so long.
const SUBMIT_WAIT: Duration = Duration::from_secs(10);
/// The kind of documents in which proxies tell how real devices are.
const DEVICE_HEALTH: &str = "device_health";
/// A submission that takes longer is worth a line in the log.
const SLOW: Duration = Duration::from_secs(1);

impl LedgerService {
    /// Takes one submission and answers it, within its time.
    pub(super) async fn submit_one(
        &self,
        request: wire::SubmitRequest,
        directory: bool,
    ) -> wire::SubmitResponse {
        let limit = match request.timeout_ms {
            0 => SUBMIT_WAIT,
            ms => Duration::from_millis(ms.into()),
        };
        let began = Instant::now();
        let answer = match request.command {
            Some(command)
                if !directory && (changes_directory(&command) || asks_for_heads(&command)) =>
            {
                malformed(
                    "a device proxy changes no directory, speaks for no tax authority, asks for no heads",
                )
            }
            command => self.answer(request.group, command, limit).await,
        };
        trace(&request.traceparent, request.group, &answer, began.elapsed());
        wire::SubmitResponse { request: request.request, result: Some(answer) }
    }

    pub(crate) async fn answer(
        &self,
        group: u64,
        command: Option<Command>,
        limit: Duration,
    ) -> Answer {
        let Some(command) = command else { return malformed("the request has no command") };
        if is_internal(&command) && !asks_for_heads(&command) {
            return malformed("this command is not taken from clients");
        }
        self.execute(group, command, limit).await
    }

    /// Queues a command that may be any.
    pub(crate) async fn execute(&self, group: u64, command: Command, limit: Duration) -> Answer {
        let checked = if group == DIRECTORY_GROUP {
            directory_command(command.clone()).map(|_| ())
        } else {
            data_command(command.clone()).map(|_| ())
        };
        if let Err(error) = checked {
            return malformed(&error.to_string());
        }
        let Ok(hosted) = self.group(group) else {
            return Answer::NotLeader(wire::NotLeader { leader: 0 });
        };
        // A client stays with a node that is busy, and this one has given the group away.
        if self.context.disk_full() && hosted.handle.leading().is_none() {
            let leader = hosted.handle.status().leader.unwrap_or(0);
            return Answer::NotLeader(wire::NotLeader { leader });
        }
        let bytes = command.encoded_len();
        if bytes > self.context.config.limits.batch_bytes_max {
            return malformed("the command is larger than an entry may be");
        }
        match hosted.submit.submit(command, bytes) {
            Err(busy) => busy,
            Ok(answer) => match tokio::time::timeout(limit, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => unknown("this node is stopping"),
                Err(_) => unknown("no answer came in time"),
            },
        }
    }
}

/// Logs what became of a submission, under the caller's trace id.
fn trace(traceparent: &str, group: u64, answer: &Answer, took: Duration) {
    let trace_id = trace_id(traceparent).unwrap_or_default();
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match answer {
        Answer::Unknown(unknown) => {
            tracing::warn!(trace_id, group, took_ms, detail = unknown.detail, "outcome unknown");
        }
        Answer::Refused(refused) => {
            tracing::info!(trace_id, group, took_ms, code = refused.code, "refused");
        }
        // There are most of them when there is least room for a log; a metric counts them.
        Answer::Busy(busy) => tracing::debug!(trace_id, group, took_ms, code = busy.code, "busy"),
        Answer::Malformed(malformed) => {
            tracing::warn!(trace_id, group, took_ms, detail = malformed.detail, "malformed");
        }
        Answer::NotLeader(_) => tracing::debug!(trace_id, group, took_ms, "not the leader"),
        _ if took >= SLOW => tracing::info!(trace_id, group, took_ms, "slow"),
        _ => tracing::debug!(trace_id, group, took_ms, "done"),
    }
}

/// The trace id of a W3C trace context, if it is one.
fn trace_id(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (version.len() == 2 && trace.len() == 32 && hex(version) && hex(trace)).then_some(trace)
}

fn malformed(detail: &str) -> Answer {
    Answer::Malformed(wire::Malformed { detail: detail.to_owned() })
}

fn unknown(detail: &str) -> Answer {
    Answer::Unknown(wire::Unknown { detail: detail.to_owned() })
}

/// Whether a command asks for a root of the heads tree: it changes nothing, and takes a leaf only when
/// something is new.
fn asks_for_heads(command: &Command) -> bool {
    matches!(&command.command, Some(command::Command::CheckpointCut(cut)) if cut.demand_heads)
}

/// Whether a command says what merchants, outlets, devices and taxes there are.
fn changes_directory(command: &Command) -> bool {
    use command::Command as Kind;
    // How a device is today is telemetry, and the proxy's to tell.
    if let Some(Kind::PutDocument(put)) = &command.command
        && put.kind == DEVICE_HEALTH
    {
        return false;
    }
    matches!(
        command.command,
        Some(
            Kind::RegisterOutlet(_)
                | Kind::ChangeOutlet(_)
                | Kind::PutDocument(_)
                | Kind::PutDocuments(_)
                | Kind::PublishManifest(_)
                // What the tax authority has answered is not said in a shop.
                | Kind::RecordUpload(_)
                | Kind::RegisterDevice(_)
                | Kind::ReplaceDevice(_)
                | Kind::RevokeDevice(_)
        )
    )
}

/// Commands that only the cluster itself, or an operator, may propose.
fn is_internal(command: &Command) -> bool {
    use command::Command as Kind;
    // How a device is today is telemetry, and the proxy's to tell.
    if let Some(Kind::PutDocument(put)) = &command.command
        && put.kind == DEVICE_HEALTH
    {
        return false;
    }
    matches!(
        command.command,
        None | Some(
            Kind::Tick(_)
                | Kind::PrepareAuthority(_)
                | Kind::ActivateAuthority(_)
                | Kind::CheckpointCut(_)
                | Kind::CheckpointDecided(_)
                | Kind::AttachSignatures(_)
                | Kind::RaiseApplyVersion(_)
                | Kind::DirectoryFact(_)
                | Kind::RecoveryGap(_)
                | Kind::RecordCheckpoint(_)
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_taken_from_a_trace_context_only() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&format!("00-{id}-00f067aa0ba902b7-01")), Some(id));
        for wrong in ["", "00", "00-", "00-xyz-1-1", "00-4BF92F3577B34DA6A3CE929D0E0E4736-1-1"] {
            assert_eq!(trace_id(wrong), None, "{wrong}");
        }
    }
}
