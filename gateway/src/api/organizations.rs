//! `/api/v1/organizations`: tenants, made by the platform's operator.

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

/// A tenant.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Organization {
    /// Its id, which never changes.
    #[schema(example = "org-kivu-retail")]
    pub organization_id: String,
    /// What it is called.
    #[schema(example = "Kivu Retail")]
    pub name: String,
    /// Since when it is known.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub created_at: Option<String>,
}

impl Organization {
    fn of(id: &str, known: &documents::Organisation) -> Self {
        Self {
            organization_id: id.to_owned(),
            name: known.name.clone(),
            created_at: when(known.created_ms),
        }
    }

    fn tagged(id: &str, known: &Versioned<documents::Organisation>) -> Tagged<Self> {
        Tagged { version: known.version.to_string(), value: Self::of(id, &known.value) }
    }
}

/// A tenant that is to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrganization {
    /// Its id; one is made when it is left out.
    #[schema(example = "org-kivu-retail", max_length = 64, pattern = "^[^@/ ][^/ ]*$")]
    organization_id: Option<String>,
    /// What it is called.
    #[schema(example = "Kivu Retail", max_length = 200)]
    name: String,
}

/// What changes of a tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrganizationPatch {
    /// What it is called from now on.
    #[schema(example = "Kivu Retail Group", max_length = 200)]
    name: String,
}

/// List organisations: all for the platform's operator, its own for any other key.
#[utoipa::path(
    get,
    path = "/api/v1/organizations",
    tag = "organizations",
    security(("api_key" = ["registry:read"])),
    params(PageQuery),
    responses((status = 200, description = "A page, by id", body = Page<Organization>), Problems)
)]
async fn list(
    caller: Caller,
    Parameters(query): Parameters<PageQuery>,
) -> Result<Page<Organization>, Problem> {
    caller.may(Scope::RegistryRead)?;
    let all = caller.organizations().into_iter();
    let all = all.map(|(id, known)| (id.clone(), (id, known))).collect();
    query.page(all, caller.directory_as_of(), |(id, known)| Organization::of(&id, &known.value))
}

/// Make an organisation. Only the platform's operator does; its first owner key is made next.
#[utoipa::path(
    post,
    path = "/api/v1/organizations",
    tag = "organizations",
    security(("api_key" = ["platform"])),
    params(("Idempotency-Key" = String, Header, description = "A new one for each organisation")),
    request_body = NewOrganization,
    responses(
        (status = 201, description = "Made now", body = Organization),
        (status = 200, description = "Made before, under this key", body = Organization),
        Problems,
    ),
    extensions(("x-codes" = json!(["ORGANIZATION_EXISTS"])))
)]
async fn create(
    caller: Caller,
    key: IdempotencyKey,
    Body(new): Body<NewOrganization>,
) -> Result<Response, Problem> {
    caller.may(Scope::Platform)?;
    let mut fields = Fields::default();
    if let Some(id) = &new.organization_id {
        fields.id("/organization_id", id);
    }
    fields.name("/name", &new.name);
    fields.finish()?;
    let once = Once::new("organization", &key, &new);
    let made = caller.make_organization(new.organization_id.as_deref(), &new.name, &once).await?;
    let known = caller.organization(&made.id)?;
    Ok((made.status(), Organization::tagged(&made.id, &known)).into_response())
}

/// Read an organisation.
#[utoipa::path(
    get,
    path = "/api/v1/organizations/{organization_id}",
    tag = "organizations",
    security(("api_key" = ["registry:read"])),
    params(("organization_id" = String, Path, example = "org-kivu-retail")),
    responses(
        (status = 200, description = "The organisation; its version is the ETag", body = Organization),
        Problems,
    ),
    extensions(("x-codes" = json!(["ORGANIZATION_UNKNOWN"])))
)]
async fn get(
    caller: Caller,
    PathOf(organization_id): PathOf<String>,
) -> Result<Tagged<Organization>, Problem> {
    caller.may(Scope::RegistryRead)?;
    let known = caller.organization(&organization_id)?;
    Ok(Organization::tagged(&organization_id, &known))
}

/// Rename an organisation. Its owner does, and the platform's operator.
#[utoipa::path(
    patch,
    path = "/api/v1/organizations/{organization_id}",
    tag = "organizations",
    security(("api_key" = ["registry:write"])),
    params(
        ("organization_id" = String, Path, example = "org-kivu-retail"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is changed"),
    ),
    request_body = OrganizationPatch,
    responses((status = 200, description = "As it is now", body = Organization), Problems),
    extensions(("x-codes" = json!(["ORGANIZATION_UNKNOWN", "VERSION_CONFLICT", "IF_MATCH_INVALID", "KEY_LIMITED"])))
)]
async fn change(
    caller: Caller,
    PathOf(organization_id): PathOf<String>,
    precondition: Precondition,
    Body(patch): Body<OrganizationPatch>,
) -> Result<Tagged<Organization>, Problem> {
    caller.may(Scope::RegistryWrite)?;
    let mut fields = Fields::default();
    fields.name("/name", &patch.name);
    fields.finish()?;
    caller.rename_organization(&organization_id, &patch.name, &precondition).await?;
    let known = caller.organization(&organization_id)?;
    Ok(Organization::tagged(&organization_id, &known))
}
