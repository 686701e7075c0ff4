//! `POST /api/v1/invoices/{fiscal_number}/payments`.

use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::state::{Said, state};
use super::view::{PaymentRecord, Status};
use crate::access::{Caller, Scope};
use crate::http::{Body, Decimal, IdempotencyKey, PathOf, Problem, Problems};

/// What a provider says of a payment of this invoice.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PaymentOfInvoice {
    /// Who runs the wallet, or the method.
    #[schema(example = "mpesa", min_length = 1, max_length = 64)]
    provider: String,
    /// The provider's own reference: with the provider it names the payment.
    #[schema(example = "MP261128.0815.C77", min_length = 1, max_length = 64)]
    reference: String,
    status: Status,
    amount: Decimal,
    /// ISO 4217; CDF when absent.
    #[serde(default)]
    #[schema(example = "CDF", pattern = "^[A-Z]{3}$")]
    currency: Option<String>,
}

/// State a payment of an invoice
///
/// Recorded once for each provider, reference and status, so a repetition is safe also without an Idempotency-Key.
#[utoipa::path(
    post,
    path = "/api/v1/invoices/{fiscal_number}/payments",
    tag = "payments",
    security(("api_key" = ["payments:write"])),
    params(
        ("fiscal_number" = String, Path, example = "KIN-GOMBE-1"),
        ("Idempotency-Key" = Option<String>, Header, description = "May be left out; with another payment it is a conflict", min_length = 1, max_length = 255, pattern = "^[ -~]+$", example = "mpesa-MP261128.0815.C77-confirmed"),
    ),
    request_body(content_type = "application/json", content = PaymentOfInvoice),
    responses(
        (status = 201, description = "Recorded now", body = PaymentRecord),
        (status = 200, description = "Recorded before: that record", body = PaymentRecord),
        Problems,
    ),
    extensions(("x-codes" = json!(["INVOICE_UNKNOWN", "PAYMENT_TRANSITION", "PAYMENT_MISMATCH", "LIMIT_EXCEEDED", "NO_AUTHORITY"])))
)]
pub(super) async fn record_of_invoice(
    caller: Caller,
    PathOf(fiscal_number): PathOf<String>,
    key: Option<IdempotencyKey>,
    Body(said): Body<PaymentOfInvoice>,
) -> Result<Response, Problem> {
    caller.may(Scope::PaymentsWrite)?;
    let outlet = caller.outlet_of_number(&fiscal_number)?;
    let said = Said {
        provider: &said.provider,
        reference: &said.reference,
        status: said.status,
        amount: &said.amount,
        currency: said.currency.as_deref(),
        fiscal_number: Some(&fiscal_number),
    };
    state(&caller, &outlet, key, said).await
}
