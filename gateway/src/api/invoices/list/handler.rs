//! `GET /api/v1/invoices`.

use super::filters::Asked;
use super::parameters::Query;
use super::summary::InvoiceSummary;
use super::{by_number, by_time};
use crate::access::{Caller, Scope};
use crate::api::proved::prove;
use crate::http::list::Page;
use crate::http::{Problem, Problems};

/// List invoices
///
/// Of every outlet of the caller's, the latest first, without their lines. The list is as of its first page: what is
/// sealed later moves nothing and is in no later page. A page may have fewer items than `limit`, even none, and still a
/// `next_cursor`: go on until it is `null`. A cursor goes with the filters that it was given out for. With `proof=true`
/// each carries its proof under the last checkpoint, which is waited for when an invoice is new.
#[utoipa::path(
    get,
    path = "/api/v1/invoices",
    tag = "invoices",
    security(("api_key" = ["invoices:read"])),
    params(Query),
    responses(
        (status = 200, description = "A page", body = Page<InvoiceSummary>, headers(("As-Of" = String, description = "The position that this is as of"))),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "CHECKPOINT_PENDING"])))
)]
pub(in crate::api::invoices) async fn list(
    caller: Caller,
    asked: Asked,
) -> Result<Page<InvoiceSummary>, Problem> {
    caller.may(Scope::InvoicesRead)?;
    let mut page = match asked.filters.outlet_ids.as_slice() {
        [outlet_id] if asked.sort.is_by_number() => {
            by_number::page(&caller.outlet(outlet_id)?, &asked).await?
        }
        _ => by_time::page(&caller, &asked).await?,
    };
    if asked.proof {
        prove(&caller, &mut page.data).await?;
    }
    Ok(page)
}
