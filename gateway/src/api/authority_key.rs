//! `/api/v1/tax-authority-key`: the tax authority's key for devices, shown to everybody with a key, registered by the
//! platform's operator.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{App, Caller, Scope};
use crate::directory::Versioned;
use crate::http::{Body, Precondition, Problem, Problems, Tagged};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show, register))
}

/// The tax authority's key for devices.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TaxAuthorityKey {
    /// An Ed25519 public key, 32 bytes in base64.
    #[schema(
        example = "1TysH9vkpI3HzyJI4Yd1wBnzSBMvMVzs5CVwEaJXnvw=",
        min_length = 44,
        max_length = 44
    )]
    public_key: String,
}

fn tagged(known: Versioned<String>) -> Tagged<TaxAuthorityKey> {
    let value = TaxAuthorityKey { public_key: known.value };
    Tagged { version: known.version.to_string(), value }
}

/// Read the tax authority's key for devices
///
/// What this key has signed lets a device begin a new life (`ADM|RESET`), and is the time that a device compares its own
/// with (`CFG|TIME`).
#[utoipa::path(
    get,
    path = "/api/v1/tax-authority-key",
    tag = "devices",
    operation_id = "show_tax_authority_key",
    security(("api_key" = ["registry:read"])),
    responses(
        (status = 200, description = "The key that is registered; its version is the ETag", body = TaxAuthorityKey),
        Problems,
    ),
    extensions(("x-codes" = json!(["AUTHORITY_KEY_UNKNOWN"])))
)]
async fn show(caller: Caller) -> Result<Tagged<TaxAuthorityKey>, Problem> {
    caller.may(Scope::RegistryRead)?;
    let known = caller.tax_authority_key().await?;
    known.map(tagged).ok_or_else(|| {
        Problem::not_found(
            "AUTHORITY_KEY_UNKNOWN",
            "no key of the tax authority is registered for devices",
        )
    })
}

/// Register the tax authority's key for devices
///
/// The platform's operator does. It takes the place of the one before: whoever holds its private part can let devices begin
/// new lives from then on, and nobody else can.
#[utoipa::path(
    put,
    path = "/api/v1/tax-authority-key",
    tag = "devices",
    operation_id = "register_tax_authority_key",
    security(("api_key" = ["platform"])),
    params(
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is changed"),
    ),
    request_body = TaxAuthorityKey,
    responses(
        (status = 200, description = "The key that is registered now; its version is the ETag", body = TaxAuthorityKey),
        Problems,
    ),
    extensions(("x-codes" = json!(["VERSION_CONFLICT", "IF_MATCH_INVALID", "FIELD_INVALID"])))
)]
async fn register(
    caller: Caller,
    precondition: Precondition,
    Body(new): Body<TaxAuthorityKey>,
) -> Result<Tagged<TaxAuthorityKey>, Problem> {
    caller.may(Scope::Platform)?;
    let known = caller.register_tax_authority_key(&new.public_key, &precondition).await?;
    known.map(tagged).ok_or_else(|| {
        let detail = "this is no Ed25519 public key of 32 bytes in base64";
        Problem::at(StatusCode::UNPROCESSABLE_ENTITY, "FIELD_INVALID", "/public_key", detail)
    })
}
