//! An export, its chunks, and their acknowledgements; and the whole of one at once.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use utoipa::IntoParams;

use super::view::{AuditChunk, ExportView, unknown};
use crate::access::{Caller, Export, Outlet, RangeAsked, Scope, not_acknowledged};
use crate::api::moments::{Bound, moment};
use crate::http::parameters::{PathOf, invalid};
use crate::http::{Parameters, Problem, Problems};
use crate::place_id::PlaceId;

/// It takes no parameters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Nothing {}

/// An export that the caller may see.
struct Found {
    outlet: Outlet,
    number: u64,
    export: Export,
    acknowledged: u64,
}

async fn find(caller: &Caller, export_id: &str) -> Result<Found, Problem> {
    let id = PlaceId::parse(export_id).filter(|id| id.letter == 'e');
    let id = id.ok_or_else(|| unknown(export_id))?;
    // Another tenant's is told as one that does not exist.
    let outlet = caller.outlet(&id.outlet_id).map_err(|problem| match &*problem.code {
        "OUTLET_UNKNOWN" => unknown(export_id),
        _ => problem,
    })?;
    let known = caller.export(&outlet, id.number).await?;
    let (export, acknowledged) = known.ok_or_else(|| unknown(export_id))?;
    Ok(Found { outlet, number: id.number, export, acknowledged })
}

/// Read an audit export's state
///
/// How many chunks it has and which of them the client has acknowledged.
#[utoipa::path(
    get,
    path = "/api/v1/audit/export/{export_id}",
    tag = "audit",
    security(("api_key" = ["audit:read"])),
    params(("export_id" = String, Path, example = "e-b3V0bGV0LWdvbWJl-0"), Nothing),
    responses((status = 200, description = "The export", body = ExportView), Problems),
    extensions(("x-codes" = json!(["EXPORT_UNKNOWN"])))
)]
pub(super) async fn export(
    caller: Caller,
    PathOf(export_id): PathOf<String>,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Json<ExportView>, Problem> {
    caller.may(Scope::AuditRead)?;
    let found = find(&caller, &export_id).await?;
    Ok(Json(ExportView::of(&found.export, found.number, found.acknowledged)))
}

/// Read a chunk of an audit export
///
/// At most 1,000 records, each with its signature and its inclusion proof under the export's checkpoint. The next
/// chunk, and any that was acknowledged, may be read as often as need be; they are always the same bytes.
#[utoipa::path(
    get,
    path = "/api/v1/audit/export/{export_id}/chunks/{chunk}",
    tag = "audit",
    security(("api_key" = ["audit:read"])),
    params(
        ("export_id" = String, Path, example = "e-b3V0bGV0LWdvbWJl-0"),
        ("chunk" = u64, Path, description = "Which, from 0", example = 0),
        Nothing,
    ),
    responses((status = 200, description = "The chunk", body = AuditChunk), Problems),
    extensions(("x-codes" = json!(["EXPORT_UNKNOWN", "CHUNK_UNKNOWN", "CHUNK_NOT_ACKNOWLEDGED"])))
)]
pub(super) async fn chunk(
    caller: Caller,
    PathOf((export_id, chunk)): PathOf<(String, u64)>,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Response, Problem> {
    caller.may(Scope::AuditRead)?;
    let found = find(&caller, &export_id).await?;
    found.has(chunk)?;
    if chunk > found.acknowledged {
        return Err(not_acknowledged(found.acknowledged));
    }
    let pieces = found.outlet.chunk(&found.export, chunk);
    send(caller, &found.outlet, pieces, "application/json").await
}

/// Acknowledge a chunk of an audit export
///
/// Says that the chunk is safe with the client, so that the next one may be read. Saying it again changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/audit/export/{export_id}/chunks/{chunk}/ack",
    tag = "audit",
    security(("api_key" = ["audit:read"])),
    params(
        ("export_id" = String, Path, example = "e-b3V0bGV0LWdvbWJl-0"),
        ("chunk" = u64, Path, description = "Which, from 0", example = 0),
    ),
    responses((status = 200, description = "The export as it is then", body = ExportView), Problems),
    extensions(("x-codes" = json!(["EXPORT_UNKNOWN", "CHUNK_UNKNOWN", "CHUNK_NOT_ACKNOWLEDGED"])))
)]
pub(super) async fn acknowledge(
    caller: Caller,
    PathOf((export_id, chunk)): PathOf<(String, u64)>,
) -> Result<Json<ExportView>, Problem> {
    caller.may(Scope::AuditRead)?;
    let found = find(&caller, &export_id).await?;
    found.has(chunk)?;
    let acknowledged = caller.acknowledge(&found.outlet, found.number, chunk).await?;
    Ok(Json(ExportView::of(&found.export, found.number, acknowledged)))
}

impl Found {
    fn has(&self, chunk: u64) -> Result<(), Problem> {
        if chunk < self.export.chunks() {
            return Ok(());
        }
        let detail = format!("this export has the chunks 0 to {}", self.export.chunks() - 1);
        Err(Problem::not_found("CHUNK_UNKNOWN", detail))
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The outlet.
    #[param(example = "outlet-gombe")]
    outlet_id: String,
    /// Not before, a time or a day (UTC).
    #[param(example = "2026-11-01")]
    from: Option<String>,
    /// Up to this time, which is not included, or to the end of this day (UTC).
    #[param(example = "2026-11-30")]
    to: Option<String>,
    /// From this position in the journal.
    #[param(minimum = 1)]
    from_position: Option<u64>,
    /// To this position in the journal.
    #[param(minimum = 1)]
    to_position: Option<u64>,
}

impl Wanted {
    pub(super) fn outlet_id(&self) -> &str {
        &self.outlet_id
    }

    pub(super) fn range(&self) -> Result<RangeAsked, Problem> {
        let time = |text: &Option<String>, name, bound| {
            let read = text.as_deref().map(|text| moment(text, bound));
            let wrong = || invalid(name, "must be a day or an RFC 3339 time");
            read.map(|read| read.ok_or_else(wrong)).transpose()
        };
        Ok(RangeAsked {
            from: time(&self.from, "from", Bound::First)?,
            until: time(&self.to, "to", Bound::Last)?,
            from_position: self.from_position,
            to_position: self.to_position,
            ..RangeAsked::default()
        })
    }
}

/// Export at once
///
/// All chunks, one a line, for a script that saves them to a file; the last line carries the checkpoint. A file
/// without it is not whole. What is long or must survive an interruption is better begun as an export.
#[utoipa::path(
    get,
    path = "/api/v1/audit/export",
    tag = "audit",
    security(("api_key" = ["audit:read"])),
    params(Wanted),
    responses(
        (status = 200, description = "Chunks, one a line", body = String, content_type = "application/x-ndjson"),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "RANGE_EMPTY", "RANGE_INVALID", "CHECKPOINT_PENDING"])))
)]
pub(super) async fn whole(
    caller: Caller,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, Problem> {
    caller.may(Scope::AuditRead)?;
    let outlet = caller.outlet(&wanted.outlet_id)?;
    let range = outlet.range(&wanted.range()?).await?;
    let pinned = outlet.checkpoint_over(range.last_leaf).await?;
    let export = range.export(&outlet, &caller, &pinned);
    let own = outlet.clone();
    let chunks = stream::iter(0..export.chunks()).map(move |chunk| {
        let end = stream::once(async { Ok("\n".to_owned()) });
        own.chunk(&export, chunk).chain(end)
    });
    send(caller, &outlet, chunks.flatten(), "application/x-ndjson").await
}

/// Sends pieces as they come. What goes wrong before the first one is answered as a problem; later it ends the
/// connection before the body's end, so that nobody takes it for whole.
pub(super) async fn send(
    caller: Caller,
    outlet: &Outlet,
    pieces: impl Stream<Item = Result<String, Problem>> + Send + 'static,
    kind: &'static str,
) -> Result<Response, Problem> {
    let mut pieces = Box::pin(pieces);
    let first = tokio::time::timeout(outlet.time_left(), pieces.next()).await;
    let first = first.map_err(|_elapsed| crate::access::no_answer())?.transpose()?;
    let rest = pieces.map(move |piece| {
        // The tenant's place is taken for as long as there is something to send.
        let _held = &caller;
        piece.map_err(|problem| {
            tracing::warn!(code = &*problem.code, detail = problem.detail, "an export breaks off");
            std::io::Error::other(problem.detail)
        })
    });
    let body = Body::from_stream(stream::iter(first.map(Ok)).chain(rest));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    Ok(response)
}
