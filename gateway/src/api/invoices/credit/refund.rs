//! `POST /api/v1/invoices/{fiscal_number}/refund`.

use axum::http::StatusCode;
use axum::response::Response;
use fiscus_ledger::invoice::{GroupCode, PriceMode};
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::view::SealedInvoice;
use super::note::{Asked, Lines, Original, PaymentBack, credit};
use super::plan::{Line, of_group, part_of};
use super::void::chosen;
use crate::access::{Caller, Scope};
use crate::http::body::{JsonBytes, parse};
use crate::http::{Decimal, IdempotencyKey, PathOf, Problem, Problems};

/// What is taken back of an invoice: some of its lines, or amounts of its tax groups.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api::invoices) struct RefundRequest {
    /// Stands on the credit note.
    #[schema(example = "Un sac déchiré", min_length = 1, max_length = 256)]
    reason: String,
    /// Lines of the original, whole or in part. Give these or `amounts`.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 2000)]
    lines: Option<Vec<LineBack>>,
    /// Amounts by tax group, with tax. Give these or `lines`.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 14)]
    amounts: Option<Vec<AmountBack>>,
    /// How the money goes back; as it came when absent.
    #[serde(default)]
    payment: Option<PaymentBack>,
    /// The terminal that credits; the original's when absent.
    #[serde(default)]
    #[schema(example = "till-1", min_length = 1, max_length = 64)]
    pos_terminal_id: Option<String>,
    /// Who credits.
    #[serde(default)]
    #[schema(example = "supervisor-2", max_length = 64)]
    cashier_id: Option<String>,
}

/// A line that is taken back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api::invoices) struct LineBack {
    /// Its place on the original, from 1.
    #[schema(example = 1, minimum = 1, maximum = 2000)]
    line: usize,
    /// How much of it; all when absent.
    #[serde(default)]
    quantity: Option<Decimal>,
}

/// An amount that is taken back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api::invoices) struct AmountBack {
    /// The tax group.
    #[schema(example = "TG02", pattern = "^TG(0[1-9]|1[0-4])$")]
    tax_group: String,
    /// With tax.
    amount: Decimal,
}

/// Refund a part of an invoice
///
/// Seals a credit note of the lines or amounts given, once for each Idempotency-Key. Prices, groups and references
/// are the original's; taxes are computed by the table in force and never come to more than what is left.
#[utoipa::path(
    post,
    path = "/api/v1/invoices/{fiscal_number}/refund",
    tag = "invoices",
    security(("api_key" = ["invoices:credit"])),
    params(
        ("fiscal_number" = String, Path, example = "KIN-GOMBE-1"),
        ("Idempotency-Key" = String, Header, description = "A new one for each refund; the same one when it is repeated", min_length = 1, max_length = 255, pattern = "^[ -~]+$", example = "refund-KIN-GOMBE-1-a"),
    ),
    request_body(content_type = "application/json", content = RefundRequest, example = json!({
        "reason": "Un sac déchiré",
        "lines": [{ "line": 1, "quantity": "1" }],
        "payment": { "method": "mobile_money", "provider": "mpesa", "reference": "MP261128.0917.R12" }
    })),
    responses(
        (status = 201, description = "The credit note, sealed now", body = SealedInvoice, headers(("Location" = String, description = "Where it is read"))),
        (status = 200, description = "The credit note, sealed before under this key", body = SealedInvoice, headers(("Location" = String, description = "Where it is read"))),
        Problems,
    ),
    extensions(("x-codes" = json!(["INVOICE_UNKNOWN", "CREDIT_EXCEEDS_ORIGINAL", "ORIGINAL_MISMATCH", "LIMIT_EXCEEDED", "PROVIDER_NOT_ALLOWED", "TAX_GROUP_UNKNOWN", "REFERENCE_MISSING", "TERMINAL_BLOCKED", "OUTLET_INACTIVE", "OUTLET_HELD", "SIGNING_MODE_DEF", "NO_AUTHORITY", "NO_MANIFEST"])))
)]
pub(in crate::api::invoices) async fn refund(
    caller: Caller,
    key: IdempotencyKey,
    PathOf(fiscal_number): PathOf<String>,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    caller.may(Scope::InvoicesCredit)?;
    let refund: RefundRequest = parse(&body)?;
    let asked = Asked {
        number: &fiscal_number,
        reason: &refund.reason,
        terminal_id: refund.pos_terminal_id.as_deref(),
        cashier_id: refund.cashier_id.as_deref(),
        payment: refund.payment.as_ref(),
        fingerprint: chosen("fiscus/refund/v1", &fiscal_number, &body)?,
    };
    let plan = |original: &Original<'_>, _: &_| match (&refund.lines, &refund.amounts) {
        (Some(lines), None) if !lines.is_empty() => parts(original, lines),
        (None, Some(amounts)) if !amounts.is_empty() => by_amount(original, amounts),
        _ => {
            let detail = "say what is taken back: lines or amounts, one of the two and not empty";
            Err(refused("FIELD_INVALID", "/lines".to_owned(), detail))
        }
    };
    credit(&caller, &key, &asked, plan).await?.response()
}

fn refused(code: &'static str, pointer: String, detail: &str) -> Problem {
    Problem::at(StatusCode::UNPROCESSABLE_ENTITY, code, pointer, detail)
}

fn parts(original: &Original<'_>, lines: &[LineBack]) -> Result<Lines, Problem> {
    let items = original.invoice.items();
    let mut parts: Vec<Line> = Vec::with_capacity(lines.len());
    for (at, back) in lines.iter().enumerate() {
        let item =
            back.line.checked_sub(1).and_then(|place| items.get(place)).ok_or_else(|| {
                let detail = format!("the original has lines 1 to {}", items.len());
                refused("FIELD_INVALID", format!("/lines/{at}/line"), &detail)
            })?;
        if lines[..at].iter().any(|before| before.line == back.line) {
            let detail = "the line stands here twice";
            return Err(refused("FIELD_INVALID", format!("/lines/{at}/line"), detail));
        }
        let pointer = format!("/lines/{at}/quantity");
        let quantity = match &back.quantity {
            Some(quantity) => quantity.quantity(&pointer)?,
            None => item.quantity,
        };
        parts.push(part_of(item, quantity, &pointer)?);
    }
    Ok(Lines { lines: parts, price_mode: original.invoice.price_mode() })
}

/// Amounts with tax, so the lines have prices with tax.
fn by_amount(original: &Original<'_>, amounts: &[AmountBack]) -> Result<Lines, Problem> {
    let mut lines = Vec::with_capacity(amounts.len());
    for (at, back) in amounts.iter().enumerate() {
        let pointer = format!("/amounts/{at}/tax_group");
        let group = GroupCode::parse(&back.tax_group).ok_or_else(|| {
            let detail = "is not a tax group; they are TG01 to TG14";
            refused("TAX_GROUP_UNKNOWN", pointer.clone(), detail)
        })?;
        if amounts[..at].iter().any(|before| before.tax_group == back.tax_group) {
            return Err(refused("FIELD_INVALID", pointer, "the group stands here twice"));
        }
        let amount = back.amount.amount(&format!("/amounts/{at}/amount"))?;
        if amount.minor() == 0 {
            let detail = "nothing is taken back";
            return Err(refused("FIELD_INVALID", format!("/amounts/{at}/amount"), detail));
        }
        let description = format!("Remboursement sur {}", original.number);
        let line = of_group(&original.invoice, group, amount, &description).ok_or_else(|| {
            let detail = format!("the original has nothing in {}", back.tax_group);
            refused("CREDIT_EXCEEDS_ORIGINAL", pointer, &detail)
        })?;
        lines.push(line);
    }
    Ok(Lines { lines, price_mode: PriceMode::Inclusive })
}
