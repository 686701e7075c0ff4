//! Invoices: sealing them and reading them.

mod batch;
mod credit;
mod full;
mod get;
mod list;
mod reconcile;
pub(crate) mod request;
mod seal;
mod sealing;
pub mod view;

#[cfg(fuzzing)]
pub(super) use batch::of_document;
pub(crate) use get::Wanted;
pub(crate) use sealing::check_merchant;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(seal::seal, list::handler::list))
        .routes(routes!(batch::handler::seal_many))
        .routes(routes!(reconcile::reconcile))
        .routes(routes!(get::get))
        .routes(routes!(credit::void::void))
        .routes(routes!(credit::refund::refund))
}
