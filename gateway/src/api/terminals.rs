//! `/api/v1/terminals`: points of sale of an outlet. One that is blocked cannot seal.

use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::of_outlet::OfOutlet;
use super::time::when;
use crate::access::{self, App, Caller, Once, Scope, TerminalChange};
use crate::http::list::Page;
use crate::http::{
    Body, Fields, IdempotencyKey, Parameters, PathOf, Precondition, Problem, Problems, Tagged,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, change))
}

/// A point of sale.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Terminal {
    /// Its outlet.
    #[schema(example = "outlet-gombe")]
    pub outlet_id: String,
    /// Its id, unique in the outlet: `pos_terminal_id` of invoices.
    #[schema(example = "till-1")]
    pub terminal_id: String,
    /// What it is called.
    #[schema(example = "Caisse 1")]
    pub name: String,
    /// Whether it is stopped: nothing is sealed for it.
    #[schema(example = false)]
    pub blocked: bool,
    /// Since when it is known.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub created_at: Option<String>,
}

impl Terminal {
    fn of(known: &access::Terminal) -> Self {
        let fact = &known.fact.value;
        let profile = known.profile.as_ref().map(|profile| &profile.value);
        Self {
            outlet_id: fact.outlet_id.to_string(),
            terminal_id: fact.terminal_id.to_string(),
            name: profile.map_or_else(String::new, |profile| profile.name.clone()),
            blocked: fact.blocked,
            created_at: when(profile.map_or(0, |profile| profile.created_ms)),
        }
    }

    fn tagged(known: &access::Terminal) -> Tagged<Self> {
        Tagged { version: known.version(), value: Self::of(known) }
    }
}

/// A terminal that is to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTerminal {
    /// Its outlet.
    #[schema(example = "outlet-gombe")]
    outlet_id: String,
    /// Its id, unique in the outlet.
    #[schema(example = "till-1", max_length = 64, pattern = "^[^@/ ][^/ ]*$")]
    terminal_id: String,
    /// What it is called.
    #[schema(example = "Caisse 1", max_length = 200)]
    name: String,
}

/// What changes of a terminal; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TerminalPatch {
    /// What it is called from now on.
    #[schema(example = "Caisse rapide", max_length = 200)]
    name: Option<String>,
    /// Whether it is stopped.
    #[schema(example = true)]
    blocked: Option<bool>,
}

/// List terminals of the outlets that the key reaches.
#[utoipa::path(
    get,
    path = "/api/v1/terminals",
    tag = "terminals",
    security(("api_key" = ["registry:read"])),
    params(OfOutlet),
    responses((status = 200, description = "A page, by outlet and id", body = Page<Terminal>), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN"])))
)]
async fn list(
    caller: Caller,
    Parameters(wanted): Parameters<OfOutlet>,
) -> Result<Page<Terminal>, Problem> {
    caller.may(Scope::RegistryRead)?;
    wanted.page(
        &caller,
        caller.terminals(),
        |known| &*known.fact.value.outlet_id,
        |known| Terminal::of(&known),
    )
}

/// Register a terminal.
#[utoipa::path(
    post,
    path = "/api/v1/terminals",
    tag = "terminals",
    security(("api_key" = ["registry:write"])),
    params(("Idempotency-Key" = String, Header, description = "A new one for each terminal")),
    request_body = NewTerminal,
    responses(
        (status = 201, description = "Registered now", body = Terminal),
        (status = 200, description = "Registered before, under this key", body = Terminal),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "TERMINAL_EXISTS", "REGISTRY_FULL"])))
)]
async fn create(
    caller: Caller,
    key: IdempotencyKey,
    Body(new): Body<NewTerminal>,
) -> Result<Response, Problem> {
    caller.may(Scope::RegistryWrite)?;
    let mut fields = Fields::default();
    fields.id("/terminal_id", &new.terminal_id);
    fields.name("/name", &new.name);
    fields.finish()?;
    let once = Once::new("terminal", &key, &new);
    let made = caller.make_terminal(&new.outlet_id, &new.terminal_id, &new.name, &once).await?;
    let known = caller.terminal(&new.outlet_id, &made.id)?;
    Ok((made.status(), Terminal::tagged(&known)).into_response())
}

/// Read a terminal.
#[utoipa::path(
    get,
    path = "/api/v1/terminals/{outlet_id}/{terminal_id}",
    tag = "terminals",
    security(("api_key" = ["registry:read"])),
    params(
        ("outlet_id" = String, Path, example = "outlet-gombe"),
        ("terminal_id" = String, Path, example = "till-1"),
    ),
    responses(
        (status = 200, description = "The terminal; its version is the ETag", body = Terminal),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "TERMINAL_UNKNOWN"])))
)]
async fn get(
    caller: Caller,
    PathOf((outlet_id, terminal_id)): PathOf<(String, String)>,
) -> Result<Tagged<Terminal>, Problem> {
    caller.may(Scope::RegistryRead)?;
    caller.terminal(&outlet_id, &terminal_id).map(|known| Terminal::tagged(&known))
}

/// Rename a terminal, stop it, or let it seal again.
#[utoipa::path(
    patch,
    path = "/api/v1/terminals/{outlet_id}/{terminal_id}",
    tag = "terminals",
    security(("api_key" = ["registry:write"])),
    params(
        ("outlet_id" = String, Path, example = "outlet-gombe"),
        ("terminal_id" = String, Path, example = "till-1"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is changed"),
    ),
    request_body = TerminalPatch,
    responses((status = 200, description = "As it is now", body = Terminal), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "TERMINAL_UNKNOWN", "VERSION_CONFLICT", "IF_MATCH_INVALID"])))
)]
async fn change(
    caller: Caller,
    PathOf((outlet_id, terminal_id)): PathOf<(String, String)>,
    precondition: Precondition,
    Body(patch): Body<TerminalPatch>,
) -> Result<Tagged<Terminal>, Problem> {
    caller.may(Scope::RegistryWrite)?;
    let mut fields = Fields::default();
    if let Some(name) = &patch.name {
        fields.name("/name", name);
    }
    fields.finish()?;
    let wanted = TerminalChange { name: patch.name, blocked: patch.blocked };
    caller.change_terminal(&outlet_id, &terminal_id, &wanted, &precondition).await?;
    caller.terminal(&outlet_id, &terminal_id).map(|known| Terminal::tagged(&known))
}
