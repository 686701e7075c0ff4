//! Searches: records of many outlets, invoices by their numbers, an invoice with what came after it.
//!
//! They may take long, so they run on threads of their own, a few at a time, and are over when they
//! answer: a slow caller holds nothing.

use std::sync::Arc;

use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::reference::{Subject, leading_text};
use fiscus_ledger::state::Id;
use fiscus_ledger::state::rows::{Payment, PaymentStatus};
use fiscus_proto::command as proto;
use fiscus_proto::ledger as wire;
use fiscus_raft::store::{FindLimits, FoundRecord, NumberQuery, Reading, RecordQuery, StoreError};
use fiscus_raft::threads::aside;
use tonic::Status;

use super::ledger::{LedgerService, READ_WAIT, as_of, failed};
use super::uploads::Uploads;
use crate::groups::Hosted;

/// Outlets of one call.
const OUTLETS_MAX: usize = 1_000;
/// Records, or numbers, that one call looks at.
const LOOKED_AT_MAX: usize = 2_000;
/// Bytes of records in one answer, though there is room for one.
const BYTES_MAX: usize = 4 << 20;
/// Credit notes of an invoice that are told, and events of its payments that are looked at.
const CREDITS_MAX: usize = 1_000;
const PAYMENT_EVENTS_MAX: usize = 1_000;

fn limits(asked: u32) -> FindLimits {
    let records = match asked {
        0 => LOOKED_AT_MAX,
        asked => usize::try_from(asked).map_or(LOOKED_AT_MAX, |asked| asked.min(LOOKED_AT_MAX)),
    };
    FindLimits { records, looked_at: LOOKED_AT_MAX, bytes: BYTES_MAX }
}

impl LedgerService {
    /// Runs what may take long with what a group holds now. Waits for its turn no longer than reads wait.
    pub(super) async fn search<T: Send + 'static>(
        &self,
        group: u64,
        consistency: i32,
        run: impl FnOnce(&Self, &Hosted, &Reading) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let turn = tokio::time::timeout(READ_WAIT, self.searches.clone().acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Err(Status::unavailable("this node searches too much already; ask again"));
        };
        let hosted = self.group(group)?;
        if consistency != i32::from(wire::Consistency::Local) {
            self.catch_up(&hosted).await?;
        }
        let service = self.clone();
        let searched = aside(move || {
            let _turn = turn;
            let hosted: Arc<Hosted> = hosted;
            let reading = hosted.handle.replica().read().map_err(|error| failed(&error))?;
            run(&service, &hosted, &reading)
        });
        searched.await.map_err(|error| Status::internal(error.to_string()))?
    }

    fn all_signed(
        &self,
        hosted: &Hosted,
        uploads: &mut Uploads<'_>,
        found: Vec<FoundRecord>,
    ) -> Result<Vec<wire::JournalRecord>, Status> {
        let told = found.into_iter().map(|found| self.told(hosted, uploads, found));
        told.collect()
    }

    /// A record with its signature and, of an invoice, how far the tax authority has it.
    fn told(
        &self,
        hosted: &Hosted,
        uploads: &mut Uploads<'_>,
        found: FoundRecord,
    ) -> Result<wire::JournalRecord, Status> {
        let upload = uploads.of(&found.record).map_err(|error| failed(&error))?;
        Ok(wire::JournalRecord { upload, ..self.signed(hosted, found)? })
    }

    pub(super) async fn records_of(
        &self,
        request: wire::FindRecordsRequest,
    ) -> Result<wire::FindRecordsResponse, Status> {
        if request.outlet_ids.is_empty() || request.outlet_ids.len() > OUTLETS_MAX {
            return Err(Status::invalid_argument("a search names 1 to 1,000 outlets"));
        }
        let mut outlet_ids = request.outlet_ids.clone();
        outlet_ids.sort_unstable();
        outlet_ids.dedup();
        let kinds: Option<Vec<RecordKind>> =
            request.kinds.iter().map(|kind| RecordKind::parse(kind)).collect();
        let kinds = kinds.ok_or_else(|| Status::invalid_argument("no such kind of record"))?;
        self.search(request.group, request.consistency, move |service, hosted, reading| {
            let query = RecordQuery {
                outlet_ids: &outlet_ids,
                from_leaf: request.from_leaf,
                below_leaf: request.below_leaf,
                descending: request.descending,
                kinds: &kinds,
                from_ms: request.from_ms,
                until_ms: request.until_ms,
            };
            let found = reading.find_records(&query, limits(request.limit));
            let found = found.map_err(|error| failed(&error))?;
            Ok(wire::FindRecordsResponse {
                as_of: Some(as_of(reading.as_of())),
                records: service.all_signed(hosted, &mut Uploads::new(reading), found.records)?,
                next_leaf: found.next,
            })
        })
        .await
    }

    pub(super) async fn numbers_of(
        &self,
        request: wire::FindNumbersRequest,
    ) -> Result<wire::FindNumbersResponse, Status> {
        self.search(request.group, request.consistency, move |service, hosted, reading| {
            let query = NumberQuery {
                outlet_id: &request.outlet_id,
                from: request.from_sequence,
                to: request.to_sequence,
                descending: request.descending,
                below_leaf: request.below_leaf,
            };
            let found = reading.find_numbers(&query, limits(request.limit));
            let found = found.map_err(|error| failed(&error))?;
            Ok(wire::FindNumbersResponse {
                as_of: Some(as_of(reading.as_of())),
                records: service.all_signed(hosted, &mut Uploads::new(reading), found.records)?,
                next_sequence: found.next,
            })
        })
        .await
    }

    pub(super) async fn invoice_of(
        &self,
        request: wire::ReadInvoiceRequest,
    ) -> Result<wire::ReadInvoiceResponse, Status> {
        self.search(request.group, request.consistency, move |service, hosted, reading| {
            service.invoice(hosted, reading, &request.outlet_id, &request.fiscal_number)
        })
        .await
    }

    fn invoice(
        &self,
        hosted: &Hosted,
        reading: &Reading,
        outlet_id: &str,
        number: &str,
    ) -> Result<wire::ReadInvoiceResponse, Status> {
        let found = invoice(reading, outlet_id, number).map_err(|error| failed(&error))?;
        let uploads = &mut Uploads::new(reading);
        let credits = self.all_signed(hosted, uploads, found.credits.0)?;
        let credential = found.record.as_ref().map(|record| self.credential(reading, record));
        Ok(wire::ReadInvoiceResponse {
            as_of: Some(as_of(reading.as_of())),
            record: found.record.map(|record| self.told(hosted, uploads, record)).transpose()?,
            invoice_row: found.row.into(),
            credits,
            payments: found.payments.0,
            credits_cut: found.credits.1,
            payments_cut: found.payments.1,
            credential: credential.transpose()?.flatten().map(|known| known.to_bytes().into()),
        })
    }
}

#[derive(Default)]
struct Invoice {
    record: Option<FoundRecord>,
    row: Vec<u8>,
    credits: (Vec<FoundRecord>, bool),
    payments: (Vec<wire::PaymentState>, bool),
}

fn invoice(reading: &Reading, outlet_id: &str, number: &str) -> Result<Invoice, StoreError> {
    // No identifier is longer, so there is nothing under such a key.
    if outlet_id.len() > u8::MAX.into() || number.len() > u8::MAX.into() {
        return Ok(Invoice::default());
    }
    let (row, position) =
        (reading.invoice_row(outlet_id, number)?, reading.position_of_number(outlet_id, number)?);
    let (Some(row), Some(position)) = (row, position) else { return Ok(Invoice::default()) };
    Ok(Invoice {
        record: at(reading, outlet_id, position)?,
        row,
        credits: credits(reading, outlet_id, number)?,
        payments: payments(reading, outlet_id, number)?,
    })
}

fn at(
    reading: &Reading,
    outlet_id: &str,
    position: u64,
) -> Result<Option<FoundRecord>, StoreError> {
    match reading.leaf_of_position(outlet_id, position)? {
        Some(leaf) => reading.record(leaf),
        None => Ok(None),
    }
}

/// The first credit notes, and whether there are more.
fn credits(
    reading: &Reading,
    outlet_id: &str,
    number: &str,
) -> Result<(Vec<FoundRecord>, bool), StoreError> {
    let leaves = reading.leaves_about(outlet_id, Subject::Credited, number, CREDITS_MAX + 1)?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    for leaf in &leaves {
        let Some(record) = reading.record(*leaf)? else { continue };
        bytes += record.record.len();
        if found.len() == CREDITS_MAX || (bytes > BYTES_MAX && !found.is_empty()) {
            return Ok((found, true));
        }
        found.push(record);
    }
    Ok((found, false))
}

/// The payments that name an invoice, by the first event that does; and whether there may be more.
fn payments(
    reading: &Reading,
    outlet_id: &str,
    number: &str,
) -> Result<(Vec<wire::PaymentState>, bool), StoreError> {
    let leaves = reading.leaves_about(outlet_id, Subject::Paid, number, PAYMENT_EVENTS_MAX + 1)?;
    let mut keys = Vec::new();
    for leaf in leaves.iter().take(PAYMENT_EVENTS_MAX) {
        let Some(found) = reading.record(*leaf)? else { continue };
        let Ok(record) = Record::decode(&found.record) else { continue };
        let text = |name| leading_text(record.payload, name).map(|text| Id::from(&*text));
        if let (Some(provider), Some(reference)) = (text("provider"), text("reference")) {
            let key = (Id::from(outlet_id), provider, reference);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    let mut states = Vec::new();
    for key in keys {
        let Some(payment) = reading.row::<Payment>(&key)? else { continue };
        let Some(last) = at(reading, outlet_id, payment.position)? else { continue };
        let Ok(record) = Record::decode(&last.record) else { continue };
        states.push(wire::PaymentState {
            provider: key.1.to_string(),
            reference: key.2.to_string(),
            status: status(payment.status).into(),
            amount_minor: payment.amount.minor(),
            currency: payment.currency.as_str().to_owned(),
            position: payment.position,
            time_ms: record.timestamp.get(),
            leaf: record.leaf_index,
            entry_hash: record.entry_hash.to_vec().into(),
        });
    }
    states.sort_by_key(|state| state.position);
    Ok((states, leaves.len() > PAYMENT_EVENTS_MAX))
}

fn status(status: PaymentStatus) -> proto::PaymentStatus {
    match status {
        PaymentStatus::Pending => proto::PaymentStatus::Pending,
        PaymentStatus::Confirmed => proto::PaymentStatus::Confirmed,
        PaymentStatus::Failed => proto::PaymentStatus::Failed,
        PaymentStatus::Reversed => proto::PaymentStatus::Reversed,
    }
}
