//! `POST /api/v1/tax/calculate`.

use axum::Json;
use fiscus_ledger::hash::hex;
use fiscus_ledger::invoice::{Filled, parse_lenient};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::access::{Caller, Scope};
use crate::api::invoices::check_merchant;
use crate::api::invoices::request::InvoiceRequest;
use crate::api::invoices::view::{TaxGroupAmounts, Totals};
use crate::http::body::JsonBytes;
use crate::http::{Problem, Problems};

/// What an invoice would come to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Calculation {
    /// One for each group on the invoice.
    tax_groups: Vec<TaxGroupAmounts>,
    totals: Totals,
    /// Base and tax of each line, in their order.
    lines: Vec<LineAmounts>,
    /// The tax table that it is computed with.
    #[schema(example = "2026-02-01")]
    tax_manifest_version: String,
    /// What was filled in because the request leaves it out.
    #[schema(example = json!(["tax_groups", "totals"]))]
    filled_in: Vec<&'static str>,
    /// The document that would be sealed.
    #[schema(value_type = Object, example = json!({ "merchant_nif": "A1234567B", "outlet_id": "outlet-gombe", "invoice_type": "sale" }))]
    invoice: Box<RawValue>,
    /// BLAKE3 of it.
    payload_hash: String,
}

/// A line's amounts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LineAmounts {
    /// TG01 to TG14.
    #[schema(example = "TG02")]
    tax_group: String,
    /// What the tax is on.
    #[schema(example = "90000.00")]
    base_amount: String,
    /// The tax.
    #[schema(example = "14400.00")]
    tax_amount: String,
}

/// Calculate an invoice
///
/// A trial: every check that needs no journal, and every figure, but nothing is sealed and no number is taken.
#[utoipa::path(
    post,
    path = "/api/v1/tax/calculate",
    tag = "tax",
    security(("api_key" = ["invoices:seal"]), ("api_key" = ["invoices:read"])),
    request_body(content_type = "application/json", content = InvoiceRequest, description = "The invoice, as it would be sealed"),
    responses((status = 200, description = "What it comes to", body = Calculation), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "IDENTITY_MISMATCH", "TOTALS_MISMATCH", "TAX_GROUPS_MISMATCH", "MANIFEST_STALE", "LIMIT_EXCEEDED", "ITEMS_EMPTY", "REFERENCE_MISSING", "GROUP_NOT_ALLOWED", "EXPORT_GROUP", "EXEMPT_MIXED", "EMBASSY_NOT_EXEMPT", "FX_REQUIRED"])))
)]
pub(super) async fn calculate(
    caller: Caller,
    JsonBytes(body): JsonBytes,
) -> Result<Json<Calculation>, Problem> {
    #[derive(Deserialize)]
    struct Document {
        tax_groups: Vec<TaxGroupAmounts>,
        totals: Totals,
    }
    caller.may(Scope::InvoicesSeal).or_else(|_| caller.may(Scope::InvoicesRead))?;
    let manifest = caller.manifest()?;
    let parsed =
        parse_lenient(&body, &manifest, caller.now()).map_err(|found| Problem::from(&found))?;
    let invoice = &parsed.invoice;
    let outlet = caller.outlet_in_body(invoice.outlet_id())?;
    check_merchant(&outlet, invoice)?;
    let text = invoice.canonical_text().to_owned();
    let unreadable = |error| Problem::internal(&format!("a canonical invoice: {error}"));
    let document: Document = serde_json::from_str(&text).map_err(unreadable)?;
    let lines = invoice.items().iter().map(|item| LineAmounts {
        tax_group: item.tax_group.as_str().to_owned(),
        base_amount: item.base.to_string(),
        tax_amount: item.tax.to_string(),
    });
    Ok(Json(Calculation {
        tax_groups: document.tax_groups,
        totals: document.totals,
        lines: lines.collect(),
        tax_manifest_version: manifest.version().to_owned(),
        filled_in: filled_in(parsed.filled),
        payload_hash: hex(&invoice.payload_hash()),
        invoice: RawValue::from_string(text).map_err(unreadable)?,
    }))
}

fn filled_in(filled: Filled) -> Vec<&'static str> {
    let all = [
        (filled.timestamp, "timestamp"),
        (filled.tax_groups, "tax_groups"),
        (filled.totals, "totals"),
        (filled.fx_tax, "fx.tax_in_reporting_currency"),
        (filled.tax_manifest_version, "tax_manifest_version"),
    ];
    all.into_iter().filter_map(|(filled, name)| filled.then_some(name)).collect()
}
