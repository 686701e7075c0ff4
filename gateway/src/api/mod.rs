//! The routes: one file a resource. Each handler authenticates, parses, asks, and maps the answer; rules are the
//! ledger's.

#![allow(unused_qualifications, reason = "the macros that describe the API write names out")]

pub mod actions;
pub mod api_keys;
mod audit;
mod authority_key;
pub mod cashiers;
mod checkpoints;
mod credentials;
pub mod devices;
mod docs;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod invoices;
mod keys;
mod labels;
mod log;
pub mod merchants;
mod moments;
mod of_outlet;
pub mod organizations;
pub mod outlets;
mod payments;
mod proved;
mod receipts;
pub mod regions;
mod reports;
mod shifts;
mod tax;
pub mod terminals;
mod time;
mod tongue;
mod uploads;
pub mod verify;
mod webhooks;

use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::access::App;
use crate::http::context;
use crate::http::problem::{Problem, ProblemBody};

const ABOUT: &str = include_str!("about.md");

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Fiscus",
        description = ABOUT,
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ProblemBody))
)]
#[derive(Debug)]
struct Document;

/// The routes with their description.
fn described() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(invoices::routes())
        .merge(receipts::routes())
        .merge(reports::routes())
        .merge(audit::routes())
        .merge(checkpoints::routes())
        .merge(credentials::routes())
        .merge(log::routes())
        .merge(keys::routes())
        .merge(organizations::routes())
        .merge(regions::routes())
        .merge(merchants::routes())
        .merge(outlets::routes())
        .merge(terminals::routes())
        .merge(cashiers::routes())
        .merge(devices::routes())
        .merge(authority_key::routes())
        .merge(api_keys::routes())
        .merge(webhooks::routes())
        .merge(uploads::routes())
        .merge(actions::routes())
        .merge(payments::routes())
        .merge(shifts::routes())
        .merge(tax::routes())
        .merge(verify::routes())
        .merge(docs::routes())
}

/// The OpenAPI document as every gateway of this version serves it.
#[must_use]
pub fn openapi_json() -> String {
    docs::document(&described().into_openapi())
}

/// Everything that the public listener serves.
pub(crate) fn routes(app: App) -> Router {
    let (router, openapi) = described().split_for_parts();
    router
        .layer(Extension(docs::Published::new(&openapi)))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(app.clone(), context::serve))
        .with_state(app)
}

async fn no_such_route(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let reads = method == Method::GET || method == Method::HEAD;
    if reads && !uri.path().starts_with("/api/") && verify::is_for_a_person(&headers) {
        return verify::no_such_page(&uri, &headers);
    }
    let detail = "there is nothing at this path; /docs lists what there is";
    Problem::not_found("ROUTE_UNKNOWN", detail).into_response()
}

async fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        "this path does not take this method; /docs lists what it takes",
    )
}
