//! `POST /api/v1/shifts`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fiscus_ledger::hash::hex;
use fiscus_proto::command::{self as proto, command::Command};
use serde::Deserialize;
use utoipa::ToSchema;

use super::submission::{record, submitted};
use super::view::Shift;
use crate::access::{Caller, Scope};
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
    let outlet = caller.outlet_in_body(&asked.outlet_id)?;
    // The same on every repetition, so that the answer is the same.
    let made = || format!("shift-{}", hex(&key.submission_key()));
    let shift_id = asked.shift_id.clone().unwrap_or_else(made);
    let named = [
        ("/pos_terminal_id", &*asked.pos_terminal_id),
        ("/cashier_id", &*asked.cashier_id),
        ("/shift_id", &*shift_id),
    ];
    let submitted = Some(submitted(&outlet, &key, "fiscus/open-shift/v1", named)?);
    let (terminal_id, cashier_id) = (asked.pos_terminal_id, asked.cashier_id);
    let command = proto::OpenShift { submitted, terminal_id, shift_id, cashier_id };
    let (new, shift) = record(&outlet, Command::OpenShift(command)).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(shift)).into_response())
}
