//! One node: its channel, and its one stream of commands.
//!
//! ```text
//! ask ──bounded queue──► the link's task ──► stream ──► node
//!  ▲                      │ pending: request → who asked
//!  └──────────────────────┘◄── answers, in any order
//! ```
//!
//! Invariant: every ask ends in an answer, in `NotSent` (the stream never saw it) or in `InDoubt`. Who
//! takes an ask's claim first decides between the last two: the task before it hands it to the stream,
//! or the caller when it gives up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::config::ClientLimits;
use super::error::words_of;
use crate::ledger::ledger_client::LedgerClient;
use crate::ledger::submit_response::Result as Told;
use crate::ledger::{SubmitRequest, SubmitResponse};

/// Why an ask has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The node surely never saw it.
    NotSent(String),
    /// The node may have seen it.
    InDoubt(String),
}

type Answered = Result<Told, NoAnswer>;

#[derive(Debug)]
struct Ask {
    request: SubmitRequest,
    claim: Arc<AtomicBool>,
    answer: oneshot::Sender<Answered>,
}

impl Ask {
    fn not_sent(self, detail: &str) {
        // A caller that is gone needs no answer.
        let _gone = self.answer.send(Err(NoAnswer::NotSent(detail.to_owned())));
    }
}

/// Whether this is the first to take the claim.
fn take(claim: &AtomicBool) -> bool {
    !claim.swap(true, Ordering::AcqRel)
}

/// A node that commands can be sent to.
#[derive(Debug)]
pub(super) struct Link {
    client: LedgerClient<Channel>,
    asks: mpsc::Sender<Ask>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// Starts the link's task; nothing is connected before the first ask.
    pub(super) fn new(channel: Channel, limits: ClientLimits) -> Self {
        let client = LedgerClient::new(channel).max_decoding_message_size(limits.message_bytes_max);
        let (asks, queue) = mpsc::channel(limits.queue_max);
        let stream = Stream { client: client.clone(), queue, limits };
        let task = tokio::spawn(stream.run());
        Self { client, asks, task }
    }

    /// For calls that are not commands.
    pub(super) fn client(&self) -> LedgerClient<Channel> {
        self.client.clone()
    }

    /// Sends one request, whose number is chosen here, and waits for its answer.
    pub(super) async fn ask(&self, request: SubmitRequest, deadline: Instant) -> Answered {
        let (answer, answered) = oneshot::channel();
        let claim = Arc::new(AtomicBool::new(false));
        let ask = Ask { request, claim: Arc::clone(&claim), answer };
        match timeout_at(deadline, self.asks.send(ask)).await {
            Ok(Ok(())) => {}
            Ok(Err(_closed)) => return Err(NoAnswer::NotSent("the link has ended".into())),
            Err(_elapsed) => return Err(NoAnswer::NotSent("the node's queue is full".into())),
        }
        let detail = match timeout_at(deadline, answered).await {
            Ok(Ok(answered)) => return answered,
            Ok(Err(_dropped)) => "the link has ended",
            Err(_elapsed) => "the node did not answer in time",
        };
        if take(&claim) {
            Err(NoAnswer::NotSent("the node could not be reached in time".into()))
        } else {
            Err(NoAnswer::InDoubt(detail.into()))
        }
    }
}

/// The task's own state.
struct Stream {
    client: LedgerClient<Channel>,
    queue: mpsc::Receiver<Ask>,
    limits: ClientLimits,
}

/// The requests that wait for their answers, by their number in the stream.
type Pending = BTreeMap<u64, oneshot::Sender<Answered>>;

impl Stream {
    async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            match self.open().await {
                Ok((requests, answers)) => self.serve(first, requests, answers).await,
                Err(detail) => {
                    first.not_sent(&detail);
                    while let Ok(waiting) = self.queue.try_recv() {
                        waiting.not_sent(&detail);
                    }
                }
            }
        }
    }

    /// Opens the stream before anything is sent on it, so that a failure here leaves no doubt.
    async fn open(
        &mut self,
    ) -> Result<(mpsc::Sender<SubmitRequest>, Streaming<SubmitResponse>), String> {
        let (requests, outgoing) = mpsc::channel(self.limits.queue_max);
        let opening = self.client.submit(ReceiverStream::new(outgoing));
        match timeout(self.limits.connect_timeout, opening).await {
            Ok(Ok(answers)) => Ok((requests, answers.into_inner())),
            Ok(Err(status)) => Err(format!("the stream cannot be opened: {}", words_of(&status))),
            Err(_elapsed) => Err("the node does not accept a stream".into()),
        }
    }

    /// Carries requests and answers until the stream breaks or nobody asks any more.
    async fn serve(
        &mut self,
        first: Ask,
        requests: mpsc::Sender<SubmitRequest>,
        mut answers: Streaming<SubmitResponse>,
    ) {
        let mut pending = Pending::new();
        let mut last = 0;
        match requests.reserve().await {
            Ok(place) => hand(first, place, &mut last, &mut pending),
            Err(_closed) => return first.not_sent("the stream closed as it opened"),
        }
        let detail = loop {
            if pending.len() >= self.limits.pending_max {
                pending.retain(|_, answer| !answer.is_closed());
            }
            let full = pending.len() >= self.limits.pending_max;
            tokio::select! {
                told = answers.message() => match told {
                    Ok(Some(told)) => settle(told, &mut pending),
                    Ok(None) => break "the node closed the stream".to_owned(),
                    Err(status) => break format!("the stream broke: {}", words_of(&status)),
                },
                next = next_ask(&requests, &mut self.queue), if !full => match next {
                    Next::Ask(ask, place) => hand(*ask, place, &mut last, &mut pending),
                    Next::StreamClosed => break "the stream closed".to_owned(),
                    Next::NobodyAsks => return,
                },
                // Callers give up without a word: look again for places that they have left.
                () = sleep(self.limits.attempt_timeout), if full => {}
            }
        };
        for (_, answer) in pending {
            let _gone = answer.send(Err(NoAnswer::InDoubt(detail.clone())));
        }
    }
}

enum Next<'a> {
    Ask(Box<Ask>, mpsc::Permit<'a, SubmitRequest>),
    StreamClosed,
    NobodyAsks,
}

/// A place in the stream first, then who takes it: nothing is lost when this is not waited for.
async fn next_ask<'a>(
    requests: &'a mpsc::Sender<SubmitRequest>,
    queue: &mut mpsc::Receiver<Ask>,
) -> Next<'a> {
    let Ok(place) = requests.reserve().await else { return Next::StreamClosed };
    queue.recv().await.map_or(Next::NobodyAsks, |ask| Next::Ask(Box::new(ask), place))
}

fn hand(ask: Ask, place: mpsc::Permit<'_, SubmitRequest>, last: &mut u64, pending: &mut Pending) {
    if !take(&ask.claim) {
        return; // The caller has given up and knows that it was not sent.
    }
    *last += 1;
    pending.insert(*last, ask.answer);
    place.send(SubmitRequest { request: *last, ..ask.request });
}

fn settle(told: SubmitResponse, pending: &mut Pending) {
    let Some(answer) = pending.remove(&told.request) else {
        tracing::debug!(request = told.request, "an answer to nobody");
        return;
    };
    let newer = || NoAnswer::InDoubt("the answer is of a newer kind than this client knows".into());
    // A caller that has given up since is not told.
    let _gone = answer.send(told.result.ok_or_else(newer));
}
