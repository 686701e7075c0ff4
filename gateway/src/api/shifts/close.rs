//! `POST /api/v1/shifts/{shift_id}/close`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use fiscus_ledger::hash::Tagged;
use fiscus_proto::client::Answer;
use fiscus_proto::command::{self as proto, command::Command};
use serde::Deserialize;
use utoipa::ToSchema;

use super::view::Shift;
use crate::access::{Caller, Scope};
use crate::http::body::identifier;
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
) -> Result<Response, Problem> {
    caller.may(Scope::ShiftsWrite)?;
    let outlet = caller.outlet(&asked.outlet_id)?;
    let named = [
        ("/pos_terminal_id", &asked.pos_terminal_id),
        ("/cashier_id", &asked.cashier_id),
        ("shift_id", &shift_id),
    ];
    named.into_iter().try_for_each(|(pointer, text)| identifier(pointer, text))?;
    let fingerprint = Tagged::new("fiscus/close-shift/v1")
        .str(&asked.pos_terminal_id)
        .str(&asked.cashier_id)
        .str(&shift_id)
        .finish();
    let command = proto::CloseShift {
        submitted: Some(proto::Submitted {
            outlet_id: outlet.id().to_owned(),
            key: key.submission_key().to_vec().into(),
            fingerprint: fingerprint.to_vec().into(),
        }),
        terminal_id: asked.pos_terminal_id,
        shift_id,
        cashier_id: asked.cashier_id,
    };
    match outlet.submit(Command::CloseShift(command)).await? {
        Answer::Recorded(record) | Answer::AlreadyRecorded(record) => {
            Ok(Json(Shift::of(&record)?).into_response())
        }
        Answer::Refused(refusal) => Err(Problem::of_refusal(&refusal)),
        other => Err(Problem::internal(&format!("a shift was answered with {other:?}"))),
    }
}
