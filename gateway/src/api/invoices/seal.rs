//! `POST /api/v1/invoices`: the path of one receipt begins here.

use axum::response::Response;

use super::request::InvoiceRequest;
use super::sealing::seal_body;
use super::view::SealedInvoice;
use crate::access::{Caller, Scope};
use crate::http::body::JsonBytes;
use crate::http::{IdempotencyKey, Problem, Problems};

/// Seal an invoice
///
/// Gives it its five security elements and appends it to the outlet's journal, once for each Idempotency-Key.
/// Without `tax_groups` and `totals` they are computed; with them, they must be right to the cent. A request that
/// was answered with `OUTCOME_UNKNOWN`, or not at all, is repeated with the same key. A credit note takes money back and
/// needs the scope `invoices:credit` as well.
#[utoipa::path(
    post,
    path = "/api/v1/invoices",
    tag = "invoices",
    security(("api_key" = ["invoices:seal"])),
    params(("Idempotency-Key" = String, Header, description = "A new one for each sale; the same one when it is repeated", min_length = 1, max_length = 255, pattern = "^[ -~]+$", example = "7f9c2ba4-e88f-41d3-9c2b-2f0f6a1c5a01")),
    request_body(content_type = "application/json", content = InvoiceRequest, description = "The invoice"),
    responses(
        (status = 201, description = "Sealed now", body = SealedInvoice, headers(("Location" = String, description = "Where it is read"))),
        (status = 200, description = "Sealed before, under this key: the same seal", body = SealedInvoice, headers(("Location" = String, description = "Where it is read"))),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "IDENTITY_MISMATCH", "TOTALS_MISMATCH", "TAX_GROUPS_MISMATCH", "MANIFEST_STALE", "LIMIT_EXCEEDED", "ITEMS_EMPTY", "REFERENCE_MISSING", "GROUP_NOT_ALLOWED", "EXPORT_GROUP", "EXEMPT_MIXED", "EMBASSY_NOT_EXEMPT", "FX_REQUIRED", "ORIGINAL_NOT_FOUND", "ORIGINAL_MISMATCH", "CREDIT_EXCEEDS_ORIGINAL", "TERMINAL_BLOCKED", "OUTLET_INACTIVE", "OUTLET_HELD", "SIGNING_MODE_DEF", "NO_AUTHORITY"])))
)]
pub(super) async fn seal(
    caller: Caller,
    key: IdempotencyKey,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    caller.may(Scope::InvoicesSeal)?;
    seal_body(&caller, |id| caller.outlet(id), &key, &body).await?.response()
}
