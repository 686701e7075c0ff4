//! Making one credit note, once.

use std::sync::Arc;

use axum::http::StatusCode;
use fiscus_ledger::invoice::{
    CanonicalInvoice, InvoiceType, Parsed, PriceMode, parse_lenient, parse_strict,
};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::money::Amount;
use fiscus_ledger::record::Record;
use fiscus_ledger::state::rows::{Operation, SealedInvoice as CreditRow};
use fiscus_proto::ledger::{Consistency, ReadInvoiceResponse};
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::full::{credit_row, decode};
use super::super::request::{PaymentMethodRequest, ProviderRequest};
use super::super::sealing::{Sealed, key_taken, submit};
use super::super::view::invoice_bytes;
use super::document::{Head, credit_type, document, items, payment_stated, payments_back};
use super::fit::fit;
use super::plan::{Line, left};
use crate::access::{Caller, Outlet, invoice_unknown};
use crate::http::{IdempotencyKey, Problem};

/// Another credit note may come between the look and the seal; after so many looks the ledger's word stands.
const LOOKS_MAX: usize = 4;

/// How the money goes back.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaymentBack {
    /// How.
    #[schema(value_type = PaymentMethodRequest)]
    pub(super) method: String,
    /// Who runs the wallet; only with `mobile_money`.
    #[serde(default)]
    #[schema(value_type = Option<ProviderRequest>)]
    pub(super) provider: Option<String>,
    /// The payment's reference.
    #[serde(default)]
    #[schema(example = "MP261128.0917.R12", max_length = 64)]
    pub(super) reference: String,
}

/// What is asked for, beside the lines.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) number: &'a str,
    pub(super) reason: &'a str,
    pub(super) terminal_id: Option<&'a str>,
    pub(super) cashier_id: Option<&'a str>,
    pub(super) payment: Option<&'a PaymentBack>,
    /// What the client chose.
    pub(super) fingerprint: [u8; 32],
}

/// An invoice that is to be credited.
pub(super) struct Original<'r> {
    pub(super) invoice: CanonicalInvoice<'r>,
    pub(super) row: CreditRow,
    pub(super) has_credits: bool,
    pub(super) number: &'r str,
    kind: InvoiceType,
}

/// The lines, and whether their prices include tax.
pub(super) struct Lines {
    pub(super) lines: Vec<Line>,
    pub(super) price_mode: PriceMode,
}

/// Seals the credit note whose lines `plan` makes of the original. A plan that takes what is left looks again when
/// another credit note came first.
pub(super) async fn credit(
    caller: &Caller,
    key: &IdempotencyKey,
    asked: &Asked<'_>,
    plan: impl Fn(&Original<'_>, &Manifest) -> Result<Lines, Problem>,
) -> Result<Sealed, Problem> {
    if asked.reason.trim().is_empty() {
        let detail = "say why; the reason stands on the credit note";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(Problem::at(status, "FIELD_INVALID", "/reason", detail));
    }
    let outlet = caller.outlet_of_number(asked.number)?;
    let mut manifest = caller.manifest()?;
    let mut looks = 0;
    loop {
        looks += 1;
        if let Some(before) = credited_before(&outlet, key, asked).await? {
            return Ok(before);
        }
        let refused = match attempt(caller, &outlet, key, asked, &manifest, &plan).await? {
            Ok(sealed) => return Ok(sealed),
            Err(refused) => refused,
        };
        match &*refused.code {
            "MANIFEST_STALE" if looks < LOOKS_MAX => manifest = outlet.manifest_in_force().await?,
            // Another credit note may have come in between, and it may be this one, sent twice.
            "CREDIT_EXCEEDS_ORIGINAL" if looks == 1 => {}
            _ => return Err(refused),
        }
    }
}

/// What this key has made before.
async fn credited_before(
    outlet: &Outlet,
    key: &IdempotencyKey,
    asked: &Asked<'_>,
) -> Result<Option<Sealed>, Problem> {
    let found = outlet.submission(Operation::Seal, &key.submission_key()).await?;
    let Some(sealed) = found else { return Ok(None) };
    let mark = decode(&sealed)?.submission;
    if mark.is_none_or(|mark| mark.fingerprint != asked.fingerprint) {
        return Err(key_taken());
    }
    Ok(Some(Sealed { outlet: outlet.clone(), record: sealed, new: false }))
}

/// One look at the original and one submission.
async fn attempt(
    caller: &Caller,
    outlet: &Outlet,
    key: &IdempotencyKey,
    asked: &Asked<'_>,
    manifest: &Arc<Manifest>,
    plan: &impl Fn(&Original<'_>, &Manifest) -> Result<Lines, Problem>,
) -> Result<Result<Sealed, Problem>, Problem> {
    let found = outlet.invoice(asked.number, Consistency::Linearizable).await?;
    let text = {
        let sealed = found.record.as_ref().ok_or_else(|| invoice_unknown(asked.number))?;
        let record = decode(sealed)?;
        let (taxed_by, row) = (taxed_by(outlet, &record)?, row_of(&found)?);
        let original = original(&record, &taxed_by, row, &found)?;
        match note(&original, asked, manifest, plan) {
            Ok(text) => text,
            Err(refused) => return Ok(Err(refused)),
        }
    };
    let parsed = read(&text, manifest, caller)?;
    let submitted = submit(outlet, key, &asked.fingerprint, &parsed.invoice).await?;
    Ok(match submitted {
        Ok((record, new)) => Ok(Sealed { outlet: outlet.clone(), record, new }),
        Err(refusal) => Err(Problem::of_refusal(&refusal)),
    })
}

/// The text of the credit note.
fn note(
    original: &Original<'_>,
    asked: &Asked<'_>,
    manifest: &Manifest,
    plan: &impl Fn(&Original<'_>, &Manifest) -> Result<Lines, Problem>,
) -> Result<String, Problem> {
    let kind = credit_type(original.kind).ok_or_else(|| {
        let detail = format!("{} is a credit note, which nothing takes back", asked.number);
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "ORIGINAL_MISMATCH", detail)
    })?;
    let whole = original.row.groups.iter().all(|group| left(group).0 == 0);
    if whole && original.has_credits {
        let detail = format!("{} is credited in full already", asked.number);
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(Problem::new(status, "CREDIT_EXCEEDS_ORIGINAL", detail));
    }
    let Lines { lines, price_mode } = plan(original, manifest)?;
    let lines = fit(lines, &original.row, price_mode, manifest);
    let head = Head {
        original: &original.invoice,
        number: original.number,
        reason: asked.reason,
        terminal_id: asked.terminal_id,
        cashier_id: asked.cashier_id,
        price_mode,
    };
    let amounts = lines.iter().map(|line| line.amounts(price_mode, manifest));
    let total = amounts.map(|amounts| amounts.map(|(base, tax)| base + tax)).sum::<Option<i128>>();
    // Over the limits the ledger says which amount it is.
    let total = total.and_then(Amount::from_wide).unwrap_or(Amount::ZERO);
    let payments = match asked.payment {
        Some(back) => {
            payment_stated(&back.method, back.provider.as_deref(), &back.reference, total)
        }
        None => payments_back(&original.invoice, total),
    };
    Ok(document(&head, kind, &items(&lines), &payments))
}

/// Reads the credit note as the ledger will; what is wrong with it is told by where the request says it.
fn read<'t>(text: &'t str, manifest: &Manifest, caller: &Caller) -> Result<Parsed<'t>, Problem> {
    parse_lenient(text.as_bytes(), manifest, caller.now()).map_err(|found| {
        let mut problem = Problem::from(&found);
        for error in &mut problem.errors {
            error.pointer = request_pointer(&error.pointer);
        }
        problem
    })
}

fn request_pointer(pointer: &str) -> String {
    match pointer {
        "/metadata/credit_reason" => "/reason".to_owned(),
        "/payments/0/instrument_id" => "/payment/reference".to_owned(),
        "/pos_terminal_id" | "/cashier_id" => pointer.to_owned(),
        _ => match pointer.strip_prefix("/payments/0/") {
            Some(field) => format!("/payment/{field}"),
            // The rest is the original's own.
            None => String::new(),
        },
    }
}

/// The manifest that a sealed invoice is taxed by.
fn taxed_by(outlet: &Outlet, record: &Record<'_>) -> Result<Arc<Manifest>, Problem> {
    #[derive(Deserialize)]
    struct Document {
        tax_manifest_version: String,
    }
    let document: Document = serde_json::from_slice(invoice_bytes(record)?)
        .map_err(|error| Problem::internal(&format!("a canonical invoice: {error}")))?;
    let version = document.tax_manifest_version;
    outlet
        .manifest(&version)
        .ok_or_else(|| Problem::internal(&format!("the tax manifest {version} is not known")))
}

fn row_of(found: &ReadInvoiceResponse) -> Result<CreditRow, Problem> {
    credit_row(found)?.ok_or_else(|| Problem::internal("an invoice has no row"))
}

fn original<'r>(
    record: &'r Record<'_>,
    taxed_by: &Manifest,
    row: CreditRow,
    found: &ReadInvoiceResponse,
) -> Result<Original<'r>, Problem> {
    let invoice = parse_strict(invoice_bytes(record)?, taxed_by)
        .map_err(|problem| Problem::internal(&format!("a sealed invoice: {problem}")))?;
    let kind = invoice.invoice_type();
    let (has_credits, number) = (!found.credits.is_empty(), record.fiscal_number);
    Ok(Original { invoice, row, has_credits, number, kind })
}
