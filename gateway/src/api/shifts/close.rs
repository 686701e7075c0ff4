//! `POST /api/v1/shifts/{shift_id}/close`.

use axum::Json;
use fiscus_proto::command::{self as proto, command::Command};
use serde::Deserialize;
use utoipa::ToSchema;

use super::submission::{record, submitted};
use super::view::Shift;
use crate::access::{Caller, Scope};
use crate::http::{Body, IdempotencyKey, PathOf, Problem, Problems};

/// Which shift ends, and by whom.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CloseRequest {
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    outlet_id: String,
    /// The terminal at which it is open.
    #[schema(example = "till-1", min_length = 1, max_length = 64)]
    pos_terminal_id: String,
    /// Who closes it.
    #[schema(example = "cashier-7", min_length = 1, max_length = 64)]
    cashier_id: String,
}

/// Close a shift
///
/// Its X report is recorded with it and answered. It works on a suspended outlet, too: the drawer must be counted.
#[utoipa::path(
    post,
    path = "/api/v1/shifts/{shift_id}/close",
    tag = "shifts",
    security(("api_key" = ["shifts:write"])),
    params(
        ("shift_id" = String, Path, example = "till-1-2026-11-28-a"),
        ("Idempotency-Key" = String, Header, description = "A new one for each closing; the same one when the request is repeated", min_length = 1, max_length = 255, pattern = "^[ -~]+$", example = "till-1-2026-11-28-a-end"),
    ),
    request_body(content_type = "application/json", content = CloseRequest),
    responses(
        (status = 200, description = "Closed, now or before under this key, with its report", body = Shift),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "SHIFT_NOT_OPEN", "NO_AUTHORITY"])))
)]
pub(super) async fn close(
    caller: Caller,
    key: IdempotencyKey,
    PathOf(shift_id): PathOf<String>,
    Body(asked): Body<CloseRequest>,
) -> Result<Json<Shift>, Problem> {
    caller.may(Scope::ShiftsWrite)?;
    let outlet = caller.outlet_in_body(&asked.outlet_id)?;
    let named = [
        ("/pos_terminal_id", &*asked.pos_terminal_id),
        ("/cashier_id", &*asked.cashier_id),
        ("shift_id", &*shift_id),
    ];
    let submitted = Some(submitted(&outlet, &key, "fiscus/close-shift/v1", named)?);
    let (terminal_id, cashier_id) = (asked.pos_terminal_id, asked.cashier_id);
    let command = proto::CloseShift { submitted, terminal_id, shift_id, cashier_id };
    let (_, shift) = record(&outlet, Command::CloseShift(command)).await?;
    Ok(Json(shift))
}
