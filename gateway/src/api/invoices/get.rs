//! `GET /api/v1/invoices/{fiscal_number}`.

use axum::Json;
use axum::extract::Path;
use serde::Deserialize;
use utoipa::IntoParams;

use super::view::SealedInvoice;
use crate::access::{Caller, Scope};
use crate::http::parameters::Consistency;
use crate::http::{Parameters, Problem, Problems};

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
    security(("api_key" = ["invoices:read"])),
    params(("fiscal_number" = String, Path, example = "KIN-GOMBE-1"), Wanted),
    responses(
        (status = 200, description = "The invoice", body = SealedInvoice),
        Problems,
    ),
    extensions(("x-codes" = json!(["INVOICE_UNKNOWN"])))
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
