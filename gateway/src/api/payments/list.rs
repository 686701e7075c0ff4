//! `GET /api/v1/invoices/{fiscal_number}/payments`.

use super::view::PaymentState;
use crate::access::{Caller, Scope, invoice_unknown};
use crate::api::invoices::Wanted;
use crate::http::list::{AsOf, Page};
use crate::http::{Parameters, PathOf, Problem, Problems};

/// List the payments of an invoice
///
/// The latest that is known of each.
#[utoipa::path(
    get,
    path = "/api/v1/invoices/{fiscal_number}/payments",
    tag = "payments",
    security(("api_key" = ["invoices:read"])),
    params(("fiscal_number" = String, Path, example = "KIN-GOMBE-1"), Wanted),
    responses(
        (status = 200, description = "Its payments", body = Page<PaymentState>, headers(("As-Of" = String, description = "The position that this is as of"))),
        Problems,
    ),
    extensions(("x-codes" = json!(["INVOICE_UNKNOWN"])))
)]
pub(super) async fn list(
    caller: Caller,
    PathOf(fiscal_number): PathOf<String>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Page<PaymentState>, Problem> {
    caller.may(Scope::InvoicesRead)?;
    let outlet = caller.outlet_of_number(&fiscal_number)?;
    let found = outlet.invoice(&fiscal_number, wanted.consistency.into()).await?;
    if found.record.is_none() {
        return Err(invoice_unknown(&fiscal_number));
    }
    Ok(Page {
        data: found.payments.iter().map(PaymentState::of).collect(),
        next_cursor: None,
        as_of: found.as_of.iter().map(AsOf::from).collect(),
    })
}
