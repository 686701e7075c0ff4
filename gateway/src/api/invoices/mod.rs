//! Invoices: sealing them and reading them.

mod get;
mod seal;
pub mod view;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(seal::seal)).routes(routes!(get::get))
}
