//! `POST /api/v1/payments`.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::state::{Said, state};
use super::view::{PaymentRecord, Status};
use crate::access::{Caller, Scope};
use crate::http::{Body, Decimal, IdempotencyKey, Problem, Problems};

/// What a provider says of a payment, with or without its invoice.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PaymentNotice)]
pub(super) struct Payment {
    /// The outlet; may be absent where `fiscal_number` tells it.
    #[serde(default)]
    #[schema(example = "outlet-gombe")]
    outlet_id: Option<String>,
    /// The invoice, once it is sealed. Said again with it, a confirmation that came first is linked to it.
    #[serde(default)]
    #[schema(example = "KIN-GOMBE-42")]
    fiscal_number: Option<String>,
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

/// State a payment
///
/// A provider's callback may come before the invoice is sealed, and never blocks it. Recorded once for each
/// provider, reference and status, so a repetition is safe also without an Idempotency-Key.
#[utoipa::path(
    post,
    path = "/api/v1/payments",
    tag = "payments",
    security(("api_key" = ["payments:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "May be left out; with another payment it is a conflict", min_length = 1, max_length = 255, pattern = "^[ -~]+$", example = "mpesa-MP261128.0815.C77-confirmed")),
    request_body(content_type = "application/json", content = Payment),
    responses(
        (status = 201, description = "Recorded now", body = PaymentRecord),
        (status = 200, description = "Recorded before: that record", body = PaymentRecord),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "INVOICE_UNKNOWN", "PAYMENT_TRANSITION", "PAYMENT_MISMATCH", "LIMIT_EXCEEDED", "NO_AUTHORITY", "IDENTITY_MISMATCH"])))
)]
pub(super) async fn record(
    caller: Caller,
    key: Option<IdempotencyKey>,
    Body(said): Body<Payment>,
) -> Result<Response, Problem> {
    caller.may(Scope::PaymentsWrite)?;
    let refused = |code, pointer: &str, detail: &str| {
        Problem::at(StatusCode::UNPROCESSABLE_ENTITY, code, pointer, detail)
    };
    let of_number = |number: &str| {
        caller.outlet_of_number(number).map_err(|problem| problem.about("/fiscal_number"))
    };
    let outlet = match (&said.outlet_id, &said.fiscal_number) {
        (Some(outlet_id), _) => caller.outlet_in_body(outlet_id)?,
        (None, Some(number)) => of_number(number)?,
        (None, None) => {
            let detail = "say which outlet is paid, or which invoice";
            return Err(refused("FIELD_MISSING", "/outlet_id", detail));
        }
    };
    if let Some(number) = &said.fiscal_number
        && of_number(number)?.id() != outlet.id()
    {
        let detail = "the invoice is another outlet's";
        return Err(refused("IDENTITY_MISMATCH", "/fiscal_number", detail));
    }
    let said = Said {
        provider: &said.provider,
        reference: &said.reference,
        status: said.status,
        amount: &said.amount,
        currency: said.currency.as_deref(),
        fiscal_number: said.fiscal_number.as_deref(),
    };
    state(&caller, &outlet, key, said).await
}
