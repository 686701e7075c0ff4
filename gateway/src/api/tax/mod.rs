//! The tax table, trials with it, and suggestions.

mod calculate;
mod classify;
mod groups;
mod suggestion;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(groups::groups))
        .routes(routes!(calculate::calculate))
        .routes(routes!(classify::classify))
}
