//! Shifts: a cashier's sessions at a terminal, with what should be in the drawer at their end.

mod close;
mod get;
mod list;
mod open;
mod search;
mod submission;
mod view;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(open::open, list::list))
        .routes(routes!(get::get))
        .routes(routes!(close::close))
}
