//! All outlets of a group as a stream of their rows.
//!
//! Invariant: a page is read at one moment, so no row is torn; different pages may be of different
//! moments, and an outlet that is registered meanwhile may be in or not.

use std::sync::Weak;

use fiscus_ledger::state::table::Row;
use fiscus_proto::ledger as wire;
use futures_util::{Stream, StreamExt};
use tonic::Status;

use super::ledger::failed;
use super::still_open;
use crate::groups::Hosted;

/// Outlets read at once.
const PAGE: usize = 200;

/// Every outlet behind `after`, in the order of their stored keys.
pub(super) fn rows(
    hosted: Weak<Hosted>,
    after: Option<String>,
) -> impl Stream<Item = Result<wire::OutletRow, Status>> + Send {
    let pages = futures_util::stream::unfold(Some(after), move |after| {
        let hosted = hosted.clone();
        async move {
            let after = after?;
            let page = still_open(&hosted).and_then(|hosted| page(&hosted, after.as_deref()));
            match page {
                Err(status) => Some((vec![Err(status)], None)),
                Ok(page) => {
                    let last = page.last()?.outlet_id.clone();
                    Some((page.into_iter().map(Ok).collect(), Some(Some(last))))
                }
            }
        }
    });
    pages.flat_map(futures_util::stream::iter)
}

fn page(hosted: &Hosted, after: Option<&str>) -> Result<Vec<wire::OutletRow>, Status> {
    let reading = hosted.handle.replica().read().map_err(|error| failed(&error))?;
    let outlets = reading.outlets(after, PAGE).map_err(|error| failed(&error))?;
    let rows = outlets.iter().map(|outlet| wire::OutletRow {
        outlet_id: outlet.fact.outlet_id.to_string(),
        row: outlet.stored_row().into(),
    });
    Ok(rows.collect())
}
