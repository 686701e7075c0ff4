//! Invoices that the tax authority has refused are sent again.

use axum::http::StatusCode;
use fiscus_ledger::commands::UPLOAD_ITEMS_MAX;
use fiscus_proto::client::Answer;
use fiscus_proto::command::{RecordUpload, UploadItem, UploadVerdict, command};
use fiscus_proto::ledger::{Consistency, ListUploadsRequest, UploadRow, UploadState};

use super::outlet::Outlet;
use crate::http::Problem;

impl Outlet {
    /// Asks for refused invoices again, one or all; how many there were.
    pub async fn retry_uploads(
        &self,
        fiscal_number: Option<&str>,
        requested_by: &str,
    ) -> Result<u64, Problem> {
        let mut refused = self.refused_uploads().await?;
        if let Some(number) = fiscal_number {
            refused.retain(|row| row.fiscal_number == number);
            if refused.is_empty() {
                let detail = format!(
                    "invoice {number} is not refused by the tax authority; look at its dgi_status"
                );
                return Err(Problem::new(StatusCode::CONFLICT, "UPLOAD_NOT_REFUSED", detail));
            }
        }
        for some in refused.chunks(UPLOAD_ITEMS_MAX) {
            let items = some.iter().map(|row| UploadItem {
                fiscal_number: row.fiscal_number.clone(),
                ..UploadItem::default()
            });
            let upload = RecordUpload {
                outlet_id: self.id().to_owned(),
                verdict: UploadVerdict::Again.into(),
                destination: requested_by.to_owned(),
                items: items.collect(),
                ..RecordUpload::default()
            };
            match self.submit(command::Command::RecordUpload(upload)).await? {
                Answer::Refused(refusal) => return Err(Problem::of_refusal(&refusal)),
                Answer::Recorded(_) | Answer::AlreadyRecorded(_) | Answer::Unchanged => {}
                other => {
                    return Err(Problem::internal(&format!("a retry was answered with {other}")));
                }
            }
        }
        Ok(refused.len() as u64)
    }

    /// What is refused, and not yet asked for again, in the order of the journal.
    async fn refused_uploads(&self) -> Result<Vec<UploadRow>, Problem> {
        let mut request = ListUploadsRequest {
            group: self.entry().group(),
            outlet_id: self.id().to_owned(),
            consistency: Consistency::Linearizable.into(),
            ..ListUploadsRequest::default()
        };
        let mut all: Vec<UploadRow> = Vec::new();
        loop {
            let page = self.app().cluster().list_uploads(request.clone(), self.time_left()).await?;
            let last = page.uploads.last().map(|row| row.fiscal_number.clone());
            all.extend(page.uploads.into_iter().filter(|row| {
                row.status.as_ref().is_some_and(|it| it.state() != UploadState::Queued)
            }));
            match last.filter(|_| page.more) {
                Some(last) => request.after = last,
                None => break,
            }
        }
        all.sort_by_key(|row| row.position);
        Ok(all)
    }
}
