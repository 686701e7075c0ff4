//! `GET /api/v1/invoices/{fiscal_number}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::full::FullInvoice;
use crate::access::{Caller, Scope, invoice_unknown};
use crate::http::parameters::Consistency;
use crate::http::{Parameters, PathOf, Problem, Problems};

/// How fresh the answer must be, and whether it is to be proved.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// `linearizable` unless asked otherwise.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
    /// Whether the answer carries its proofs of inclusion.
    #[serde(default)]
    pub(crate) proof: bool,
}

/// Read a sealed invoice
///
/// The seal as it was answered, the canonical document, and what came after it: payments and credit notes. With
/// `proof=true` it carries its proof under the last checkpoint, which is waited for when the invoice is new.
#[utoipa::path(
    get,
    path = "/api/v1/invoices/{fiscal_number}",
    tag = "invoices",
    security(("api_key" = ["invoices:read"])),
    params(("fiscal_number" = String, Path, example = "KIN-GOMBE-1"), Wanted),
    responses(
        (status = 200, description = "The invoice", body = FullInvoice, headers(("As-Of" = String, description = "The position that this is as of"))),
        Problems,
    ),
    extensions(("x-codes" = json!(["INVOICE_UNKNOWN", "CHECKPOINT_PENDING"])))
)]
pub(super) async fn get(
    caller: Caller,
    PathOf(fiscal_number): PathOf<String>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, Problem> {
    caller.may(Scope::InvoicesRead)?;
    let outlet = caller.outlet_of_number(&fiscal_number)?;
    let found = outlet.invoice(&fiscal_number, wanted.consistency.into()).await?;
    let record = found.record.as_ref().ok_or_else(|| invoice_unknown(&fiscal_number))?;
    let mut full = FullInvoice::of(&outlet, record, &found)?;
    if wanted.proof {
        full.proof = caller.proofs_of(record.group, vec![record.leaf]).await?.pop();
    }
    Ok(([full.as_of.header()], Json(full)).into_response())
}
