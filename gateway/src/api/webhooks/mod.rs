//! `/api/v1/webhooks`: customers' endpoints, what became of messages, and the catalogue of events.

mod deliveries;
mod events;
mod manage;
mod state;
mod view;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(manage::list, manage::create))
        .routes(routes!(events::events))
        .routes(routes!(manage::get, manage::change, manage::delete))
        .routes(routes!(state::rotate))
        .routes(routes!(state::pause))
        .routes(routes!(state::resume))
        .routes(routes!(deliveries::test))
        .routes(routes!(deliveries::replay))
        .routes(routes!(deliveries::attempts))
        .routes(routes!(deliveries::dead_letters))
        .routes(routes!(deliveries::statistics))
}
