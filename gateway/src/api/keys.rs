//! `GET /.well-known/fiscal-keys.json`: what receipts are checked with, by anybody, offline.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{App, PublishedKeys};
use crate::http::Problems;

/// Whoever keeps it longer misses a new authority.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=60");

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(fiscal_keys))
}

/// The public keys of all authorities, past and present.
///
/// Whoever has this file can check a receipt without any network. Keys that no longer seal stay in it: what they
/// sealed stays genuine. A key of a sandbox has `"environment":"sandbox"`; the others are live.
#[utoipa::path(
    get,
    path = "/.well-known/fiscal-keys.json",
    tag = "keys",
    security(()),
    responses(
        (status = 200, description = "The list", body = serde_json::Value,
         headers(("ETag" = String, description = "Send it as If-None-Match")),
         example = json!({"keys": [{
            "fiscal_authority_id": "demo.10ba682c8ad13513", "algorithm": "Ed25519",
            "public_key": "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=",
            "spki": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAiojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=\n-----END PUBLIC KEY-----\n",
            "valid_from": "2026-02-01T08:30:00.000Z", "valid_until": null, "status": "active"
         }]})),
        (status = 304, description = "The list that the client has"),
        Problems,
    )
)]
async fn fiscal_keys(PublishedKeys(published): PublishedKeys, asked: HeaderMap) -> Response {
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags =
        known.flat_map(|list| list.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    let mut response = if tags.any(|tag| tag == published.etag || tag == "*") {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "application/json")], published.json.clone()).into_response()
    };
    let headers = response.headers_mut();
    let etag = HeaderValue::from_str(&published.etag).expect("a hash is a header's value");
    headers.insert(header::ETAG, etag);
    headers.insert(header::CACHE_CONTROL, CACHE);
    response
}
