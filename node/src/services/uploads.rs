//! How far the tax authority has invoices: of each one that is told, and lists of those that were refused.

use std::collections::BTreeMap;

use fiscus_ledger::facts::Environment;
use fiscus_ledger::record::Record;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::upload::{Upload, UploadState};
use fiscus_proto::ledger as wire;
use fiscus_raft::store::{Reading, StoreError};
use tonic::Status;

use super::ledger::{LedgerService, as_of, failed};

/// Rows of one answer.
const ROWS_MAX: usize = 500;
/// No identifier is longer, so there is nothing under such a key.
const ID_BYTES_MAX: usize = 255;

/// The states of the invoices of one answer. Each outlet is read once.
#[derive(Debug)]
pub(crate) struct Uploads<'r> {
    reading: &'r Reading,
    /// By outlet, up to where it is settled, and whether some were refused; none of what is never uploaded.
    outlets: BTreeMap<String, Option<(u64, bool)>>,
}

impl<'r> Uploads<'r> {
    pub(crate) fn new(reading: &'r Reading) -> Self {
        Self { reading, outlets: BTreeMap::new() }
    }

    /// The state of the invoice that a record is; none when it is none, or is never uploaded.
    pub(crate) fn of(
        &mut self,
        record: &[u8],
    ) -> Result<Option<Box<wire::UploadStatus>>, StoreError> {
        let Ok(record) = Record::decode(record) else { return Ok(None) };
        if record.kind.invoice_type().is_none() {
            return Ok(None);
        }
        let Some((through, has_rows)) = self.outlet(record.outlet_id)? else { return Ok(None) };
        let key = (Id::from(record.outlet_id), Id::from(record.fiscal_number));
        let row = if has_rows { self.reading.row::<Upload>(&key)? } else { None };
        Ok(Some(Box::new(match row {
            Some(row) => status(&row),
            None if record.position <= through => plain(wire::UploadState::Acknowledged),
            None => plain(wire::UploadState::Queued),
        })))
    }

    fn outlet(&mut self, outlet_id: &str) -> Result<Option<(u64, bool)>, StoreError> {
        if let Some(known) = self.outlets.get(outlet_id) {
            return Ok(*known);
        }
        let outlet = self.reading.outlet(outlet_id)?;
        let live = outlet.filter(|outlet| outlet.fact.environment == Environment::Live);
        let found = live.map(|outlet| {
            let uploads = outlet.uploads;
            (uploads.through, uploads.refused + uploads.again > 0)
        });
        self.outlets.insert(outlet_id.to_owned(), found);
        Ok(found)
    }
}

/// The state of an invoice that has no row.
pub(crate) fn plain(state: wire::UploadState) -> wire::UploadStatus {
    wire::UploadStatus { state: state.into(), ..wire::UploadStatus::default() }
}

fn status(row: &Upload) -> wire::UploadStatus {
    let state = match row.state {
        UploadState::Rejected => wire::UploadState::Rejected,
        UploadState::Failed => wire::UploadState::Failed,
        UploadState::Again => wire::UploadState::Queued,
    };
    wire::UploadStatus {
        state: state.into(),
        code: row.code.to_string(),
        reason: row.reason.to_string(),
        stated_at: row.stated_at,
    }
}

impl LedgerService {
    pub(super) async fn uploads_of(
        &self,
        request: wire::ListUploadsRequest,
    ) -> Result<wire::ListUploadsResponse, Status> {
        let limit = match usize::try_from(request.limit) {
            Ok(0) | Err(_) => ROWS_MAX,
            Ok(asked) => asked.min(ROWS_MAX),
        };
        if request.outlet_id.len() > ID_BYTES_MAX || request.after.len() > ID_BYTES_MAX {
            return Err(Status::invalid_argument("no identifier is so long"));
        }
        self.search(request.group, request.consistency, move |_, _, reading| {
            let found = reading.uploads(&request.outlet_id, &request.after, limit + 1);
            let mut found = found.map_err(|error| failed(&error))?;
            let more = found.len() > limit;
            found.truncate(limit);
            let uploads = found.into_iter().map(|(fiscal_number, row)| wire::UploadRow {
                fiscal_number: fiscal_number.to_string(),
                position: row.position,
                status: Some(status(&row)),
                since_ms: row.since.get(),
                refusals: row.refusals,
            });
            let as_of = Some(as_of(reading.as_of()));
            Ok(wire::ListUploadsResponse { as_of, uploads: uploads.collect(), more })
        })
        .await
    }
}
