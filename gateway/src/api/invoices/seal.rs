//! `POST /api/v1/invoices`: the path of one receipt begins here.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fiscus_ledger::invoice::{Parsed, parse_lenient};
use fiscus_proto::client::Answer;
use fiscus_proto::command as proto;

use super::view::SealedInvoice;
use crate::access::{Caller, Scope};
use crate::http::body::JsonBytes;
use crate::http::{IdempotencyKey, Problem, Problems};

/// Seal an invoice.
///
/// Gives it its five security elements and appends it to the outlet's journal, once for each Idempotency-Key.
#[utoipa::path(
    post,
    path = "/api/v1/invoices",
    tag = "invoices",
    security(("api_key" = ["invoices:seal"])),
    params(("Idempotency-Key" = String, Header, description = "A new one for each sale; the same one when it is repeated")),
    request_body(content_type = "application/json", content = serde_json::Value, description = "The invoice"),
    responses(
        (status = 201, description = "Sealed now", body = SealedInvoice),
        (status = 200, description = "Sealed before, under this key: the same seal", body = SealedInvoice),
        Problems,
    )
)]
pub(super) async fn seal(
    caller: Caller,
    key: IdempotencyKey,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    caller.may(Scope::InvoicesSeal)?;
    let manifest = caller.manifest()?;
    let parsed =
        parse_lenient(&body, &manifest, caller.now()).map_err(|found| Problem::from(&found))?;
    let outlet = caller.outlet(parsed.invoice.outlet_id())?;
    let answer = outlet.submit(proto::command::Command::Seal(command(&parsed, &key))).await?;
    let (status, record) = match answer {
        Answer::Recorded(record) => (StatusCode::CREATED, record),
        Answer::AlreadyRecorded(record) => (StatusCode::OK, record),
        Answer::Refused(refusal) => return Err(Problem::of_refusal(&refusal)),
        other => return Err(Problem::internal(&format!("a seal was answered with {other:?}"))),
    };
    Ok((status, Json(SealedInvoice::of(&outlet, &record)?)).into_response())
}

/// What is submitted for an invoice.
fn command(parsed: &Parsed<'_>, key: &IdempotencyKey) -> proto::Seal {
    proto::Seal {
        submitted: Some(proto::Submitted {
            outlet_id: parsed.invoice.outlet_id().to_owned(),
            key: key.submission_key().to_vec().into(),
            fingerprint: parsed.fingerprint.to_vec().into(),
        }),
        terminal_id: parsed.invoice.pos_terminal_id().to_owned(),
        device_id: None,
        payload: parsed.invoice.canonical_bytes().to_vec().into(),
    }
}
