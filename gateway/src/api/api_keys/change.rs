//! `PATCH /api/v1/api-keys/{key_id}`.

use serde::Deserialize;
use utoipa::ToSchema;

use super::view::ApiKey;
use crate::access::key_ring::TIERS;
use crate::access::{Caller, Scope};
use crate::http::{Body, Fields, PathOf, Precondition, Problem, Problems, Tagged};

/// What changes of an API key; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiKeyPatch {
    /// What it is called.
    #[schema(example = "Caisses de Gombe, rez-de-chaussée", max_length = 200)]
    name: Option<String>,
    /// How often it may ask, at most as often as the caller.
    #[schema(example = "growth")]
    tier: Option<String>,
}

/// Rename an API key, or change its tier. What it may do never changes: make another one.
#[utoipa::path(
    patch,
    path = "/api/v1/api-keys/{key_id}",
    tag = "api-keys",
    security(("api_key" = ["keys:write"])),
    params(
        ("key_id" = String, Path, example = "5f0c2a9d7be4413c88"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is changed"),
    ),
    request_body = ApiKeyPatch,
    responses((status = 200, description = "As it is now", body = ApiKey), Problems),
    extensions(("x-codes" = json!(["API_KEY_UNKNOWN", "KEY_TOO_STRONG", "VERSION_CONFLICT", "IF_MATCH_INVALID"])))
)]
pub(super) async fn change(
    caller: Caller,
    PathOf(key_id): PathOf<String>,
    precondition: Precondition,
    Body(patch): Body<ApiKeyPatch>,
) -> Result<Tagged<ApiKey>, Problem> {
    caller.may(Scope::KeysWrite)?;
    let mut fields = Fields::default();
    if let Some(name) = &patch.name {
        fields.name("/name", name);
    }
    if let Some(tier) = &patch.tier {
        fields.word("/tier", tier, &TIERS);
    }
    fields.finish()?;
    let (name, tier) = (patch.name.as_deref(), patch.tier.as_deref());
    caller.change_api_key(&key_id, name, tier, &precondition).await?;
    let known = caller.api_key(&key_id)?;
    Ok(ApiKey::tagged(&known, caller.now().get()))
}
