//! `/api/v1/regions`: parts of an organisation that keys can be limited to.

use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::time::when;
use crate::access::{App, Caller, Once, Scope};
use crate::directory::Versioned;
use crate::directory::documents;
use crate::http::list::{Page, PageQuery};
use crate::http::{
    Body, Fields, IdempotencyKey, Parameters, PathOf, Precondition, Problem, Problems, Tagged,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, change))
}

/// A region of an organisation.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Region {
    /// Its id, unique in the organisation.
    #[schema(example = "kinshasa")]
    pub region_id: String,
    /// What it is called.
    #[schema(example = "Kinshasa")]
    pub name: String,
    /// Since when it is known.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub created_at: Option<String>,
}

impl Region {
    fn of(known: &documents::Region) -> Self {
        Self {
            region_id: known.region_id.clone(),
            name: known.name.clone(),
            created_at: when(known.created_ms),
        }
    }

    fn tagged(known: &Versioned<documents::Region>) -> Tagged<Self> {
        Tagged { version: known.version.to_string(), value: Self::of(&known.value) }
    }
}

/// A region that is to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRegion {
    /// Its id, unique in the organisation.
    #[schema(example = "kinshasa", max_length = 64, pattern = "^[^@/ ][^/ ]*$")]
    region_id: String,
    /// What it is called.
    #[schema(example = "Kinshasa", max_length = 200)]
    name: String,
}

/// What changes of a region.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegionPatch {
    /// What it is called from now on.
    #[schema(example = "Ville de Kinshasa", max_length = 200)]
    name: String,
}

/// List the organisation's regions.
#[utoipa::path(
    get,
    path = "/api/v1/regions",
    tag = "regions",
    security(("api_key" = ["registry:read"])),
    params(PageQuery),
    responses((status = 200, description = "A page, by id", body = Page<Region>), Problems)
)]
async fn list(
    caller: Caller,
    Parameters(query): Parameters<PageQuery>,
) -> Result<Page<Region>, Problem> {
    caller.may(Scope::RegistryRead)?;
    let all = caller.regions().into_iter();
    let all = all.map(|known| (known.value.region_id.clone(), known)).collect();
    query.page(all, caller.directory_as_of(), |known| Region::of(&known.value))
}

/// Make a region.
#[utoipa::path(
    post,
    path = "/api/v1/regions",
    tag = "regions",
    security(("api_key" = ["registry:write"])),
    params(("Idempotency-Key" = String, Header, description = "A new one for each region")),
    request_body = NewRegion,
    responses(
        (status = 201, description = "Made now", body = Region),
        (status = 200, description = "Made before, under this key", body = Region),
        Problems,
    ),
    extensions(("x-codes" = json!(["REGION_EXISTS", "KEY_LIMITED", "REGISTRY_FULL"])))
)]
async fn create(
    caller: Caller,
    key: IdempotencyKey,
    Body(new): Body<NewRegion>,
) -> Result<Response, Problem> {
    caller.may_all(Scope::RegistryWrite)?;
    let mut fields = Fields::default();
    fields.id("/region_id", &new.region_id);
    fields.name("/name", &new.name);
    fields.finish()?;
    let once = Once::new("region", &key, &new);
    let made = caller.make_region(&new.region_id, &new.name, &once).await?;
    let known = caller.region(&made.id)?;
    Ok((made.status(), Region::tagged(&known)).into_response())
}

/// Read a region.
#[utoipa::path(
    get,
    path = "/api/v1/regions/{region_id}",
    tag = "regions",
    security(("api_key" = ["registry:read"])),
    params(("region_id" = String, Path, example = "kinshasa")),
    responses(
        (status = 200, description = "The region; its version is the ETag", body = Region),
        Problems,
    ),
    extensions(("x-codes" = json!(["REGION_UNKNOWN"])))
)]
async fn get(caller: Caller, PathOf(region_id): PathOf<String>) -> Result<Tagged<Region>, Problem> {
    caller.may(Scope::RegistryRead)?;
    caller.region(&region_id).map(|known| Region::tagged(&known))
}

/// Rename a region.
#[utoipa::path(
    patch,
    path = "/api/v1/regions/{region_id}",
    tag = "regions",
    security(("api_key" = ["registry:write"])),
    params(
        ("region_id" = String, Path, example = "kinshasa"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is changed"),
    ),
    request_body = RegionPatch,
    responses((status = 200, description = "As it is now", body = Region), Problems),
    extensions(("x-codes" = json!(["REGION_UNKNOWN", "VERSION_CONFLICT", "IF_MATCH_INVALID", "KEY_LIMITED"])))
)]
async fn change(
    caller: Caller,
    PathOf(region_id): PathOf<String>,
    precondition: Precondition,
    Body(patch): Body<RegionPatch>,
) -> Result<Tagged<Region>, Problem> {
    caller.may_all(Scope::RegistryWrite)?;
    let mut fields = Fields::default();
    fields.name("/name", &patch.name);
    fields.finish()?;
    caller.rename_region(&region_id, &patch.name, &precondition).await?;
    caller.region(&region_id).map(|known| Region::tagged(&known))
}
