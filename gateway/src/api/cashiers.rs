//! `/api/v1/cashiers`: people who sell at an outlet.

use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::of_outlet::OfOutlet;
use super::time::when;
use crate::access::{App, Caller, CashierChange, Once, Scope};
use crate::directory::Versioned;
use crate::directory::documents;
use crate::http::list::Page;
use crate::http::{
    Body, Fields, IdempotencyKey, Parameters, PathOf, Precondition, Problem, Problems, Tagged,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, change))
}

/// A person who sells.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Cashier {
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    pub outlet_id: String,
    /// The id, unique in the outlet: `cashier_id` of invoices.
    #[schema(example = "cashier-7")]
    pub cashier_id: String,
    /// What the person is called.
    #[schema(example = "Mireille K.")]
    pub name: String,
    /// Whether the person still sells there.
    #[schema(example = true)]
    pub active: bool,
    /// Since when the person is known.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub created_at: Option<String>,
}

impl Cashier {
    fn of(known: &documents::Cashier) -> Self {
        Self {
            outlet_id: known.outlet_id.clone(),
            cashier_id: known.cashier_id.clone(),
            name: known.name.clone(),
            active: known.active,
            created_at: when(known.created_ms),
        }
    }

    fn tagged(known: &Versioned<documents::Cashier>) -> Tagged<Self> {
        Tagged { version: known.version.to_string(), value: Self::of(&known.value) }
    }
}

/// A cashier that is to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCashier {
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    outlet_id: String,
    /// The id, unique in the outlet.
    #[schema(example = "cashier-7", max_length = 64, pattern = "^[^@/ ][^/ ]*$")]
    cashier_id: String,
    /// What the person is called.
    #[schema(example = "Mireille K.", max_length = 200)]
    name: String,
}

/// What changes of a cashier; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CashierPatch {
    /// What the person is called from now on.
    #[schema(example = "Mireille Kabongo", max_length = 200)]
    name: Option<String>,
    /// Whether the person still sells there.
    #[schema(example = false)]
    active: Option<bool>,
}

/// List cashiers of the outlets that the key reaches.
#[utoipa::path(
    get,
    path = "/api/v1/cashiers",
    tag = "cashiers",
    security(("api_key" = ["registry:read"])),
    params(OfOutlet),
    responses((status = 200, description = "A page, by outlet and id", body = Page<Cashier>), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN"])))
)]
async fn list(
    caller: Caller,
    Parameters(wanted): Parameters<OfOutlet>,
) -> Result<Page<Cashier>, Problem> {
    caller.may(Scope::RegistryRead)?;
    let all = caller.cashiers();
    wanted.page(&caller, all, |known| &known.value.outlet_id, |known| Cashier::of(&known.value))
}

/// Register a cashier.
#[utoipa::path(
    post,
    path = "/api/v1/cashiers",
    tag = "cashiers",
    security(("api_key" = ["registry:write"])),
    params(("Idempotency-Key" = String, Header, description = "A new one for each cashier")),
    request_body = NewCashier,
    responses(
        (status = 201, description = "Registered now", body = Cashier),
        (status = 200, description = "Registered before, under this key", body = Cashier),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "CASHIER_EXISTS", "REGISTRY_FULL"])))
)]
async fn create(
    caller: Caller,
    key: IdempotencyKey,
    Body(new): Body<NewCashier>,
) -> Result<Response, Problem> {
    caller.may(Scope::RegistryWrite)?;
    let mut fields = Fields::default();
    fields.id("/cashier_id", &new.cashier_id);
    fields.name("/name", &new.name);
    fields.finish()?;
    let once = Once::new("cashier", &key, &new);
    let made = caller.make_cashier(&new.outlet_id, &new.cashier_id, &new.name, &once).await?;
    let known = caller.cashier(&new.outlet_id, &made.id)?;
    Ok((made.status(), Cashier::tagged(&known)).into_response())
}

/// Read a cashier.
#[utoipa::path(
    get,
    path = "/api/v1/cashiers/{outlet_id}/{cashier_id}",
    tag = "cashiers",
    security(("api_key" = ["registry:read"])),
    params(
        ("outlet_id" = String, Path, example = "outlet-gombe"),
        ("cashier_id" = String, Path, example = "cashier-7"),
    ),
    responses(
        (status = 200, description = "The cashier; its version is the ETag", body = Cashier),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "CASHIER_UNKNOWN"])))
)]
async fn get(
    caller: Caller,
    PathOf((outlet_id, cashier_id)): PathOf<(String, String)>,
) -> Result<Tagged<Cashier>, Problem> {
    caller.may(Scope::RegistryRead)?;
    caller.cashier(&outlet_id, &cashier_id).map(|known| Cashier::tagged(&known))
}

/// Rename a cashier, or say whether the person still sells there.
#[utoipa::path(
    patch,
    path = "/api/v1/cashiers/{outlet_id}/{cashier_id}",
    tag = "cashiers",
    security(("api_key" = ["registry:write"])),
    params(
        ("outlet_id" = String, Path, example = "outlet-gombe"),
        ("cashier_id" = String, Path, example = "cashier-7"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is changed"),
    ),
    request_body = CashierPatch,
    responses((status = 200, description = "As it is now", body = Cashier), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "CASHIER_UNKNOWN", "VERSION_CONFLICT", "IF_MATCH_INVALID"])))
)]
async fn change(
    caller: Caller,
    PathOf((outlet_id, cashier_id)): PathOf<(String, String)>,
    precondition: Precondition,
    Body(patch): Body<CashierPatch>,
) -> Result<Tagged<Cashier>, Problem> {
    caller.may(Scope::RegistryWrite)?;
    let mut fields = Fields::default();
    if let Some(name) = &patch.name {
        fields.name("/name", name);
    }
    fields.finish()?;
    let wanted = CashierChange { name: patch.name, active: patch.active };
    caller.change_cashier(&outlet_id, &cashier_id, &wanted, &precondition).await?;
    caller.cashier(&outlet_id, &cashier_id).map(|known| Cashier::tagged(&known))
}
