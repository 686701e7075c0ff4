//! `POST /api/v1/verify/qr`.

use axum::http::StatusCode;
use axum::response::Response;
use fiscus_ledger::qr::{QrError, QrPayload};
use serde::Deserialize;
use utoipa::ToSchema;

use super::answer::Verification;
use super::check::by_qr as check;
use super::schedule::on_schedule;
use super::uncached;
use crate::access::Public;
use crate::http::{Body, Problem, Problems};

/// A scanned receipt.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QrText {
    /// The whole text of the QR code.
    #[schema(
        example = "https://verify.example.cd/v?fn=KIN-GOMBE-1&ts=2026-11-28T10%3A15%3A30.123Z&k=sale&t=1160.00&c=CDF&fa=demo.10ba682c8ad13513&h=…&s=…"
    )]
    qr: String,
}

/// Verify a receipt by the text of its QR code.
///
/// The signature is checked first, for a receipt that a terminal sealed offline in two steps: the authority's of
/// the terminal's leave, the terminal's of the receipt. Only a genuine one is then looked up. Public, as the
/// check by number is.
#[utoipa::path(
    post,
    path = "/api/v1/verify/qr",
    tag = "verification",
    security(()),
    request_body(content = QrText, description = "The text as a scanner gives it"),
    responses(
        (status = 200, description = "What was found: `verified`, `not_found` or `tampered`", body = Verification),
        Problems,
    ),
    extensions(("x-codes" = json!(["QR_MALFORMED"])))
)]
pub(super) async fn by_qr(public: Public, Body(body): Body<QrText>) -> Result<Response, Problem> {
    let payload = QrPayload::parse(body.qr.trim()).map_err(|error| {
        let code = "QR_MALFORMED";
        Problem::at(StatusCode::UNPROCESSABLE_ENTITY, code, "/qr", malformed(&error))
    })?;
    let found = on_schedule(check(&public, &payload)).await?;
    Ok(uncached(&found))
}

/// What is wrong with a text, beginning with the part of it.
pub(super) fn malformed(error: &QrError) -> String {
    format!("{}: {error}; scan the whole code again", error.field())
}
