//! Submitting a command: to the leader, again where that is safe, until an answer or the deadline.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::ClusterClient;
use super::error::SubmitError;
use super::link::NoAnswer;
use super::retry::{Backoff, Repetition, repetition};
use crate::command::{Command, Refusal};
use crate::ledger::submit_response::Result as Told;
use crate::ledger::{Busy, JournalRecord, SubmitRequest};

/// Leaders change while they are looked for; after so many hints in a row, the client waits.
const HINTS_IN_A_ROW_MAX: u32 = 3;
/// The code of a leader that has only too much to do. With any other it is about to give the lead away.
const QUEUE_FULL: &str = "QUEUE_FULL";

/// What became of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It became this record.
    Recorded(JournalRecord),
    /// The same submission became this record before.
    AlreadyRecorded(JournalRecord),
    /// An offline seal waits for its predecessors.
    Waiting,
    /// State has changed without a record.
    Done,
    /// There was nothing to do.
    Unchanged,
    /// Refused by the rules; nothing has changed.
    Refused(Refusal),
}

/// In words, for an answer that does not belong to its command. What a record holds is nobody's business in a log.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recorded(_) => f.write_str("a record"),
            Self::AlreadyRecorded(_) => f.write_str("a record from before"),
            Self::Waiting => f.write_str("the word that it waits"),
            Self::Done => f.write_str("the word that it is done"),
            Self::Unchanged => f.write_str("the word that nothing has changed"),
            Self::Refused(refusal) => write!(f, "a refusal ({}: {})", refusal.code, refusal.detail),
        }
    }
}

/// What one attempt came to.
enum Attempt {
    Answered(Answer),
    /// Not taken; the hint is another node's number, or 0.
    NotLeader(u64),
    Busy(Busy),
    Malformed(String),
    /// Surely not taken: there is nobody to send it to, or it could not be sent.
    NotSent(String),
    InDoubt(String),
}

impl ClusterClient {
    /// Submits a command to a group and waits for its answer, at most `timeout`. The same command is
    /// sent again when an attempt fails and [`retry_safe`](super::retry_safe) allows it.
    pub async fn submit(
        &self,
        group: u64,
        command: Command,
        timeout: Duration,
    ) -> Result<Answer, SubmitError> {
        self.submit_traced(group, command, timeout, "").await
    }

    /// The same under a W3C trace context.
    pub async fn submit_traced(
        &self,
        group: u64,
        command: Command,
        timeout: Duration,
        traceparent: &str,
    ) -> Result<Answer, SubmitError> {
        let mut submission = Submission {
            client: self,
            group,
            deadline: Instant::now() + timeout,
            backoff: self.backoff(),
            failed: None,
            turn: 0,
            hints: 0,
            verdict: Verdict { repetition: repetition(&command), doubt: None, last: None },
        };
        loop {
            let node = submission.target().await;
            let attempt = submission.attempt(node, &command, traceparent).await;
            let wait = match submission.weigh(node, attempt) {
                Next::Finished(result) => return result,
                Next::Again(wait) => wait,
            };
            if Instant::now() + wait >= submission.deadline {
                return Err(submission.verdict.give_up());
            }
            sleep(wait).await;
        }
    }
}

enum Next {
    Finished(Result<Answer, SubmitError>),
    Again(Duration),
}

struct Submission<'a> {
    client: &'a ClusterClient,
    group: u64,
    deadline: Instant,
    backoff: Backoff,
    /// The node that failed last.
    failed: Option<u64>,
    turn: usize,
    hints: u32,
    verdict: Verdict,
}

/// What is known of the command's copies.
struct Verdict {
    repetition: Repetition,
    /// Why a copy may have been taken. Nothing but an answer to the command lifts it: a later leader
    /// that takes nothing says nothing about the copy that an earlier one had.
    doubt: Option<String>,
    /// The last reason for which a copy was surely not taken.
    last: Option<SubmitError>,
}

impl Submission<'_> {
    /// The node to try, after asking for the topology when the leader is not known.
    async fn target(&mut self) -> Option<u64> {
        let (generation, known) = {
            let routes = self.client.routes();
            (routes.generation, routes.knows_leader(self.group))
        };
        if !known && let Err(detail) = self.client.refresh(generation, self.deadline).await {
            tracing::debug!(group = self.group, detail, "the topology is not known");
        }
        let node = self.client.routes().target(self.group, self.failed, self.turn);
        self.turn += 1;
        node
    }

    async fn attempt(&self, node: Option<u64>, command: &Command, traceparent: &str) -> Attempt {
        let Some(node) = node else { return Attempt::NotSent("no node is known".into()) };
        let link = match self.client.node_link(node) {
            Ok(link) => link,
            Err(detail) => return Attempt::NotSent(detail),
        };
        let now = Instant::now();
        let deadline = self.deadline.min(now + self.client.shared.config.limits.attempt_timeout);
        let timeout_ms = u32::try_from((deadline - now).as_millis()).unwrap_or(u32::MAX);
        let request = SubmitRequest {
            request: 0,
            group: self.group,
            command: Some(command.clone()),
            timeout_ms,
            traceparent: traceparent.to_owned(),
        };
        match link.ask(request, deadline).await {
            Ok(Told::Recorded(record)) => Attempt::Answered(Answer::Recorded(record)),
            Ok(Told::AlreadyRecorded(record)) => Attempt::Answered(Answer::AlreadyRecorded(record)),
            Ok(Told::Waiting(_)) => Attempt::Answered(Answer::Waiting),
            Ok(Told::Done(_)) => Attempt::Answered(Answer::Done),
            Ok(Told::Unchanged(_)) => Attempt::Answered(Answer::Unchanged),
            Ok(Told::Refused(refusal)) => Attempt::Answered(Answer::Refused(refusal)),
            Ok(Told::NotLeader(hint)) => Attempt::NotLeader(hint.leader),
            Ok(Told::Busy(busy)) => Attempt::Busy(busy),
            Ok(Told::Unknown(unknown)) => Attempt::InDoubt(unknown.detail),
            Ok(Told::Malformed(malformed)) => Attempt::Malformed(malformed.detail),
            Err(NoAnswer::NotSent(detail)) => Attempt::NotSent(format!("node {node}: {detail}")),
            Err(NoAnswer::InDoubt(detail)) => Attempt::InDoubt(format!("node {node}: {detail}")),
        }
    }

    /// Decides what follows from an attempt.
    fn weigh(&mut self, node: Option<u64>, attempt: Attempt) -> Next {
        if !matches!(attempt, Attempt::NotLeader(_)) {
            self.hints = 0;
        }
        match attempt {
            Attempt::Answered(answer) => {
                if let Some(node) = node {
                    self.client.routes().answered(node);
                }
                Next::Finished(self.verdict.answered(answer))
            }
            Attempt::Malformed(detail) => Next::Finished(Err(self.verdict.malformed(detail))),
            Attempt::NotLeader(hint) => {
                let detail = format!("group {} has no known leader", self.group);
                self.verdict.last = Some(SubmitError::Unavailable { detail });
                self.follow(node, hint)
            }
            Attempt::Busy(busy) => {
                if busy.code != QUEUE_FULL {
                    self.give_up_on(node);
                }
                let retry_after = Duration::from_millis(u64::from(busy.retry_after_ms));
                let Busy { code, detail, .. } = busy;
                self.verdict.last = Some(SubmitError::Busy { retry_after, code, detail });
                Next::Again(self.backoff.wait().max(retry_after))
            }
            Attempt::NotSent(detail) => {
                self.give_up_on(node);
                self.verdict.last = Some(SubmitError::Unavailable { detail });
                Next::Again(self.backoff.wait())
            }
            Attempt::InDoubt(detail) => {
                self.give_up_on(node);
                self.verdict.doubt = Some(detail);
                if self.verdict.repetition == Repetition::DoneAgain {
                    return Next::Finished(Err(self.verdict.give_up()));
                }
                Next::Again(self.backoff.wait())
            }
        }
    }

    /// Goes where a hint points, at once unless the nodes send the client in circles.
    fn follow(&mut self, node: Option<u64>, hint: u64) -> Next {
        self.give_up_on(node);
        let known = Some(hint) != node && self.client.routes().hint(self.group, hint);
        if let Some(node) = node.filter(|node| !known && hint != 0 && hint != *node) {
            // It knows a node that nobody has told of yet: it is asked for the topology first.
            self.client.routes().answered(node);
        }
        self.hints += 1;
        if known && self.hints <= HINTS_IN_A_ROW_MAX {
            return Next::Again(Duration::ZERO);
        }
        Next::Again(self.backoff.wait())
    }

    fn give_up_on(&mut self, node: Option<u64>) {
        self.failed = node;
        if let Some(node) = node {
            self.client.routes().forget_leader(self.group, node);
        }
    }
}

impl Verdict {
    /// An answer settles every copy, unless it is a refusal that an earlier copy may have caused.
    fn answered(&self, answer: Answer) -> Result<Answer, SubmitError> {
        match (&self.doubt, &answer) {
            (Some(doubt), Answer::Refused(refusal)) if self.repetition == Repetition::Refused => {
                let detail = format!(
                    "{doubt}; a second copy was refused ({}: {}), which the first may have caused: \
                     read the state",
                    refusal.code, refusal.detail
                );
                Err(SubmitError::Unknown { detail })
            }
            _ => Ok(answer),
        }
    }

    fn malformed(&mut self, detail: String) -> SubmitError {
        self.last = Some(SubmitError::Malformed { detail });
        self.give_up()
    }

    /// The truth when there is no more time.
    fn give_up(&mut self) -> SubmitError {
        if let Some(detail) = self.doubt.take() {
            return SubmitError::Unknown { detail };
        }
        let no_time = || "there was no time to ask anyone".to_owned();
        self.last.take().unwrap_or_else(|| SubmitError::Unavailable { detail: no_time() })
    }
}
