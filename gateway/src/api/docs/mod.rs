//! What this API is, told by itself: the OpenAPI document, a reference for people, and the pages of the codes.
//!
//! ```text
//! handlers ─► utoipa ─► finish ─┬─► /openapi.json
//!                               └─► reference ─► /docs          docs/errors ─► /docs/errors/{code}
//! ```
//!
//! Everything is made once, when the gateway starts, and loads nothing from elsewhere.

mod curl;
mod errors;
mod example;
mod finish;
mod markdown;
mod page;
mod reference;
mod schema;
mod tags;

#[cfg(test)]
mod checks;

use std::sync::Arc;

use axum::Extension;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::App;
use crate::http::policy::page_policy;
use crate::http::problem::ProblemBody;
use crate::http::{PathOf, Problem, Problems};

/// A client may keep a page for so long before it asks whether it is still the same.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// The OpenAPI document as JSON, finished.
pub(super) fn document(openapi: &OpenApi) -> String {
    finish::finish(openapi).to_string()
}

/// What is served of the description.
#[derive(Debug, Clone)]
pub(super) struct Published {
    openapi: Resource,
    reference: Resource,
}

/// Bytes with what identifies them.
#[derive(Debug, Clone)]
struct Resource {
    bytes: Bytes,
    kind: &'static str,
    tag: HeaderValue,
}

impl Published {
    /// Makes everything of the handlers' description.
    pub(super) fn new(openapi: &OpenApi) -> Arc<Self> {
        let document = finish::finish(openapi);
        let reference = Resource::html(reference::reference(&document));
        let text = serde_json::to_vec(&document).expect("a description is JSON");
        Arc::new(Self { openapi: Resource::new(text, "application/json"), reference })
    }
}

impl Resource {
    fn new(bytes: Vec<u8>, kind: &'static str) -> Self {
        let hash = blake3::hash(&bytes).to_hex();
        let tag = HeaderValue::from_str(&format!("\"{}\"", &hash[..32]));
        Self { bytes: bytes.into(), kind, tag: tag.expect("a hash is a header's value") }
    }

    fn html(text: String) -> Self {
        Self::new(text.into_bytes(), "text/html; charset=utf-8")
    }

    /// The bytes, or that the client has them already.
    fn answer(&self, asked: &HeaderMap) -> Response {
        let known =
            asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let own = self.tag.to_str().unwrap_or_default();
        let mut known =
            known.flat_map(|list| list.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
        let mut response = if known.any(|tag| tag == own || tag == "*") {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(header::CONTENT_TYPE, self.kind)], self.bytes.clone()).into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::CACHE_CONTROL, CACHE);
        if self.kind.starts_with("text/html") {
            headers.insert(header::CONTENT_SECURITY_POLICY, page_policy(page::STYLE));
            headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        }
        response
    }
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(openapi))
        .routes(routes!(docs))
        .routes(routes!(error_index))
        .routes(routes!(error_page))
}

/// The OpenAPI document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "documentation",
    security(()),
    responses(
        (status = 200, description = "OpenAPI 3.1", body = serde_json::Value,
         headers(("ETag" = String, description = "Send it as If-None-Match")),
         example = json!({"openapi": "3.1.0", "info": {"title": "Fiscus"}, "paths": {}})),
        (status = 304, description = "The document that the client has"),
        Problems,
    )
)]
async fn openapi(Extension(published): Extension<Arc<Published>>, asked: HeaderMap) -> Response {
    published.openapi.answer(&asked)
}

/// The reference, for people.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "documentation",
    security(()),
    responses(
        (status = 200, description = "A page that works without scripts and without a network", body = String, content_type = "text/html",
         example = "<!doctype html>"),
        (status = 304, description = "The page that the client has"),
        Problems,
    )
)]
async fn docs(Extension(published): Extension<Arc<Published>>, asked: HeaderMap) -> Response {
    published.reference.answer(&asked)
}

/// All error codes with their meaning.
#[utoipa::path(
    get,
    path = "/docs/errors",
    tag = "documentation",
    security(()),
    responses(
        (status = 200, description = "The list of the codes", body = String, content_type = "text/html", example = "<!doctype html>"),
        (status = 304, description = "The page that the client has"),
        Problems,
    )
)]
async fn error_index(asked: HeaderMap) -> Response {
    Resource::html(errors::index()).answer(&asked)
}

/// What an error code means and what to do.
///
/// It is where a problem's `type` leads.
#[utoipa::path(
    get,
    path = "/docs/errors/{code}",
    tag = "documentation",
    security(()),
    params(("code" = String, Path, description = "A problem's `code`", example = "TOTALS_MISMATCH")),
    responses(
        (status = 200, description = "The page of the code", body = String, content_type = "text/html", example = "<!doctype html>"),
        (status = 304, description = "The page that the client has"),
        (status = 404, description = "There is no such code", body = ProblemBody, content_type = "application/problem+json"),
        Problems,
    ),
    extensions(("x-codes" = json!(["ROUTE_UNKNOWN"])))
)]
async fn error_page(PathOf(code): PathOf<String>, asked: HeaderMap) -> Result<Response, Problem> {
    let page = errors::code_page(&code).ok_or_else(|| {
        Problem::not_found("ROUTE_UNKNOWN", "there is no such code; /docs/errors lists them")
    })?;
    Ok(Resource::html(page).answer(&asked))
}
