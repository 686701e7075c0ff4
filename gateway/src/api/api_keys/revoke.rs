//! `DELETE /api/v1/api-keys/{key_id}` and `DELETE /api/v1/api-keys/{key_id}/secrets/{secret_id}`.

use axum::http::StatusCode;

use crate::access::{Caller, Scope};
use crate::http::{PathOf, Problem, Problems};

/// Revoke an API key, at once and for ever.
///
/// Every gateway that hears of the directory refuses it within a second. The last owner key of an organisation
/// stays.
#[utoipa::path(
    delete,
    path = "/api/v1/api-keys/{key_id}",
    tag = "api-keys",
    security(("api_key" = ["keys:write"])),
    params(("key_id" = String, Path, example = "5f0c2a9d7be4413c88")),
    responses((status = 204, description = "It is revoked"), Problems),
    extensions(("x-codes" = json!(["API_KEY_UNKNOWN", "LAST_OWNER_KEY", "VERSION_CONFLICT"])))
)]
pub(super) async fn revoke(
    caller: Caller,
    PathOf(key_id): PathOf<String>,
) -> Result<StatusCode, Problem> {
    caller.may(Scope::KeysWrite)?;
    caller.revoke_api_key(&key_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Revoke one secret of an API key, at once and for ever; the other one stays.
#[utoipa::path(
    delete,
    path = "/api/v1/api-keys/{key_id}/secrets/{secret_id}",
    tag = "api-keys",
    security(("api_key" = ["keys:write"])),
    params(
        ("key_id" = String, Path, example = "5f0c2a9d7be4413c88"),
        ("secret_id" = String, Path, example = "9f3a11c2"),
    ),
    responses((status = 204, description = "It is revoked"), Problems),
    extensions(("x-codes" = json!(["API_KEY_UNKNOWN", "SECRET_UNKNOWN", "LAST_SECRET", "VERSION_CONFLICT"])))
)]
pub(super) async fn revoke_secret(
    caller: Caller,
    PathOf((key_id, secret_id)): PathOf<(String, String)>,
) -> Result<StatusCode, Problem> {
    caller.may(Scope::KeysWrite)?;
    caller.revoke_secret(&key_id, &secret_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
