//! `GET /api/v1/invoices/{fiscal_number}`.

use axum::Json;
use axum::extract::Path;
use serde::Deserialize;
use utoipa::IntoParams;

use super::view::SealedInvoice;
use crate::access::{Caller, Scope};
use crate::http::parameters::Consistency;
use crate::http::problem::ProblemBody;
use crate::http::{Parameters, Problem};

/// How fresh the answer must be.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// `linearizable` unless asked otherwise.
    #[serde(default)]
    #[param(inline)]
    consistency: Consistency,
}

/// Read a sealed invoice.
#[utoipa::path(
    get,
    path = "/api/v1/invoices/{fiscal_number}",
    tag = "invoices",
    params(("fiscal_number" = String, Path, example = "KIN-GOMBE-1"), Wanted),
    responses(
        (status = 200, description = "The invoice", body = SealedInvoice),
        (status = "4XX", description = "Not there, or not for this key", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", description = "The ledger cannot be reached now", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    caller: Caller,
    Path(fiscal_number): Path<String>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Json<SealedInvoice>, Problem> {
    caller.may(Scope::InvoicesRead)?;
    let outlet = caller.outlet_of_number(&fiscal_number)?;
    let found = outlet.invoice(&fiscal_number, wanted.consistency.into()).await?;
    let record = found.record.ok_or_else(|| {
        Problem::not_found("INVOICE_UNKNOWN", format!("there is no invoice {fiscal_number:?}"))
    })?;
    SealedInvoice::of(&outlet, &record).map(Json)
}
