//! Pause, resume, and give a new secret.

use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::view::{Webhook, WebhookMade, made};
use crate::access::{Caller, Once, Scope};
use crate::directory::webhooks::EndpointState;
use crate::http::{Body, Fields, IdempotencyKey, PathOf, Problem, Problems, Tagged};

const OVERLAP_HOURS_DEFAULT: u64 = 24;
const OVERLAP_HOURS_MAX: u64 = 24 * 30;
const HOUR_MS: u64 = 3_600_000;

/// How long both secrets sign.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookRotation {
    /// Hours; 24 unless asked otherwise.
    #[schema(example = 24, minimum = 0, maximum = 720)]
    overlap_hours: Option<u64>,
}

/// Give an endpoint a new secret.
///
/// The one before signs as well for `overlap_hours`, so that receivers can change over.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{endpoint_id}/rotate",
    tag = "webhooks",
    operation_id = "rotate_webhook",
    security(("api_key" = ["webhooks:write"])),
    params(
        ("endpoint_id" = String, Path, example = "5b2c7f0a91d34e6688aa1020"),
        ("Idempotency-Key" = String, Header, description = "A new one for each rotation"),
    ),
    request_body = WebhookRotation,
    responses(
        (status = 201, description = "The endpoint, with its new secret", body = WebhookMade),
        (status = 200, description = "Done before, under this Idempotency-Key", body = WebhookMade),
        Problems,
    ),
    extensions(("x-codes" = json!(["WEBHOOK_UNKNOWN", "WEBHOOKS_OFF", "VERSION_CONFLICT", "KEY_LIMITED"])))
)]
pub(super) async fn rotate(
    caller: Caller,
    PathOf(endpoint_id): PathOf<String>,
    key: IdempotencyKey,
    Body(rotation): Body<WebhookRotation>,
) -> Result<Response, Problem> {
    caller.may_all(Scope::WebhooksWrite)?;
    let hours = rotation.overlap_hours.unwrap_or(OVERLAP_HOURS_DEFAULT);
    let mut fields = Fields::default();
    if hours > OVERLAP_HOURS_MAX {
        fields.refuse(
            "/overlap_hours",
            "FIELD_INVALID",
            "must be 0 to 720 hours, which is 30 days",
        );
    }
    fields.finish()?;
    let once = Once::new("webhook-rotation", &key, &(&endpoint_id, &rotation));
    let (done, secret) = caller.rotate_webhook(&endpoint_id, hours * HOUR_MS, &once).await?;
    made(&caller, done.status(), &endpoint_id, &secret)
}

/// Pause an endpoint: what happens meanwhile is sent when it is resumed.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{endpoint_id}/pause",
    tag = "webhooks",
    operation_id = "pause_webhook",
    security(("api_key" = ["webhooks:write"])),
    params(("endpoint_id" = String, Path, example = "5b2c7f0a91d34e6688aa1020")),
    responses((status = 200, description = "As it is now", body = Webhook), Problems),
    extensions(("x-codes" = json!(["WEBHOOK_UNKNOWN", "VERSION_CONFLICT", "KEY_LIMITED"])))
)]
pub(super) async fn pause(
    caller: Caller,
    PathOf(endpoint_id): PathOf<String>,
) -> Result<Tagged<Webhook>, Problem> {
    set(&caller, &endpoint_id, EndpointState::Paused).await
}

/// Resume an endpoint that was paused or disabled: it gets what has happened meanwhile.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{endpoint_id}/resume",
    tag = "webhooks",
    operation_id = "resume_webhook",
    security(("api_key" = ["webhooks:write"])),
    params(("endpoint_id" = String, Path, example = "5b2c7f0a91d34e6688aa1020")),
    responses((status = 200, description = "As it is now", body = Webhook), Problems),
    extensions(("x-codes" = json!(["WEBHOOK_UNKNOWN", "VERSION_CONFLICT", "KEY_LIMITED"])))
)]
pub(super) async fn resume(
    caller: Caller,
    PathOf(endpoint_id): PathOf<String>,
) -> Result<Tagged<Webhook>, Problem> {
    set(&caller, &endpoint_id, EndpointState::Active).await
}

async fn set(
    caller: &Caller,
    endpoint_id: &str,
    state: EndpointState,
) -> Result<Tagged<Webhook>, Problem> {
    caller.set_webhook_state(endpoint_id, state).await?;
    let known = caller.webhook(endpoint_id)?;
    Ok(Webhook::tagged(&known, caller.now().get()))
}
