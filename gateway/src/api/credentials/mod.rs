//! `/api/v1/credentials`: numbers that are lent to terminals, with the leave to seal under them while the cluster is away.

mod give_back;
mod lend;
mod list;
mod view;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(lend::lend, list::list))
        .routes(routes!(list::get, give_back::give_back))
}
