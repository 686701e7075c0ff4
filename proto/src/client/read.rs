//! Reads: from any node that answers, the likeliest first, on the others when it does not.

use std::future::Future;
use std::time::Duration;

use futures_util::stream::{Stream, try_unfold};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};

use super::ClusterClient;
use super::error::{ReadError, words_of};
use super::retry::Backoff;
use crate::absence::is_not_here;
use crate::ledger::ledger_client::LedgerClient;
use crate::ledger::{
    Consistency, Document, JournalRecord, ListDocumentsRequest, ListOutletsRequest, OutletRow,
    ReadDocumentRequest, ReadDocumentResponse, ReadGroupRequest, ReadGroupResponse,
    ReadOutletRequest, ReadOutletResponse, ReadRecordRequest, ReadRecordResponse,
    ReadRecordsRequest, ReadSubmissionRequest,
};

/// The group that holds the documents.
pub(super) const DIRECTORY: u64 = 0;

/// Which replicas are asked, and until when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    pub(super) group: u64,
    pub(super) deadline: Instant,
}

/// Whether a status says nothing about the request itself, so that another node may answer it.
pub(super) fn may_differ_elsewhere(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated
    )
}

pub(super) fn rejected(status: &Status) -> ReadError {
    ReadError::Rejected { status: status.code(), detail: status.message().to_owned() }
}

impl ClusterClient {
    /// Reads an outlet's row.
    pub async fn read_outlet(
        &self,
        request: ReadOutletRequest,
        timeout: Duration,
    ) -> Result<ReadOutletResponse, ReadError> {
        self.read(request.group, timeout, |mut node| {
            let request = request.clone();
            async move { node.read_outlet(request).await }
        })
        .await
    }

    /// Reads one record.
    pub async fn read_record(
        &self,
        request: ReadRecordRequest,
        timeout: Duration,
    ) -> Result<ReadRecordResponse, ReadError> {
        self.read(request.group, timeout, |mut node| {
            let request = request.clone();
            async move { node.read_record(request).await }
        })
        .await
    }

    /// Reads the record that a submission became.
    pub async fn read_submission(
        &self,
        request: ReadSubmissionRequest,
        timeout: Duration,
    ) -> Result<ReadRecordResponse, ReadError> {
        self.read(request.group, timeout, |mut node| {
            let request = request.clone();
            async move { node.read_submission(request).await }
        })
        .await
    }

    /// Reads a document of the directory.
    pub async fn read_document(
        &self,
        request: ReadDocumentRequest,
        timeout: Duration,
    ) -> Result<ReadDocumentResponse, ReadError> {
        self.read(DIRECTORY, timeout, |mut node| {
            let request = request.clone();
            async move { node.read_document(request).await }
        })
        .await
    }

    /// Reads what is known of a group.
    pub async fn read_group(
        &self,
        group: u64,
        consistency: Consistency,
        timeout: Duration,
    ) -> Result<ReadGroupResponse, ReadError> {
        let request = ReadGroupRequest { group, consistency: consistency.into() };
        self.read(group, timeout, |mut node| async move { node.read_group(request).await }).await
    }

    /// Reads an outlet's records in their order. When a node is lost, another one goes on after the
    /// last record that came.
    pub fn read_records(
        &self,
        request: ReadRecordsRequest,
        timeout: Duration,
    ) -> impl Stream<Item = Result<JournalRecord, ReadError>> + Send + use<> {
        let group = request.group;
        let open = |mut node: LedgerClient<Channel>, request: ReadRecordsRequest| async move {
            node.read_records(request).await
        };
        // Positions are dense, so each record moves the next one's by one.
        let advance = |request: &mut ReadRecordsRequest, _: &JournalRecord| {
            request.from_position += 1;
            request.to_position == 0 || request.from_position <= request.to_position
        };
        self.clone().stream(group, request, timeout, open, advance)
    }

    /// Lists the documents of a kind by their ids. When a node is lost, another one goes on.
    pub fn list_documents(
        &self,
        request: ListDocumentsRequest,
        timeout: Duration,
    ) -> impl Stream<Item = Result<Document, ReadError>> + Send + use<> {
        let open = |mut node: LedgerClient<Channel>, request: ListDocumentsRequest| async move {
            node.list_documents(request).await
        };
        let advance = |request: &mut ListDocumentsRequest, document: &Document| {
            request.after.clone_from(&document.id);
            let limited = request.limit > 0;
            request.limit = request.limit.saturating_sub(1);
            !limited || request.limit > 0
        };
        self.clone().stream(DIRECTORY, request, timeout, open, advance)
    }

    /// Lists a group's outlets. When a node is lost, another one goes on.
    pub fn list_outlets(
        &self,
        request: ListOutletsRequest,
        timeout: Duration,
    ) -> impl Stream<Item = Result<OutletRow, ReadError>> + Send + use<> {
        let group = request.group;
        let open = |mut node: LedgerClient<Channel>, request: ListOutletsRequest| async move {
            node.list_outlets(request).await
        };
        let advance = |request: &mut ListOutletsRequest, outlet: &OutletRow| {
            request.after.clone_from(&outlet.outlet_id);
            true
        };
        self.clone().stream(group, request, timeout, open, advance)
    }

    pub(super) async fn read<T, F>(
        &self,
        group: u64,
        timeout: Duration,
        call: impl Fn(LedgerClient<Channel>) -> F,
    ) -> Result<T, ReadError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let read = Read { group, deadline: Instant::now() + timeout };
        self.read_until(read, &mut self.backoff(), call).await
    }

    /// Asks the nodes in turn, round by round. A group that nobody has told of, and that every node says it does not have,
    /// before the topology is learnt again and after it, is nowhere.
    pub(super) async fn read_until<T, F>(
        &self,
        read: Read,
        backoff: &mut Backoff,
        call: impl Fn(LedgerClient<Channel>) -> F,
    ) -> Result<T, ReadError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let region = self.shared.config.region.as_deref();
        let mut detail = "no node is known".to_owned();
        let mut rounds_of_absence = 0;
        loop {
            let (nodes, generation) = {
                let routes = self.routes();
                (routes.readers(read.group, region), routes.generation)
            };
            let mut nowhere = !nodes.is_empty();
            for node in nodes {
                match self.read_once(node, read.deadline, &call).await {
                    Ok(answer) => {
                        self.routes().answered(node);
                        return Ok(answer);
                    }
                    Err(Failure::Rejected(error)) => return Err(error),
                    Err(Failure::NotHere) => detail = format!("node {node} does not have it"),
                    Err(Failure::Elsewhere(failure)) => {
                        nowhere = false;
                        detail = format!("node {node}: {failure}");
                    }
                }
                if Instant::now() >= read.deadline {
                    return Err(ReadError::Unavailable { detail });
                }
            }
            rounds_of_absence = if nowhere { rounds_of_absence + 1 } else { 0 };
            if rounds_of_absence >= 2 && !self.groups().contains(&read.group) {
                let detail = format!("no node has group {}", read.group);
                return Err(ReadError::Rejected { status: Code::NotFound, detail });
            }
            let wait = backoff.wait();
            if Instant::now() + wait >= read.deadline {
                return Err(ReadError::Unavailable { detail });
            }
            sleep(wait).await;
            if let Err(failure) = self.refresh(generation, read.deadline).await {
                detail = failure;
            }
        }
    }

    async fn read_once<T, F>(
        &self,
        node: u64,
        deadline: Instant,
        call: &impl Fn(LedgerClient<Channel>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let link = self.node_link(node).map_err(Failure::Elsewhere)?;
        let deadline = deadline.min(Instant::now() + self.shared.config.limits.attempt_timeout);
        match timeout_at(deadline, call(link.client())).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) if is_not_here(&status) => Err(Failure::NotHere),
            Ok(Err(status)) if may_differ_elsewhere(&status) => {
                Err(Failure::Elsewhere(words_of(&status)))
            }
            Ok(Err(status)) => Err(Failure::Rejected(rejected(&status))),
            Err(_elapsed) => Err(Failure::Elsewhere("no answer in time".into())),
        }
    }

    /// A stream that is opened again, at what `advance` has made of the request, when it breaks.
    /// `advance` also says whether more can come.
    pub(super) fn stream<R, T, O>(
        self,
        group: u64,
        request: R,
        timeout: Duration,
        open: impl Fn(LedgerClient<Channel>, R) -> O + Copy + Send + Sync,
        advance: impl Fn(&mut R, &T) -> bool + Copy + Send,
    ) -> impl Stream<Item = Result<T, ReadError>> + Send
    where
        R: Clone + Send + Sync,
        T: Send + 'static,
        O: Future<Output = Result<Response<Streaming<T>>, Status>> + Send,
    {
        let read = Read { group, deadline: Instant::now() + timeout };
        let backoff = self.backoff();
        let start = (self, request, backoff, None::<Streaming<T>>, true);
        try_unfold(start, move |(client, mut request, mut backoff, mut stream, more)| async move {
            if !more {
                return Ok(None);
            }
            loop {
                let mut answers = match stream.take() {
                    Some(answers) => answers,
                    None => {
                        let call = |node| open(node, request.clone());
                        client.read_until(read, &mut backoff, call).await?
                    }
                };
                match timeout_at(read.deadline, answers.message()).await {
                    Ok(Ok(Some(item))) => {
                        let more = advance(&mut request, &item);
                        return Ok(Some((item, (client, request, backoff, Some(answers), more))));
                    }
                    Ok(Ok(None)) => return Ok(None),
                    Ok(Err(status)) if may_differ_elsewhere(&status) => {
                        sleep(backoff.wait()).await;
                    }
                    Ok(Err(status)) => return Err(rejected(&status)),
                    Err(_elapsed) => {
                        let detail = "the rest did not come in time".to_owned();
                        return Err(ReadError::Unavailable { detail });
                    }
                }
            }
        })
    }
}

enum Failure {
    /// No node would answer it.
    Rejected(ReadError),
    /// This one does not have the group.
    NotHere,
    /// Another node may answer it.
    Elsewhere(String),
}
