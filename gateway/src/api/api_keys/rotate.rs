//! `POST /api/v1/api-keys/{key_id}/rotate`.

use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::view::{ApiKeyMade, made};
use crate::access::{Caller, Once, Scope};
use crate::http::{Body, Fields, IdempotencyKey, PathOf, Problem, Problems};

const OVERLAP_HOURS_MAX: u64 = 24 * 90;

/// How a key gets its second secret.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// For so long the secret before stays valid; without it, until it is revoked.
    #[schema(example = 24, minimum = 0, maximum = 2160)]
    overlap_hours: Option<u64>,
}

/// Give an API key a second secret.
///
/// The one before stays valid for `overlap_hours`, or until it is revoked, so that nothing stops while clients
/// change over. At most two are valid at once.
#[utoipa::path(
    post,
    path = "/api/v1/api-keys/{key_id}/rotate",
    tag = "api-keys",
    security(("api_key" = ["keys:write"])),
    params(
        ("key_id" = String, Path, example = "5f0c2a9d7be4413c88"),
        ("Idempotency-Key" = String, Header, description = "A new one for each rotation"),
    ),
    request_body = Rotation,
    responses(
        (status = 201, description = "The key, with its new text", body = ApiKeyMade),
        (status = 200, description = "Done before, under this Idempotency-Key; without the text", body = ApiKeyMade),
        Problems,
    ),
    extensions(("x-codes" = json!(["API_KEY_UNKNOWN", "KEY_SECRETS_FULL", "KEY_REVOKED", "VERSION_CONFLICT"])))
)]
pub(super) async fn rotate(
    caller: Caller,
    PathOf(key_id): PathOf<String>,
    key: IdempotencyKey,
    Body(rotation): Body<Rotation>,
) -> Result<Response, Problem> {
    caller.may(Scope::KeysWrite)?;
    let mut fields = Fields::default();
    if rotation.overlap_hours.is_some_and(|hours| hours > OVERLAP_HOURS_MAX) {
        fields.refuse(
            "/overlap_hours",
            "FIELD_INVALID",
            "must be 0 to 2160 hours, which is 90 days",
        );
    }
    fields.finish()?;
    let once = Once::new("api-key-rotation", &key, &(&key_id, &rotation));
    let (done, text) = caller.rotate_api_key(&key_id, rotation.overlap_hours, &once).await?;
    let known = caller.api_key(&key_id)?;
    Ok(made(done.status(), text, &known, caller.now().get()))
}
