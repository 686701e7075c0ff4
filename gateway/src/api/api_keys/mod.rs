//! `/api/v1/api-keys`: who may use this API, for what, and for how long.

mod change;
mod create;
mod list;
mod revoke;
mod rotate;
pub mod view;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list, create::create))
        .routes(routes!(list::get, change::change, revoke::revoke))
        .routes(routes!(rotate::rotate))
        .routes(routes!(revoke::revoke_secret))
}
