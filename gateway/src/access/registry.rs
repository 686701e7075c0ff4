//! Changes of the directory in a caller's name. Each is one atomic write: the documents, the line of the audit log
//! that tells who did it, and what a repetition of the request will find.
//!
//! ```text
//! change(…).put(…).once(…) ─► PutDocuments ─► taken? ─► known here ─► answer
//!                                │ no answer, or another version
//!                                └► the action's document tells whether this very write was taken
//! ```
//!
//! Invariant: the tenant of a change is that of the capability it was made through, never a word of the request.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use fiscus_ledger::facts::{Fact, TerminalFact};
use fiscus_ledger::hash::hex;
use fiscus_proto::client::{Answer, SubmitError};
use fiscus_proto::command::{Command, PutDocument, PutDocuments, command};
use fiscus_proto::ledger::{Consistency, Document, ReadDocumentRequest};
use serde::Serialize;

use super::caller::Caller;
use crate::directory::documents::{Action, Idempotency, kind};
use crate::directory::{Stored, Versioned};
use crate::http::{IdempotencyKey, Problem};

/// The group of the directory.
pub(super) const DIRECTORY: u64 = 0;
/// What was written is known here within this time, or is taken in without having been heard of.
const HEARD_WAIT: Duration = Duration::from_secs(2);
/// Kept of a request's time to find out what became of a write.
const DOUBT_WAIT: Duration = Duration::from_secs(1);
const DETAIL_CHARS_MAX: usize = 256;

/// A request that is to be done once, however often it is sent.
#[derive(Debug, Clone)]
pub struct Once {
    operation: &'static str,
    key: String,
    fingerprint: String,
}

impl Once {
    /// The request under its key.
    pub fn new<T: Serialize>(operation: &'static str, key: &IdempotencyKey, request: &T) -> Self {
        let request = serde_json::to_vec(request).expect("a request is JSON");
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"fiscus/registry-request/v1").update(operation.as_bytes()).update(&[0]);
        let fingerprint = hasher.update(&request).finalize().to_hex().to_string();
        Self { operation, key: hex(&key.hash()[..16]), fingerprint }
    }

    /// An id for what the request makes: the same one whenever it is sent, and nobody else's.
    #[must_use]
    pub fn made_id(&self, organisation: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in ["fiscus/made-id/v1", organisation, self.operation, &self.key] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        hex(&hasher.finalize().as_bytes()[..12])
    }

    pub(super) fn document_id(&self, organisation: &str) -> String {
        format!("{organisation}/{}/{}", self.operation, self.key)
    }

    /// What a repetition of the request finds.
    pub(super) fn document(&self, object_id: &str, time_ms: u64) -> Idempotency {
        let (fingerprint, object_id) = (self.fingerprint.clone(), object_id.to_owned());
        Idempotency { fingerprint, object_id, time_ms }
    }
}

/// What a change made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The id of what was made or changed.
    pub id: String,
    /// Whether it was done now, rather than before by the same request.
    pub new: bool,
}

impl Made {
    /// 201 for what was made now, 200 for what an earlier copy of the request made.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        if self.new { StatusCode::CREATED } else { StatusCode::OK }
    }

    pub(super) fn before(id: String) -> Self {
        Self { id, new: false }
    }
}

/// A change that is being put together.
#[derive(Debug)]
pub(super) struct Change<'c> {
    caller: &'c Caller,
    /// The tenant whose log tells of it.
    organisation: String,
    puts: Vec<PutDocument>,
    action: Action,
    once: Option<Once>,
}

impl Caller {
    /// Begins a change of a tenant's: what is done to which kind of thing, and to which.
    pub(super) fn change(
        &self,
        organisation: &str,
        action: &'static str,
        object: &'static str,
        object_id: &str,
    ) -> Change<'_> {
        let action = Action {
            time_ms: self.now().get(),
            key_id: self.key().id.clone(),
            key_name: self.key().name.clone(),
            action: action.to_owned(),
            object: object.to_owned(),
            object_id: object_id.to_owned(),
            outlet_id: String::new(),
            request_id: self.context().request_id.to_string(),
            details: BTreeMap::new(),
        };
        let (organisation, puts) = (organisation.to_owned(), Vec::new());
        Change { caller: self, organisation, puts, action, once: None }
    }

    /// What an earlier request under the same key made; a conflict when it asked for something else.
    pub(super) async fn made_before(&self, once: &Once) -> Result<Option<String>, Problem> {
        Ok(self.asked_before(once).await?.map(|known| known.value.object_id))
    }

    /// The same as it is kept, with its version.
    pub(super) async fn asked_before(
        &self,
        once: &Once,
    ) -> Result<Option<Versioned<Idempotency>>, Problem> {
        let id = once.document_id(self.organisation());
        let Some(found) = self.document(kind::IDEMPOTENCY, &id).await? else { return Ok(None) };
        let value: Idempotency = serde_json::from_slice(&found.bytes)
            .map_err(|error| Problem::internal(&format!("what {id} made: {error}")))?;
        if value.fingerprint == once.fingerprint {
            return Ok(Some(Versioned { version: found.version, value }));
        }
        Err(Problem::at(
            StatusCode::CONFLICT,
            "IDEMPOTENCY_CONFLICT",
            "Idempotency-Key",
            "this Idempotency-Key was used for another request; nothing was done; send a new key",
        ))
    }

    /// A document as the cluster has it.
    pub(super) async fn document(&self, kind: &str, id: &str) -> Result<Option<Document>, Problem> {
        let request = ReadDocumentRequest {
            kind: kind.to_owned(),
            id: id.to_owned(),
            consistency: Consistency::Linearizable.into(),
        };
        let wait = self.context().time_left();
        Ok(self.app().cluster().read_document(request, wait).await?.document)
    }

    /// Submits a command to the directory; time is left to find out what became of it.
    pub(super) async fn submit_to_directory(
        &self,
        kind: command::Command,
    ) -> Result<Answer, SubmitError> {
        let context = self.context();
        let wait = context.time_left().saturating_sub(DOUBT_WAIT).max(DOUBT_WAIT);
        let command = Command { command: Some(kind) };
        self.app().cluster().submit_traced(DIRECTORY, command, wait, &context.traceparent).await
    }

    /// Whether a key stands for this very request already; a conflict when it stands for another one.
    pub async fn is_key_of(&self, once: &Once) -> Result<bool, Problem> {
        Ok(self.asked_before(once).await?.is_some())
    }

    /// Keeps what a key stood for, of a request that is recorded elsewhere. Where this fails, the request is done
    /// nevertheless, and its repetition as well.
    pub async fn keep_key(&self, once: &Once, object_id: &str) {
        let id = once.document_id(self.organisation());
        let kept = once.document(object_id, self.now().get());
        if let Err(problem) = self.finish_with(&id, 0, &kept).await {
            tracing::warn!(code = &*problem.code, "what a key stands for is not written down");
        }
    }

    /// Writes a document that needs no line of its own, because it finishes what one tells. One that is there by now
    /// was written by a copy of this request, or is newer.
    pub(super) async fn finish_with<T: Stored>(
        &self,
        id: &str,
        seen: u64,
        value: &T,
    ) -> Result<(), Problem> {
        let puts = PutDocuments { puts: vec![json_put(T::KIND, id, seen, value)] };
        match self.submit_to_directory(command::Command::PutDocuments(puts)).await? {
            Answer::Done => Ok(()),
            Answer::Refused(refusal) if refusal.code == "VERSION_CONFLICT" => Ok(()),
            Answer::Refused(refusal) => Err(Problem::of_refusal(&refusal)),
            other => Err(Problem::internal(&format!("a write was answered with {other}"))),
        }
    }

    /// Reads a document anew and takes it in, as after somebody else has changed it.
    pub(super) async fn learn(&self, kind: &str, id: &str) -> Result<(), Problem> {
        if let Some(document) = self.document(kind, id).await? {
            self.app().directory().note(&document);
        }
        Ok(())
    }
}

impl Change<'_> {
    /// It concerns an outlet.
    pub(super) fn outlet(mut self, outlet_id: &str) -> Self {
        outlet_id.clone_into(&mut self.action.outlet_id);
        self
    }

    /// What a reader of the log wants to know beside that. Never a secret.
    pub(super) fn detail(mut self, name: &str, value: &str) -> Self {
        let value = value.chars().take(DETAIL_CHARS_MAX).collect();
        self.action.details.insert(name.to_owned(), value);
        self
    }

    /// A repetition of the request finds what this makes.
    pub(super) fn once(mut self, once: &Once) -> Self {
        self.once = Some(once.clone());
        self
    }

    /// Writes a document over the version that was seen; 0 when there must be none.
    pub(super) fn put<T: Stored>(mut self, id: &str, seen: u64, value: &T) -> Self {
        self.puts.push(json_put(T::KIND, id, seen, value));
        self
    }

    /// The same for a terminal's fiscal part.
    pub(super) fn put_terminal(mut self, id: &str, seen: u64, fact: TerminalFact) -> Self {
        self.puts.push(PutDocument {
            kind: kind::TERMINAL.to_owned(),
            id: id.to_owned(),
            expected_version: seen,
            bytes: Fact::Terminal(fact).encode().into(),
        });
        self
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.puts.is_empty()
    }

    /// Writes it. When this returns, this gateway knows it.
    pub(super) async fn commit(mut self) -> Result<Made, Problem> {
        let action_id = self.push_action();
        self.push_once();
        let puts = PutDocuments { puts: self.puts.clone() };
        match self.caller.submit_to_directory(command::Command::PutDocuments(puts)).await {
            Ok(Answer::Done) => self.heard().await,
            Ok(Answer::Refused(refusal)) if refusal.code == "VERSION_CONFLICT" => {
                // A copy of this write that was in doubt may have been taken before this one was refused.
                if self.was_taken(&action_id).await? {
                    return self.heard().await;
                }
                if let Some(once) = &self.once
                    && let Some(made) = self.caller.made_before(once).await?
                {
                    return Ok(Made::before(made));
                }
                self.learn_what_is_newer().await?;
                Err(Problem::of_refusal(&refusal))
            }
            Ok(Answer::Refused(refusal)) => Err(Problem::of_refusal(&refusal)),
            Ok(other) => Err(Problem::internal(&format!("a write was answered with {other}"))),
            Err(error @ SubmitError::Unknown { .. }) => match self.was_taken(&action_id).await {
                Ok(true) => self.heard().await,
                // It may still be on its way.
                Ok(false) | Err(_) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what must not be there yet; `taken` says what it means that it is.
    pub(super) async fn make(self, taken: impl FnOnce() -> Problem) -> Result<Made, Problem> {
        match self.commit().await {
            Err(problem) if problem.code == "VERSION_CONFLICT" => Err(taken()),
            done => done,
        }
    }

    fn push_action(&mut self) -> String {
        let random = hex(&self.caller.app().random::<8>());
        let id = format!("{}/{:013}-{random}", self.organisation, self.action.time_ms);
        self.puts.push(json_put(kind::ACTION, &id, 0, &self.action));
        id
    }

    fn push_once(&mut self) {
        let Some(once) = &self.once else { return };
        let made = once.document(&self.action.object_id, self.action.time_ms);
        let id = once.document_id(self.caller.organisation());
        self.puts.push(json_put(kind::IDEMPOTENCY, &id, 0, &made));
    }

    /// The action's id is this write's alone.
    async fn was_taken(&self, action_id: &str) -> Result<bool, Problem> {
        let found = self.caller.document(kind::ACTION, action_id).await;
        found.map(|found| found.is_some()).map_err(|_| {
            SubmitError::Unknown { detail: "a write cannot be looked for".to_owned() }.into()
        })
    }

    async fn learn_what_is_newer(&self) -> Result<(), Problem> {
        for put in self.followed() {
            self.caller.learn(&put.kind, &put.id).await?;
        }
        Ok(())
    }

    fn followed(&self) -> impl Iterator<Item = &PutDocument> {
        self.puts.iter().filter(|put| kind::FOLLOWED.contains(&put.kind.as_str()))
    }

    async fn heard(&self) -> Result<Made, Problem> {
        let directory = self.caller.app().directory();
        let wait = HEARD_WAIT.min(self.caller.context().time_left());
        let heard = directory.wait_until(wait, |tables| {
            self.followed().all(|put| tables.version(&put.kind, &put.id) > put.expected_version)
        });
        if !heard.await {
            for put in self.followed() {
                directory.note(&Document {
                    kind: put.kind.clone(),
                    id: put.id.clone(),
                    version: put.expected_version + 1,
                    bytes: put.bytes.clone(),
                });
            }
        }
        Ok(Made { id: self.action.object_id.clone(), new: true })
    }
}

/// Refuses what would be more than there may be: everything here is kept in the memory of every gateway.
pub(super) fn check_room(there: usize, most: usize, what: &str) -> Result<(), Problem> {
    if there < most {
        return Ok(());
    }
    let detail = format!("there are {most} {what} already, which is as many as there may be");
    Err(Problem::new(StatusCode::CONFLICT, "REGISTRY_FULL", detail))
}

fn json_put<T: Serialize>(kind: &str, id: &str, seen: u64, value: &T) -> PutDocument {
    PutDocument {
        kind: kind.to_owned(),
        id: id.to_owned(),
        expected_version: seen,
        bytes: serde_json::to_vec(value).expect("a document is JSON").into(),
    }
}
