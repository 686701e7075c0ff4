//! Public verification: is this receipt genuine, and does it still stand?
//!
//! ```text
//! number + code ─► look up ─► does the code fit? ──────────────► verified │ not found
//! QR text ─► signatures, with the published keys ─► look up ─► the same? ─► verified │ tampered │ not found
//! ```
//!
//! Invariants: only who holds the paper, by its code or its signature, learns anything of a number; a number that
//! does not exist and a wrong code have the same answer after the same time; what cannot be looked up is never
//! called "not found"; tampered is only what carries evidence that a genuine receipt was changed.

pub mod answer;
pub mod batch;
mod check;
mod examine;
mod number;
mod page;
pub mod qr;
mod schedule;

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::App;

#[cfg(fuzzing)]
pub(super) use page::query_read;
pub(super) use page::{is_for_a_person, no_such_page};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(number::by_number))
        .routes(routes!(qr::by_qr))
        .routes(routes!(batch::in_batch))
        .routes(routes!(page::page))
        .routes(routes!(page::form))
        .routes(routes!(page::home))
}

/// An answer that nobody keeps: a minute later it may be another one.
fn uncached(answer: &impl Serialize) -> Response {
    let mut response = Json(answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
