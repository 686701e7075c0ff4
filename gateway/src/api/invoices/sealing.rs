//! Sealing one invoice, once: what a single request, a batch's item and a credit note have in common.
//!
//! ```text
//! body ─► which manifest ─► parse ─► submit ─► sealed now, or sealed before
//!                             └ refused ─► was it sealed under this key before the rules changed?
//! ```

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fiscus_ledger::invoice::{CanonicalInvoice, InvoiceType, parse_lenient};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::problem::{self as ledger, Code};
use fiscus_ledger::record::Record;
use fiscus_ledger::state::rows::Operation;
use fiscus_proto::client::Answer;
use fiscus_proto::command as proto;
use fiscus_proto::ledger::JournalRecord;
use serde::Deserialize;
use std::borrow::Cow;

use super::view::{SealedInvoice, invoice_bytes};
use crate::access::{Caller, Outlet, Scope};
use crate::http::{FieldError, IdempotencyKey, Problem};

/// Manifests change once in years; so many changes during one request are none.
const MANIFESTS_TRIED_MAX: usize = 3;

/// An invoice that is sealed.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) outlet: Outlet,
    pub(super) record: JournalRecord,
    /// Whether this request did it, or an earlier one.
    pub(super) new: bool,
}

impl Sealed {
    pub(super) fn status(&self) -> StatusCode {
        if self.new { StatusCode::CREATED } else { StatusCode::OK }
    }

    pub(super) fn view(&self) -> Result<SealedInvoice, Problem> {
        SealedInvoice::of(&self.outlet, &self.record)
    }

    /// The answer of a route that seals one.
    pub(super) fn response(&self) -> Result<Response, Problem> {
        let view = self.view()?;
        let location = format!("/api/v1/invoices/{}", view.fiscal_number);
        let location = HeaderValue::from_str(&location)
            .map_err(|_| Problem::internal("a fiscal number is no header's value"))?;
        Ok((self.status(), [(header::LOCATION, location)], Json(view)).into_response())
    }
}

/// What is read of a body before its form is known to be right.
#[derive(Debug, Default, Deserialize)]
struct Named<'b> {
    #[serde(borrow, default)]
    outlet_id: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    tax_manifest_version: Option<Cow<'b, str>>,
}

/// The outlet that a body names, as far as can be told.
pub(super) fn outlet_named(body: &[u8]) -> Option<String> {
    let named: Named<'_> = serde_json::from_slice(body).ok()?;
    named.outlet_id.map(Cow::into_owned)
}

/// Seals the invoice in a body under a key. `find` is how the caller reaches an outlet.
pub(super) async fn seal_body(
    caller: &Caller,
    find: impl Fn(&str) -> Result<Outlet, Problem>,
    key: &IdempotencyKey,
    body: &[u8],
) -> Result<Sealed, Problem> {
    let named: Named<'_> = serde_json::from_slice(body).unwrap_or_default();
    // A client that names its version may repeat a sale from before a change: the ledger knows.
    let version = named.tax_manifest_version.as_deref();
    let mut manifest = match version.and_then(|version| caller.manifest_of(version)) {
        Some(manifest) => manifest,
        None => caller.manifest()?,
    };
    for _ in 0..MANIFESTS_TRIED_MAX {
        let parsed = match parse_lenient(body, &manifest, caller.now()) {
            Ok(parsed) => parsed,
            Err(found) => {
                let outlet = named.outlet_id.as_deref().and_then(|id| find(id).ok());
                return match outlet.filter(|_| is_of_manifest(found.code)) {
                    Some(outlet) => sealed_before(caller, outlet, key, body, &found).await,
                    None => Err(Problem::from(&found)),
                };
            }
        };
        check_scope(caller, &parsed.invoice)?;
        let outlet = find(parsed.invoice.outlet_id());
        let outlet = outlet.map_err(|problem| problem.about("/outlet_id"))?;
        check_merchant(&outlet, &parsed.invoice)?;
        let submitted = submit(&outlet, key, &parsed.fingerprint, &parsed.invoice).await?;
        match submitted {
            Ok((record, new)) => return Ok(Sealed { outlet, record, new }),
            Err(refusal) if refusal.code == Code::ManifestStale.as_str() => {
                let in_force = outlet.manifest_in_force().await?;
                if version.is_some() {
                    return Err(stale(Problem::of_refusal(&refusal), in_force.version()));
                }
                manifest = in_force;
            }
            Err(refusal) => return Err(refused(&refusal)),
        }
    }
    Err(Problem::internal("the tax manifest changed again and again during one request"))
}

/// A credit note takes money back, whichever way it is sealed.
fn check_scope(caller: &Caller, invoice: &CanonicalInvoice<'_>) -> Result<(), Problem> {
    match invoice.invoice_type() {
        InvoiceType::CreditNote | InvoiceType::ExportCredit => {
            let may = caller.may(Scope::InvoicesCredit);
            may.map_err(|problem| problem.about("/invoice_type"))
        }
        InvoiceType::Sale | InvoiceType::Advance | InvoiceType::Export => Ok(()),
    }
}

/// A refusal of the ledger's about a thing that the invoice names.
fn refused(refusal: &proto::Refusal) -> Problem {
    let problem = Problem::of_refusal(refusal);
    match refusal.code.as_str() {
        "OUTLET_INACTIVE" | "OUTLET_HELD" | "SIGNING_MODE_DEF" => problem.about("/outlet_id"),
        "TERMINAL_BLOCKED" => problem.about("/pos_terminal_id"),
        "ORIGINAL_NOT_FOUND" | "ORIGINAL_MISMATCH" => problem.about("/original_fiscal_number"),
        _ => problem,
    }
}

/// Submits a canonical invoice: the record and whether it is new, or the refusal.
pub(super) async fn submit(
    outlet: &Outlet,
    key: &IdempotencyKey,
    fingerprint: &[u8; 32],
    invoice: &CanonicalInvoice<'_>,
) -> Result<Result<(JournalRecord, bool), proto::Refusal>, Problem> {
    let seal = proto::Seal {
        submitted: Some(proto::Submitted {
            outlet_id: invoice.outlet_id().to_owned(),
            key: key.submission_key().to_vec().into(),
            fingerprint: fingerprint.to_vec().into(),
        }),
        terminal_id: invoice.pos_terminal_id().to_owned(),
        device_id: None,
        payload: invoice.canonical_bytes().to_vec().into(),
    };
    match outlet.submit(proto::command::Command::Seal(seal)).await? {
        Answer::Recorded(record) => Ok(Ok((record, true))),
        Answer::AlreadyRecorded(record) => Ok(Ok((record, false))),
        Answer::Refused(refusal) => Ok(Err(refusal)),
        other => Err(Problem::internal(&format!("a seal was answered with {other}"))),
    }
}

/// The merchant is the outlet's own.
pub(crate) fn check_merchant(
    outlet: &Outlet,
    invoice: &CanonicalInvoice<'_>,
) -> Result<(), Problem> {
    let nif = &*outlet.entry().fact.value.merchant_nif;
    if invoice.merchant_nif() == nif {
        return Ok(());
    }
    let detail = format!(
        "the invoice's merchant_nif is {:?}, but outlet {} sells for {nif:?}",
        invoice.merchant_nif(),
        outlet.id()
    );
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Err(Problem::at(status, "IDENTITY_MISMATCH", "/merchant_nif", detail))
}

/// Whether a document may have been right under another manifest.
fn is_of_manifest(code: Code) -> bool {
    matches!(
        code,
        Code::ManifestStale
            | Code::TaxGroupsMismatch
            | Code::TotalsMismatch
            | Code::FxRequired
            | Code::FxNotAllowed
            | Code::FxMismatch
            | Code::AmountOverflow
            | Code::ExportGroup
            | Code::GroupNotAllowed
            | Code::ReferenceMissing
    )
}

/// The first seal of a body that today's rules refuse, if it was sealed under this key before; otherwise why it
/// is refused.
async fn sealed_before(
    caller: &Caller,
    outlet: Outlet,
    key: &IdempotencyKey,
    body: &[u8],
    found: &ledger::Problem,
) -> Result<Sealed, Problem> {
    let refused = match found.code {
        Code::ManifestStale => {
            let in_force = caller.manifest()?;
            stale(Problem::from(found), in_force.version())
        }
        _ => Problem::from(found),
    };
    let Some(record) = outlet.submission(Operation::Seal, &key.submission_key()).await? else {
        return Err(refused);
    };
    let Some(first) = First::of(&outlet, &record)? else {
        return Err(refused);
    };
    match parse_lenient(body, &first.taxed_by, caller.now()) {
        Ok(parsed) if parsed.fingerprint == first.fingerprint => {
            Ok(Sealed { outlet, record, new: false })
        }
        Ok(_) => Err(key_taken()),
        Err(_) => Err(refused),
    }
}

/// What the first submission under a key was.
struct First {
    taxed_by: Arc<Manifest>,
    /// What its client chose.
    fingerprint: [u8; 32],
}

impl First {
    fn of(outlet: &Outlet, sealed: &JournalRecord) -> Result<Option<Self>, Problem> {
        let record = Record::decode(&sealed.record)
            .map_err(|error| Problem::internal(&format!("a record: {error}")))?;
        let named: Named<'_> = serde_json::from_slice(invoice_bytes(&record)?)
            .map_err(|error| Problem::internal(&format!("a canonical invoice: {error}")))?;
        let taxed_by = named.tax_manifest_version.and_then(|version| outlet.manifest(&version));
        let fingerprint = record.submission.map(|mark| mark.fingerprint);
        let both = taxed_by.zip(fingerprint);
        Ok(both.map(|(taxed_by, fingerprint)| Self { taxed_by, fingerprint }))
    }
}

/// The key belongs to another request.
pub(super) fn key_taken() -> Problem {
    Problem::at(
        StatusCode::CONFLICT,
        "IDEMPOTENCY_CONFLICT",
        "Idempotency-Key",
        "this Idempotency-Key was used for another request; use a new key for a new request",
    )
}

/// A stale version, with the current one.
fn stale(mut problem: Problem, current: &str) -> Problem {
    let expected = Some(serde_json::json!({ "tax_manifest_version": current }));
    problem.errors = vec![FieldError {
        pointer: "/tax_manifest_version".to_owned(),
        code: problem.code.clone(),
        detail: problem.detail.clone(),
        expected,
    }];
    problem
}
