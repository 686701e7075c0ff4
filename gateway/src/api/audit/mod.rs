//! What an auditor asks for: exports of the journal with proofs, and single proofs.

mod begin;
mod export;
mod heads;
mod proofs;
mod view;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(begin::begin, export::whole))
        .routes(routes!(export::export))
        .routes(routes!(export::chunk))
        .routes(routes!(export::acknowledge))
        .routes(routes!(proofs::inclusion))
        .routes(routes!(proofs::consistency))
        .routes(routes!(heads::range))
        .routes(routes!(heads::absence))
}
