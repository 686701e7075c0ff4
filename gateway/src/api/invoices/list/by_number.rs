//! Invoices of one outlet in the order of their numbers.

use fiscus_ledger::record::Record;
use fiscus_proto::ledger::FindNumbersRequest;
use serde::{Deserialize, Serialize};

use super::filters::Asked;
use super::summary::{Document, InvoiceSummary};
use crate::access::Outlet;
use crate::http::Problem;
use crate::http::list::{AsOf, Page, cursor_invalid, read_cursor, write_cursor};

/// Calls to the cluster that one page makes at most.
const CALLS_MAX: usize = 4;
/// Records that one call brings at most when some of them will be passed over.
const LOOKED_AT: usize = 200;

/// How far the list was read.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    /// The filters' fingerprint.
    f: String,
    /// The next number.
    n: u64,
    /// Only records below this leaf: what there was when the list began.
    p: u64,
}

pub(super) async fn page(outlet: &Outlet, asked: &Asked) -> Result<Page<InvoiceSummary>, Problem> {
    let descending = asked.sort.is_descending();
    let cursor = asked.cursor.as_deref().map(read_cursor::<Cursor>).transpose()?;
    if cursor.as_ref().is_some_and(|cursor| cursor.f != asked.fingerprint) {
        return Err(cursor_invalid());
    }
    let (mut next, mut pin) = cursor.map_or((Some(0), 0), |cursor| (Some(cursor.n), cursor.p));
    let mut data = Vec::new();
    let mut as_of = None;
    let every =
        asked.filters.look_inside() || asked.filters.from_ms > 0 || asked.filters.until_ms > 0;
    for _ in 0..CALLS_MAX {
        let Some(from) = next else { break };
        let room = asked.limit - data.len();
        let limit = if every { room.max(LOOKED_AT) } else { room };
        let request = FindNumbersRequest {
            from_sequence: if descending { 0 } else { from },
            to_sequence: if descending { from } else { 0 },
            descending,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            below_leaf: pin,
            consistency: asked.consistency.into(),
            ..FindNumbersRequest::default()
        };
        let found = outlet.find_numbers(request).await?;
        if let Some(moment) = found.as_of.as_ref().filter(|_| pin == 0) {
            pin = moment.leaves;
        }
        as_of = found.as_of.or(as_of);
        next = found.next_sequence;
        for sealed in &found.records {
            let record = Record::decode(&sealed.record)
                .map_err(|error| Problem::internal(&format!("a record: {error}")))?;
            let number = fiscus_ledger::seal::split_number(record.fiscal_number);
            if data.len() == asked.limit {
                next = number.map(|(_, sequence)| sequence);
                break;
            }
            if !asked.filters.match_record(&record)
                || !asked.filters.match_status(outlet.dgi_status(sealed, &record))
            {
                continue;
            }
            let document = Document::of(&record)?;
            if asked.filters.match_document(&document) {
                data.push(InvoiceSummary::of(outlet, sealed, &record, document)?);
            }
        }
        if data.len() == asked.limit {
            break;
        }
    }
    let next_cursor =
        next.map(|n| write_cursor(&Cursor { f: asked.fingerprint.clone(), n, p: pin }));
    Ok(Page { data, next_cursor, as_of: as_of.iter().map(AsOf::from).collect() })
}
