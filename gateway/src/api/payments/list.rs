//! `GET /api/v1/invoices/{fiscal_number}/payments`.

use super::view::ProvedPayment;
use crate::access::{Caller, Scope, invoice_unknown};
use crate::api::invoices::Wanted;
use crate::api::proved::prove;
use crate::http::list::{AsOf, Page};
use crate::http::{Parameters, PathOf, Problem, Problems};

/// List the payments of an invoice
///
/// The latest that is known of each. With `proof=true` each carries the proof of the record that says so.
#[utoipa::path(
    get,
    path = "/api/v1/invoices/{fiscal_number}/payments",
    tag = "payments",
    security(("api_key" = ["invoices:read"])),
    params(("fiscal_number" = String, Path, example = "KIN-GOMBE-1"), Wanted),
    responses(
        (status = 200, description = "Its payments", body = Page<ProvedPayment>, headers(("As-Of" = String, description = "The position that this is as of"))),
        Problems,
    ),
    extensions(("x-codes" = json!(["INVOICE_UNKNOWN", "CHECKPOINT_PENDING"])))
)]
pub(super) async fn list(
    caller: Caller,
    PathOf(fiscal_number): PathOf<String>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Page<ProvedPayment>, Problem> {
    caller.may(Scope::InvoicesRead)?;
    let outlet = caller.outlet_of_number(&fiscal_number)?;
    let found = outlet.invoice(&fiscal_number, wanted.consistency.into()).await?;
    if found.record.is_none() {
        return Err(invoice_unknown(&fiscal_number));
    }
    let group = outlet.entry().group();
    let payments = found.payments.iter().map(|state| ProvedPayment::of(group, state));
    let mut data = payments.collect::<Result<Vec<_>, _>>()?;
    if wanted.proof {
        prove(&caller, &mut data).await?;
    }
    Ok(Page { data, next_cursor: None, as_of: found.as_of.iter().map(AsOf::from).collect() })
}
