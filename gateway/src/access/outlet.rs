//! One outlet that the caller may reach: every read and every submission names it by construction.

use std::time::Duration;

use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::state::rows::Operation;
use fiscus_proto::client::Answer;
use fiscus_proto::command::{Command, command};
use fiscus_proto::ledger::{Consistency, JournalRecord, ReadInvoiceRequest, ReadInvoiceResponse};
use std::sync::Arc;

use super::app::App;
use crate::directory::OutletEntry;
use crate::directory::documents::Merchant;
use crate::http::{Problem, RequestContext};

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

    /// How receipts name the host of the public verification.
    #[must_use]
    pub fn verify_host(&self) -> &str {
        &self.app.config().verify_host
    }

    /// Submits a command that names this outlet.
    pub async fn submit(&self, kind: command::Command) -> Result<Answer, Problem> {
        let command = Command { command: Some(kind) };
        let group = self.entry.group();
        let (wait, trace) = (self.time_left(), &self.context.traceparent);
        Ok(self.app.cluster().submit_traced(group, command, wait, trace).await?)
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

    fn time_left(&self) -> Duration {
        self.context.time_left()
    }
}
