//! One outlet that the caller may reach: every read and every submission names it by construction.

use std::time::Duration;

use axum::http::StatusCode;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::record::Record;
use fiscus_ledger::state::rows::Operation;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::Answer;
use fiscus_proto::command::{Command, command};
use fiscus_proto::ledger::{
    Consistency, FindNumbersRequest, FindNumbersResponse, FindRecordsRequest, FindRecordsResponse,
    JournalRecord, ReadBlockRequest, ReadBlockResponse, ReadInvoiceRequest, ReadInvoiceResponse,
    SignedReport, XReportRequest, x_report_request,
};
use std::sync::Arc;
use tokio::time::{Instant, sleep};

use super::app::App;
use crate::directory::OutletEntry;
use crate::directory::documents::Merchant;
use crate::http::{Problem, RequestContext};
use crate::uploads::status::dgi_status;

/// A group hears of a new outlet some moments after the directory; a submission waits so long for it,
const SETTLING: Duration = Duration::from_secs(3);
/// and looks again after this.
const SETTLING_PAUSE: Duration = Duration::from_millis(50);

/// An outlet of the caller's.
#[derive(Debug, Clone)]
pub struct Outlet {
    app: App,
    entry: OutletEntry,
    context: RequestContext,
}

impl Outlet {
    pub(super) fn new(app: App, entry: OutletEntry, context: RequestContext) -> Self {
        Self { app, entry, context }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.entry.id()
    }

    /// What the directory says of it.
    #[must_use]
    pub fn entry(&self) -> &OutletEntry {
        &self.entry
    }

    /// Its merchant.
    #[must_use]
    pub fn merchant(&self) -> &Merchant {
        &self.entry.merchant.value
    }

    /// A tax manifest by its version.
    #[must_use]
    pub fn manifest(&self, version: &str) -> Option<Arc<Manifest>> {
        self.app.directory().read().manifest(version)
    }

    /// How far the tax authority has one of its invoices. What a gateway is sending now is not in the journal yet.
    #[must_use]
    pub fn dgi_status(&self, sealed: &JournalRecord, record: &Record<'_>) -> &'static str {
        let environment = self.entry.fact.value.environment;
        let status = dgi_status(environment, sealed.upload.as_deref());
        // The answer to a seal says what held then, and is the same whenever it is repeated.
        if status != "queued" || sealed.upload.is_none() {
            return status;
        }
        let tables = self.app.directory().read();
        if tables.is_uploading(record.outlet_id, record.position) { "uploading" } else { status }
    }

    /// How receipts name the host of the public verification.
    #[must_use]
    pub fn verify_host(&self) -> &str {
        &self.app.config().verify_host
    }

    /// Submits a command that names this outlet. The directory knows the outlet, so a group that does not is
    /// about to hear of it.
    pub async fn submit(&self, kind: command::Command) -> Result<Answer, Problem> {
        let command = Command { command: Some(kind) };
        let group = self.entry.group();
        let settled = Instant::now() + SETTLING.min(self.time_left());
        loop {
            let (wait, trace) = (self.time_left(), &self.context.traceparent);
            let answer =
                self.app.cluster().submit_traced(group, command.clone(), wait, trace).await?;
            match &answer {
                Answer::Refused(refusal) if refusal.code == "OUTLET_UNKNOWN" => {}
                _ => return Ok(answer),
            }
            if Instant::now() + SETTLING_PAUSE >= settled {
                return Err(being_set_up());
            }
            sleep(SETTLING_PAUSE).await;
        }
    }

    /// The tax manifest that is in force in the outlet's group, as of its last entry.
    pub async fn manifest_in_force(&self) -> Result<Arc<Manifest>, Problem> {
        let group = self.entry.group();
        let wait = self.time_left();
        let found = self.app.cluster().read_group(group, Consistency::Linearizable, wait).await?;
        let now = UnixMs::new(found.as_of.map_or(0, |as_of| as_of.time_ms));
        let known = found.manifests.iter().filter_map(|json| Manifest::parse(json).ok());
        let in_force = known.filter(|manifest| manifest.effective_from() <= now);
        let last = in_force.max_by_key(Manifest::effective_from);
        last.map(Arc::new).ok_or_else(|| {
            let detail = "no tax manifest is in force at this time; an operator must publish one";
            Problem::new(StatusCode::CONFLICT, "NO_MANIFEST", detail)
        })
    }

    /// Records of this outlet in the order of the group's leaves; the group and the outlet are set here.
    pub async fn find_records(
        &self,
        request: FindRecordsRequest,
    ) -> Result<FindRecordsResponse, Problem> {
        let outlet_ids = vec![self.id().to_owned()];
        let request = FindRecordsRequest { group: self.entry.group(), outlet_ids, ..request };
        Ok(self.app.cluster().find_records(request, self.time_left()).await?)
    }

    /// Invoices of this outlet by their numbers; the group and the outlet are set here.
    pub async fn find_numbers(
        &self,
        request: FindNumbersRequest,
    ) -> Result<FindNumbersResponse, Problem> {
        let outlet_id = self.id().to_owned();
        let request = FindNumbersRequest { group: self.entry.group(), outlet_id, ..request };
        Ok(self.app.cluster().find_numbers(request, self.time_left()).await?)
    }

    /// What a scope of this outlet comes to now.
    pub async fn x_report(
        &self,
        scope: x_report_request::Scope,
        consistency: Consistency,
    ) -> Result<SignedReport, Problem> {
        let request = XReportRequest {
            group: self.entry.group(),
            outlet_id: self.id().to_owned(),
            consistency: consistency.into(),
            scope: Some(scope),
        };
        Ok(self.app.cluster().x_report(request, self.time_left()).await?)
    }

    /// An invoice of this outlet with its credit notes and payments.
    pub async fn invoice(
        &self,
        fiscal_number: &str,
        consistency: Consistency,
    ) -> Result<ReadInvoiceResponse, Problem> {
        let request = ReadInvoiceRequest {
            group: self.entry.group(),
            outlet_id: self.id().to_owned(),
            fiscal_number: fiscal_number.to_owned(),
            consistency: consistency.into(),
        };
        Ok(self.app.cluster().read_invoice(request, self.time_left()).await?)
    }

    /// What this outlet has lent under a credential.
    pub async fn block(
        &self,
        credential_id: &str,
        consistency: Consistency,
    ) -> Result<ReadBlockResponse, Problem> {
        let request = ReadBlockRequest {
            group: self.entry.group(),
            outlet_id: self.id().to_owned(),
            credential_id: credential_id.to_owned(),
            consistency: consistency.into(),
        };
        Ok(self.app.cluster().read_block(request, self.time_left()).await?)
    }

    /// What an earlier submission under a key became.
    pub async fn submission(
        &self,
        operation: Operation,
        key: &[u8; 16],
    ) -> Result<Option<JournalRecord>, Problem> {
        let request = fiscus_proto::ledger::ReadSubmissionRequest {
            group: self.entry.group(),
            outlet_id: self.id().to_owned(),
            operation: operation.code().into(),
            key: key.to_vec().into(),
            consistency: Consistency::Linearizable.into(),
        };
        let answer = self.app.cluster().read_submission(request, self.time_left()).await?;
        Ok(answer.record)
    }

    pub(super) fn app(&self) -> &App {
        &self.app
    }

    /// What is left of the request's time.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.context.time_left()
    }
}

fn being_set_up() -> Problem {
    let detail = "the outlet was registered just now and its group has not heard of it yet; nothing was done; send \
                  the request again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "CLUSTER_UNAVAILABLE", detail)
        .retry_after(Duration::from_secs(1))
}
