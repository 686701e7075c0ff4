//! Make, list, read, change and delete endpoints.

use axum::http::StatusCode;
use axum::response::Response;

use super::view::{Webhook, WebhookMade, WebhookPatch, made};
use crate::access::{Caller, Once, Scope};
use crate::directory::webhooks::EndpointState;
use crate::http::list::{Page, PageQuery};
use crate::http::{
    Body, Fields, IdempotencyKey, Parameters, PathOf, Precondition, Problem, Problems, Tagged,
};

/// List the organisation's endpoints.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks",
    tag = "webhooks",
    operation_id = "list_webhooks",
    security(("api_key" = ["webhooks:write"])),
    params(PageQuery),
    responses((status = 200, description = "A page, by id", body = Page<Webhook>), Problems),
    extensions(("x-codes" = json!(["KEY_LIMITED"])))
)]
pub(super) async fn list(
    caller: Caller,
    Parameters(query): Parameters<PageQuery>,
) -> Result<Page<Webhook>, Problem> {
    let now_ms = caller.now().get();
    query.page(caller.webhooks()?, caller.directory_as_of(), |known| Webhook::of(&known, now_ms))
}

/// Make an endpoint, and get its secret.
///
/// What happens from now on is sent to it.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks",
    tag = "webhooks",
    operation_id = "create_webhook",
    security(("api_key" = ["webhooks:write"])),
    params(("Idempotency-Key" = String, Header, description = "A new one for each endpoint")),
    request_body = WebhookPatch,
    responses(
        (status = 201, description = "Made now", body = WebhookMade),
        (status = 200, description = "Made before, under this key", body = WebhookMade),
        Problems,
    ),
    extensions(("x-codes" = json!([
        "WEBHOOKS_OFF", "OUTLET_UNKNOWN", "REGION_UNKNOWN", "REGISTRY_FULL", "KEY_LIMITED"
    ])))
)]
pub(super) async fn create(
    caller: Caller,
    key: IdempotencyKey,
    Body(new): Body<WebhookPatch>,
) -> Result<Response, Problem> {
    caller.may_all(Scope::WebhooksWrite)?;
    if new.url.is_none() {
        let mut fields = Fields::default();
        fields.refuse("/url", "FIELD_INVALID", "must be given");
        fields.finish()?;
    }
    new.check(&caller)?;
    let once = Once::new("webhook", &key, &new);
    let (done, secret) = caller.make_webhook(new.endpoint(), &once).await?;
    made(&caller, done.status(), &done.id, &secret)
}

/// Read an endpoint.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{endpoint_id}",
    tag = "webhooks",
    operation_id = "get_webhook",
    security(("api_key" = ["webhooks:write"])),
    params(("endpoint_id" = String, Path, example = "5b2c7f0a91d34e6688aa1020")),
    responses((status = 200, description = "The endpoint; its version is the ETag", body = Webhook), Problems),
    extensions(("x-codes" = json!(["WEBHOOK_UNKNOWN", "KEY_LIMITED"])))
)]
pub(super) async fn get(
    caller: Caller,
    PathOf(endpoint_id): PathOf<String>,
) -> Result<Tagged<Webhook>, Problem> {
    let known = caller.webhook(&endpoint_id)?;
    Ok(Webhook::tagged(&known, caller.now().get()))
}

/// Change an endpoint; what is left out stays.
#[utoipa::path(
    patch,
    path = "/api/v1/webhooks/{endpoint_id}",
    tag = "webhooks",
    operation_id = "change_webhook",
    security(("api_key" = ["webhooks:write"])),
    params(
        ("endpoint_id" = String, Path, example = "5b2c7f0a91d34e6688aa1020"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is changed"),
    ),
    request_body = WebhookPatch,
    responses((status = 200, description = "As it is now", body = Webhook), Problems),
    extensions(("x-codes" = json!([
        "WEBHOOK_UNKNOWN", "WEBHOOKS_OFF", "OUTLET_UNKNOWN", "REGION_UNKNOWN", "VERSION_CONFLICT", "IF_MATCH_INVALID",
        "KEY_LIMITED"
    ])))
)]
pub(super) async fn change(
    caller: Caller,
    PathOf(endpoint_id): PathOf<String>,
    precondition: Precondition,
    Body(patch): Body<WebhookPatch>,
) -> Result<Tagged<Webhook>, Problem> {
    caller.webhook(&endpoint_id)?;
    patch.check(&caller)?;
    let edit = |endpoint: &mut crate::directory::webhooks::WebhookEndpoint| patch.apply(endpoint);
    caller.change_webhook(&endpoint_id, "webhook.change", &precondition, edit).await?;
    let known = caller.webhook(&endpoint_id)?;
    Ok(Webhook::tagged(&known, caller.now().get()))
}

/// Delete an endpoint with its secrets, for ever.
#[utoipa::path(
    delete,
    path = "/api/v1/webhooks/{endpoint_id}",
    tag = "webhooks",
    operation_id = "delete_webhook",
    security(("api_key" = ["webhooks:write"])),
    params(("endpoint_id" = String, Path, example = "5b2c7f0a91d34e6688aa1020")),
    responses((status = 204, description = "It is deleted"), Problems),
    extensions(("x-codes" = json!(["WEBHOOK_UNKNOWN", "VERSION_CONFLICT", "KEY_LIMITED"])))
)]
pub(super) async fn delete(
    caller: Caller,
    PathOf(endpoint_id): PathOf<String>,
) -> Result<StatusCode, Problem> {
    caller.set_webhook_state(&endpoint_id, EndpointState::Deleted).await?;
    Ok(StatusCode::NO_CONTENT)
}
