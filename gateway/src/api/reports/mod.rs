//! Reports: Z closes the day, X looks at it, A lists every line.
//!
//! ```text
//! POST ─┬─ Z ─► CloseDay ─► record ──────────────┐
//!       ├─ X ─► a node ─► kept in the directory ─┼─► GET as JSON, CSV, PDF
//!       └─ A ─► its range, kept ─► a node, anew ─┘
//! ```

mod articles;
mod document;
mod get;
mod list;
mod make;
mod view;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(make::make, list::list)).routes(routes!(get::get))
}
