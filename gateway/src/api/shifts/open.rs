//! `POST /api/v1/shifts`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fiscus_ledger::hash::{Tagged, hex};
use fiscus_proto::client::Answer;
use fiscus_proto::command::{self as proto, command::Command};
use serde::Deserialize;
use utoipa::ToSchema;

use super::view::Shift;
use crate::access::{Caller, Scope};
use crate::http::body::identifier;
use crate::http::{Body, IdempotencyKey, Problem, Problems};

/// A shift to be opened.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ShiftRequest {
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    outlet_id: String,
    /// The terminal; it has at most one open shift.
    #[schema(example = "till-1", min_length = 1, max_length = 64)]
    pos_terminal_id: String,
    /// Who opens it.
    #[schema(example = "cashier-7", min_length = 1, max_length = 64)]
    cashier_id: String,
    /// Its id; made from the Idempotency-Key when it is absent.
    #[serde(default)]
    #[schema(example = "till-1-2026-11-28-a", min_length = 1, max_length = 64)]
    shift_id: Option<String>,
}

/// Open a shift
///
/// From now on the terminal's invoices count in it.
#[utoipa::path(
    post,
    path = "/api/v1/shifts",
    tag = "shifts",
    security(("api_key" = ["shifts:write"])),
    params(("Idempotency-Key" = String, Header, description = "A new one for each shift; the same one when the request is repeated", min_length = 1, max_length = 255, pattern = "^[ -~]+$", example = "till-1-2026-11-28-a")),
    request_body(content_type = "application/json", content = ShiftRequest),
    responses(
        (status = 201, description = "Open now", body = Shift),
        (status = 200, description = "Opened before, under this key", body = Shift),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "SHIFT_OPEN", "TERMINAL_BLOCKED", "OUTLET_INACTIVE", "OUTLET_HELD", "SIGNING_MODE_DEF", "NO_AUTHORITY"])))
)]
pub(super) async fn open(
    caller: Caller,
    key: IdempotencyKey,
    Body(asked): Body<ShiftRequest>,
) -> Result<Response, Problem> {
    caller.may(Scope::ShiftsWrite)?;
    let outlet = caller.outlet(&asked.outlet_id)?;
    // The same on every repetition, so that the answer is the same.
    let made = || format!("shift-{}", hex(&key.submission_key()));
    let shift_id = asked.shift_id.clone().unwrap_or_else(made);
    let named = [
        ("/pos_terminal_id", &asked.pos_terminal_id),
        ("/cashier_id", &asked.cashier_id),
        ("/shift_id", &shift_id),
    ];
    named.into_iter().try_for_each(|(pointer, text)| identifier(pointer, text))?;
    let fingerprint = Tagged::new("fiscus/open-shift/v1")
        .str(&asked.pos_terminal_id)
        .str(&asked.cashier_id)
        .str(&shift_id)
        .finish();
    let command = proto::OpenShift {
        submitted: Some(proto::Submitted {
            outlet_id: outlet.id().to_owned(),
            key: key.submission_key().to_vec().into(),
            fingerprint: fingerprint.to_vec().into(),
        }),
        terminal_id: asked.pos_terminal_id,
        shift_id,
        cashier_id: asked.cashier_id,
    };
    let (status, record) = match outlet.submit(Command::OpenShift(command)).await? {
        Answer::Recorded(record) => (StatusCode::CREATED, record),
        Answer::AlreadyRecorded(record) => (StatusCode::OK, record),
        Answer::Refused(refusal) => return Err(Problem::of_refusal(&refusal)),
        other => return Err(Problem::internal(&format!("a shift was answered with {other:?}"))),
    };
    Ok((status, Json(Shift::of(&record)?)).into_response())
}
