//! Reads that a node works something out for: searches, reports and proofs.

use std::time::Duration;

use futures_util::stream::{Stream, try_unfold};
use tokio::time::{Instant, timeout_at};

use super::ClusterClient;
use super::error::{ReadError, words_of};
use super::read::{Read, may_differ_elsewhere, rejected};
use crate::ledger::{
    AReportRequest, FindNumbersRequest, FindNumbersResponse, FindRecordsRequest,
    FindRecordsResponse, ListCheckpointsRequest, ListCheckpointsResponse, ListUploadsRequest,
    ListUploadsResponse, ProveConsistencyRequest, ProveConsistencyResponse, ProveHeadsRequest,
    ProveHeadsResponse, ProveInclusionRequest, ProveInclusionResponse, ReadBlockRequest,
    ReadBlockResponse, ReadCheckpointRequest, ReadCheckpointResponse, ReadInvoiceRequest,
    ReadInvoiceResponse, ReadTileRequest, ReadTileResponse, RehearseRequest, RehearseResponse,
    ReportPart, SignedReport, XReportRequest,
};

impl ClusterClient {
    /// Reads an invoice with its credit notes and payments.
    pub async fn read_invoice(
        &self,
        request: ReadInvoiceRequest,
        timeout: Duration,
    ) -> Result<ReadInvoiceResponse, ReadError> {
        self.read(request.group, timeout, |mut node| {
            let request = request.clone();
            async move { node.read_invoice(request).await }
        })
        .await
    }

    /// Reads what an outlet has lent under a credential, and the credential.
    pub async fn read_block(
        &self,
        request: ReadBlockRequest,
        timeout: Duration,
    ) -> Result<ReadBlockResponse, ReadError> {
        self.read(request.group, timeout, |mut node| {
            let request = request.clone();
            async move { node.read_block(request).await }
        })
        .await
    }

    /// Lists the invoices of an outlet that the tax authority has refused.
    pub async fn list_uploads(
        &self,
        request: ListUploadsRequest,
        timeout: Duration,
    ) -> Result<ListUploadsResponse, ReadError> {
        self.read(request.group, timeout, |mut node| {
            let request = request.clone();
            async move { node.list_uploads(request).await }
        })
        .await
    }

    /// Finds records of many outlets; see the message for how to go on.
    pub async fn find_records(
        &self,
        request: FindRecordsRequest,
        timeout: Duration,
    ) -> Result<FindRecordsResponse, ReadError> {
        self.read(request.group, timeout, |mut node| {
            let request = request.clone();
            async move { node.find_records(request).await }
        })
        .await
    }

    /// Finds invoices of an outlet by their numbers.
    pub async fn find_numbers(
        &self,
        request: FindNumbersRequest,
        timeout: Duration,
    ) -> Result<FindNumbersResponse, ReadError> {
        self.read(request.group, timeout, |mut node| {
            let request = request.clone();
            async move { node.find_numbers(request).await }
        })
        .await
    }

    /// What an outlet, a terminal or a shift comes to now.
    pub async fn x_report(
        &self,
        request: XReportRequest,
        timeout: Duration,
    ) -> Result<SignedReport, ReadError> {
        self.read(request.group, timeout, |mut node| {
            let request = request.clone();
            async move { node.x_report(request).await }
        })
        .await
    }

    /// What a seal would be answered now.
    pub async fn rehearse(
        &self,
        request: RehearseRequest,
        timeout: Duration,
    ) -> Result<RehearseResponse, ReadError> {
        self.read(request.group, timeout, |mut node| {
            let request = request.clone();
            async move { node.rehearse(request).await }
        })
        .await
    }

    /// Proves that leaves are in a tree of the group.
    pub async fn prove_inclusion(
        &self,
        request: ProveInclusionRequest,
        timeout: Duration,
    ) -> Result<ProveInclusionResponse, ReadError> {
        self.read(request.group, timeout, |mut node| {
            let request = request.clone();
            async move { node.prove_inclusion(request).await }
        })
        .await
    }

    /// Proves that a tree of the group begins with an earlier one.
    pub async fn prove_consistency(
        &self,
        request: ProveConsistencyRequest,
        timeout: Duration,
    ) -> Result<ProveConsistencyResponse, ReadError> {
        self.read(request.group, timeout, |mut node| async move {
            node.prove_consistency(request).await
        })
        .await
    }

    /// Reads the signed state of a group's log.
    pub async fn read_checkpoint(
        &self,
        request: ReadCheckpointRequest,
        timeout: Duration,
    ) -> Result<ReadCheckpointResponse, ReadError> {
        self.read(
            request.group,
            timeout,
            |mut node| async move { node.read_checkpoint(request).await },
        )
        .await
    }

    /// Reads a tile of a group's log.
    pub async fn read_tile(
        &self,
        request: ReadTileRequest,
        timeout: Duration,
    ) -> Result<ReadTileResponse, ReadError> {
        self.read(request.group, timeout, |mut node| async move { node.read_tile(request).await })
            .await
    }

    /// Proves what a kept version of the heads tree says of an outlet.
    pub async fn prove_heads(
        &self,
        request: ProveHeadsRequest,
        timeout: Duration,
    ) -> Result<ProveHeadsResponse, ReadError> {
        self.read(request.group, timeout, |mut node| {
            let request = request.clone();
            async move { node.prove_heads(request).await }
        })
        .await
    }

    /// Lists checkpoints that were decided, the last one first.
    pub async fn list_checkpoints(
        &self,
        request: ListCheckpointsRequest,
        timeout: Duration,
    ) -> Result<ListCheckpointsResponse, ReadError> {
        self.read(
            request.group,
            timeout,
            |mut node| async move { node.list_checkpoints(request).await },
        )
        .await
    }

    /// The lines of every invoice of a range. A node that is lost ends it: a report is signed as a
    /// whole by the node that made it, so no other one can go on, and the caller asks again.
    pub fn a_report(
        &self,
        request: AReportRequest,
        timeout: Duration,
    ) -> impl Stream<Item = Result<ReportPart, ReadError>> + Send + use<> {
        let read = Read { group: request.group, deadline: Instant::now() + timeout };
        let start = (self.clone(), self.backoff(), request, None);
        try_unfold(start, move |(client, mut backoff, request, open)| async move {
            let mut parts = match open {
                Some(parts) => parts,
                None => {
                    let call = |mut node: crate::ledger::ledger_client::LedgerClient<_>| {
                        let request = request.clone();
                        async move { node.a_report(request).await }
                    };
                    client.read_until(read, &mut backoff, call).await?
                }
            };
            match timeout_at(read.deadline, parts.message()).await {
                Ok(Ok(Some(part))) => Ok(Some((part, (client, backoff, request, Some(parts))))),
                Ok(Ok(None)) => Ok(None),
                Ok(Err(status)) if may_differ_elsewhere(&status) => {
                    Err(ReadError::Unavailable { detail: words_of(&status) })
                }
                Ok(Err(status)) => Err(rejected(&status)),
                Err(_elapsed) => {
                    let detail = "the rest did not come in time".to_owned();
                    Err(ReadError::Unavailable { detail })
                }
            }
        })
    }
}
