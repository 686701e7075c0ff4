//! `POST /api/v1/invoices/{fiscal_number}/void`.

use axum::response::Response;
use fiscus_ledger::hash::Tagged;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::view::SealedInvoice;
use super::note::{Asked, Lines, PaymentBack, credit};
use super::plan::remainder;
use crate::access::{Caller, Scope};
use crate::http::body::{JsonBytes, parse};
use crate::http::{IdempotencyKey, PathOf, Problem, Problems};

/// Why an invoice is taken back, and how the money goes back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api::invoices) struct VoidRequest {
    /// Stands on the credit note.
    #[schema(example = "Le client a rendu la marchandise", min_length = 1, max_length = 256)]
    reason: String,
    /// The terminal that credits; the original's when absent.
    #[serde(default)]
    #[schema(example = "till-1", min_length = 1, max_length = 64)]
    pos_terminal_id: Option<String>,
    /// Who credits.
    #[serde(default)]
    #[schema(example = "supervisor-2", max_length = 64)]
    cashier_id: Option<String>,
    /// How the money goes back; as it came when absent.
    #[serde(default)]
    payment: Option<PaymentBack>,
}

/// Void an invoice
///
/// Nothing is ever deleted: this seals a credit note of everything that is left of the invoice, once for each
/// Idempotency-Key.
#[utoipa::path(
    post,
    path = "/api/v1/invoices/{fiscal_number}/void",
    tag = "invoices",
    security(("api_key" = ["invoices:credit"])),
    params(
        ("fiscal_number" = String, Path, example = "KIN-GOMBE-1"),
        ("Idempotency-Key" = String, Header, description = "A new one for each void; the same one when it is repeated", min_length = 1, max_length = 255, pattern = "^[ -~]+$", example = "void-KIN-GOMBE-1"),
    ),
    request_body(content_type = "application/json", content = VoidRequest),
    responses(
        (status = 201, description = "The credit note, sealed now", body = SealedInvoice, headers(("Location" = String, description = "Where it is read"))),
        (status = 200, description = "The credit note, sealed before under this key", body = SealedInvoice, headers(("Location" = String, description = "Where it is read"))),
        Problems,
    ),
    extensions(("x-codes" = json!(["INVOICE_UNKNOWN", "CREDIT_EXCEEDS_ORIGINAL", "ORIGINAL_MISMATCH", "LIMIT_EXCEEDED", "PROVIDER_NOT_ALLOWED", "REFERENCE_MISSING", "TERMINAL_BLOCKED", "OUTLET_INACTIVE", "OUTLET_HELD", "SIGNING_MODE_DEF", "NO_AUTHORITY", "NO_MANIFEST"])))
)]
pub(in crate::api::invoices) async fn void(
    caller: Caller,
    key: IdempotencyKey,
    PathOf(fiscal_number): PathOf<String>,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    caller.may(Scope::InvoicesCredit)?;
    let void: VoidRequest = parse(&body)?;
    let asked = Asked {
        number: &fiscal_number,
        reason: &void.reason,
        terminal_id: void.pos_terminal_id.as_deref(),
        cashier_id: void.cashier_id.as_deref(),
        payment: void.payment.as_ref(),
        fingerprint: chosen("fiscus/void/v1", &fiscal_number, &body)?,
    };
    let plan = |original: &super::note::Original<'_>, _: &_| {
        let (row, number) = (&original.row, original.number);
        let lines = remainder(&original.invoice, row, original.has_credits, number);
        Ok(Lines { lines, price_mode: original.invoice.price_mode() })
    };
    credit(&caller, &key, &asked, plan).await?.response()
}

/// A hash of what the client chose: the same for the same JSON, however it is spelled.
pub(super) fn chosen(tag: &str, fiscal_number: &str, body: &[u8]) -> Result<[u8; 32], Problem> {
    let body: serde_json::Value = parse(body)?;
    Ok(Tagged::new(tag).str(fiscal_number).str(&body.to_string()).finish())
}
