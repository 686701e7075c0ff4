//! What payment providers say: before an invoice is sealed, or after it; recorded once however often it is said.

mod list;
mod of_invoice;
mod record;
mod state;
pub(crate) mod view;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(of_invoice::record_of_invoice, list::list))
        .routes(routes!(record::record))
}
