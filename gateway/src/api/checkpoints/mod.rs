//! `GET /api/v1/checkpoints`: the signed state of each group's log.

mod history;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use fiscus_ledger::hash::hex;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{App, Caller, Scope, SignedCheckpoint};
use crate::http::list::Page;
use crate::http::{Parameters, Problem, Problems};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(history::history))
}

/// A checkpoint.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::api) struct CheckpointView {
    /// The group.
    #[schema(example = 1)]
    group: u64,
    /// The log's name, under which its key is known.
    #[schema(example = "kinshasa/g/1")]
    origin: String,
    /// Leaves of its tree.
    #[schema(example = 57)]
    tree_size: u64,
    /// The root of the tree, in hexadecimal.
    #[schema(example = "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a")]
    root: String,
    /// The signed note (C2SP tlog-checkpoint).
    #[schema(
        example = "kinshasa/g/1\n57\nS/USLzRFVMU73i67jNK349FgCtYxw4Wl18ziPHeFRZo=\n\n— kinshasa/g/1 AAAAAA==\n"
    )]
    checkpoint: String,
}

impl CheckpointView {
    pub(in crate::api) fn of(signed: &SignedCheckpoint) -> Self {
        Self {
            group: signed.as_of.group,
            origin: signed.checkpoint.origin().to_owned(),
            tree_size: signed.checkpoint.size(),
            root: hex(signed.checkpoint.root()),
            checkpoint: signed.note.clone(),
        }
    }
}

/// It takes no parameters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Nothing {}

/// List the latest checkpoints
///
/// One for each group that the caller's outlets live in, and one for the directory. A group without a record has
/// none yet. What they vouch for is checked with the log's key, which does not come from here.
#[utoipa::path(
    get,
    path = "/api/v1/checkpoints",
    tag = "checkpoints",
    security(("api_key" = ["audit:read"])),
    params(Nothing),
    responses((status = 200, description = "Checkpoints", body = Page<CheckpointView>), Problems)
)]
async fn list(
    caller: Caller,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Response, Problem> {
    caller.may(Scope::AuditRead)?;
    let all = caller.checkpoints().await?;
    let data = all.iter().map(CheckpointView::of).collect();
    let as_of = all.into_iter().map(|signed| signed.as_of).collect();
    let mut response = Page { data, next_cursor: None, as_of }.into_response();
    let cache = HeaderValue::from_static("private, no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    Ok(response)
}
