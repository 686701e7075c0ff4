//! `GET /api/v1/verify/{fiscal_number}`.

use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::Verification;
use super::check::by_number as check;
use super::schedule::on_schedule;
use super::uncached;
use crate::access::Public;
use crate::http::{Parameters, PathOf, Problem, Problems};

/// What stands beside the number.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Beside {
    /// The code on the paper: in any case, with its dashes or without.
    #[param(example = "7Q4X-1M8K-ZC0D-3J5W")]
    auth_code: String,
}

/// Verify a receipt by its number and code.
///
/// Public: no key is needed; addresses are limited, and callers with a key by its tier. An unknown number and a
/// wrong code have the same answer, after the same time.
#[utoipa::path(
    get,
    path = "/api/v1/verify/{fiscal_number}",
    tag = "verification",
    security(()),
    params(("fiscal_number" = String, Path, description = "The number on the paper", example = "KIN-GOMBE-1"), Beside),
    responses(
        (status = 200, description = "What was found: `verified`, `not_found` or `tampered`", body = Verification),
        Problems,
    )
)]
pub(super) async fn by_number(
    public: Public,
    PathOf(fiscal_number): PathOf<String>,
    Parameters(beside): Parameters<Beside>,
) -> Result<Response, Problem> {
    let found = on_schedule(check(&public, &fiscal_number, &beside.auth_code)).await?;
    Ok(uncached(&found))
}
