//! The routes: one file a resource. Each handler authenticates, parses, asks, and maps the answer; rules are the
//! ledger's.

#![allow(unused_qualifications, reason = "the macros that describe the API write names out")]

pub mod invoices;
mod payments;
mod shifts;
mod tax;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::access::App;
use crate::http::context;
use crate::http::problem::{Problem, ProblemBody};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Fiscus",
        description = "The fiscal REST API: seal invoices, read and verify them.",
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
        .merge(payments::routes())
        .merge(shifts::routes())
        .merge(tax::routes())
}

/// Everything that the public listener serves.
pub(crate) fn routes(app: App) -> Router {
    let (router, _openapi) = described().split_for_parts();
    router
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(app.clone(), context::serve))
        .with_state(app)
}

async fn no_such_route() -> Problem {
    Problem::not_found("ROUTE_UNKNOWN", "there is nothing at this path; /docs lists what there is")
}

async fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        "this path does not take this method; /docs lists what it takes",
    )
}
