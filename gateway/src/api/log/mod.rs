//! `/log/{group}/…`: each group's log as C2SP tlog-tiles, for standard clients.

mod path;

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::{BufMut, Bytes, BytesMut};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{App, LogReader, TileAsked};
use crate::http::{PathOf, Problem, Problems};
use path::tile_of;

/// What is older than this says too little of how far the log is.
const CHECKPOINT_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=1");
const TILE_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// The length before each entry.
const ENTRY_BYTES: u16 = 32;

pub(super) fn routes() -> OpenApiRouter<App> {
    let mut router = OpenApiRouter::new()
        .routes(routes!(checkpoint))
        .routes(routes!(tile))
        .routes(routes!(entries));
    // Higher places are in further parts of the path, the width of a part of a tile is in the last one.
    for kind in ["{level}", "entries"] {
        let mut place = format!("/log/{{group}}/tile/{kind}/{{index}}");
        for part in ["second", "third", "fourth", "fifth"] {
            place = format!("{place}/{{{part}}}");
            router = router.route(&place, get(any_tile));
        }
    }
    router
}

/// Read a log's last checkpoint
///
/// A signed note (C2SP tlog-checkpoint) with the signature of the log and those of its witnesses. No key is needed: the
/// log shows hashes, which say nothing to whoever does not hold the record.
#[utoipa::path(
    get,
    path = "/log/{group}/checkpoint",
    tag = "log",
    security(()),
    params(("group" = u64, Path, example = 1)),
    responses(
        (status = 200, description = "The note", body = String, content_type = "text/plain",
         example = "kinshasa/g/1\n57\nS/USLzRFVMU73i67jNK349FgCtYxw4Wl18ziPHeFRZo=\n\n— kinshasa/g/1 AAAAAA==\n"),
        Problems,
    ),
    extensions(("x-codes" = json!(["GROUP_UNKNOWN", "CHECKPOINT_PENDING"])))
)]
async fn checkpoint(reader: LogReader, PathOf(group): PathOf<u64>) -> Result<Response, Problem> {
    let note = reader.checkpoint(group).await?;
    Ok(([(header::CONTENT_TYPE, TEXT), (header::CACHE_CONTROL, CHECKPOINT_CACHE)], note)
        .into_response())
}

/// Read a tile of a log
///
/// 256 hashes of the tree that follow each other (C2SP tlog-tiles): at level 0 of leaves, at each further one of what
/// 256 below it come to. From 1,000 on the index is written in groups of three digits, as `x001/234`; `.p/17` behind it
/// asks for the first 17 hashes of a tile that is not whole yet. A tile never changes.
#[utoipa::path(
    get,
    path = "/log/{group}/tile/{level}/{index}",
    tag = "log",
    security(()),
    params(
        ("group" = u64, Path, example = 1),
        ("level" = u32, Path, example = 0),
        ("index" = String, Path, example = "000"),
    ),
    responses(
        (status = 200, description = "32 bytes each", content_type = "application/octet-stream"),
        Problems,
    ),
    extensions(("x-codes" = json!(["GROUP_UNKNOWN", "TILE_UNKNOWN"])))
)]
async fn tile(reader: LogReader, uri: Uri) -> Result<Response, Problem> {
    any_tile(reader, uri).await
}

/// Read the entries of a log
///
/// The data of 256 leaves that follow each other: each an entry hash of 32 bytes, or the hash of a root of the heads
/// tree, with its length before it in two bytes. The index is written as that of a tile.
#[utoipa::path(
    get,
    path = "/log/{group}/tile/entries/{index}",
    tag = "log",
    security(()),
    params(("group" = u64, Path, example = 1), ("index" = String, Path, example = "000")),
    responses(
        (status = 200, description = "34 bytes each", content_type = "application/octet-stream"),
        Problems,
    ),
    extensions(("x-codes" = json!(["GROUP_UNKNOWN", "TILE_UNKNOWN"])))
)]
async fn entries(reader: LogReader, uri: Uri) -> Result<Response, Problem> {
    any_tile(reader, uri).await
}

async fn any_tile(reader: LogReader, uri: Uri) -> Result<Response, Problem> {
    let (group, asked) = tile_of(uri.path()).ok_or_else(unknown)?;
    let hashes = reader.tile(group, asked).await?.ok_or_else(unknown)?;
    let body = if asked.level.is_some() { hashes } else { bundle(asked, &hashes) };
    let headers = [(header::CONTENT_TYPE, BYTES), (header::CACHE_CONTROL, TILE_CACHE)];
    Ok((StatusCode::OK, headers, body).into_response())
}

/// Entries with their lengths.
fn bundle(asked: TileAsked, entries: &[u8]) -> Bytes {
    let mut bundle = BytesMut::with_capacity(asked.width as usize * 34);
    for entry in entries.chunks_exact(usize::from(ENTRY_BYTES)) {
        bundle.put_u16(ENTRY_BYTES);
        bundle.extend_from_slice(entry);
    }
    bundle.freeze()
}

fn unknown() -> Problem {
    let detail = "there is no such tile, or the last checkpoint does not cover it yet";
    Problem::not_found("TILE_UNKNOWN", detail)
}
