//! `/api/v1/outlets`: places that sell, each with a journal and numbers of its own.

mod change;
mod create;
mod list;
mod status;
mod switch;
pub mod view;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list, create::create))
        .routes(routes!(list::get, change::change))
        .routes(routes!(status::status))
        .routes(routes!(switch::suspend))
        .routes(routes!(switch::resume))
        .routes(routes!(switch::close))
        .routes(routes!(switch::signing_mode))
}
