//! `POST /api/v1/audit/export`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::view::{ExportView, unknown};
use crate::access::{Caller, Once, RangeAsked, Scope};
use crate::api::moments::{Bound, moment};
use crate::http::{Body, IdempotencyKey, Problem, Problems};

/// What is exported: a part of an outlet's journal between times or between positions; all of it without bounds.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportRequest {
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    outlet_id: String,
    /// Not before, a time or a day (UTC).
    #[schema(example = "2026-11-01")]
    #[serde(default)]
    from: Option<String>,
    /// Up to this time, which is not included, or to the end of this day (UTC).
    #[schema(example = "2026-11-30")]
    #[serde(default)]
    to: Option<String>,
    /// From this position in the journal.
    #[serde(default)]
    #[schema(minimum = 1)]
    from_position: Option<u64>,
    /// To this position in the journal.
    #[serde(default)]
    #[schema(minimum = 1)]
    to_position: Option<u64>,
}

/// Begin an audit export
///
/// It is pinned to a signed checkpoint that covers it, and read in chunks of at most 1,000 records, each of which is
/// acknowledged before the next. An export that was interrupted goes on where it was, at any gateway.
#[utoipa::path(
    post,
    path = "/api/v1/audit/export",
    tag = "audit",
    security(("api_key" = ["audit:read"])),
    params(("Idempotency-Key" = String, Header, description = "A new one for each export; the same one when the request is repeated", min_length = 1, max_length = 255, pattern = "^[ -~]+$", example = "export-gombe-2026-11")),
    request_body(content = ExportRequest, content_type = "application/json", example = json!({"outlet_id": "outlet-gombe", "from": "2026-11-01", "to": "2026-11-30"})),
    responses(
        (status = 201, description = "Begun", body = ExportView),
        (status = 200, description = "Begun before, under this key: the same export", body = ExportView),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "RANGE_EMPTY", "RANGE_INVALID", "CHECKPOINT_PENDING", "EXPORT_UNKNOWN"])))
)]
pub(super) async fn begin(
    caller: Caller,
    key: IdempotencyKey,
    Body(asked): Body<ExportRequest>,
) -> Result<Response, Problem> {
    caller.may(Scope::AuditRead)?;
    let outlet = caller.outlet_in_body(&asked.outlet_id)?;
    let once = Once::new("exports", &key, &asked);
    if let Some(number) = caller.export_made_before(&once).await? {
        let known = caller.export(&outlet, number).await?;
        let (export, acknowledged) = known.ok_or_else(|| unknown("made under this key"))?;
        return Ok(Json(ExportView::of(&export, number, acknowledged)).into_response());
    }
    let range = outlet.range(&asked.range()?).await.map_err(Problem::in_body)?;
    let pinned = outlet.checkpoint_over(range.last_leaf).await?;
    let export = range.export(&outlet, &caller, &pinned);
    let made = caller.keep_export(&outlet, &export, &once).await?;
    let number = made.id.parse().map_err(|_| Problem::internal("an export has no number"))?;
    Ok((made.status(), Json(ExportView::of(&export, number, 0))).into_response())
}

impl ExportRequest {
    fn range(&self) -> Result<RangeAsked, Problem> {
        let time = |text: &Option<String>, pointer, bound| {
            let read = text.as_deref().map(|text| moment(text, bound));
            read.map(|read| read.ok_or_else(|| wrong(pointer))).transpose()
        };
        Ok(RangeAsked {
            from: time(&self.from, "/from", Bound::First)?,
            until: time(&self.to, "/to", Bound::Last)?,
            from_position: self.from_position,
            to_position: self.to_position,
            ..RangeAsked::default()
        })
    }
}

fn wrong(pointer: &str) -> Problem {
    let detail = "must be a day or an RFC 3339 time";
    Problem::at(StatusCode::UNPROCESSABLE_ENTITY, "FIELD_INVALID", pointer, detail)
}
