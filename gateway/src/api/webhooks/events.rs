//! The catalogue of events.

use axum::Json;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::access::{Caller, Scope};
use crate::http::{Problem, Problems};
use crate::webhooks::catalogue::{EventType, VERSION};

/// The catalogue.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventCatalogue {
    /// It rises when an event loses or changes a field, never when one is added.
    #[schema(example = 1)]
    version: u32,
    /// The events.
    data: Vec<EventDescription>,
}

/// One event.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventDescription {
    /// Its name, as in `type`.
    #[schema(example = "invoice.sealed")]
    name: String,
    /// What it means.
    #[schema(example = "An invoice was sealed: it has its number and its signature.")]
    description: String,
    /// An example of its `data`.
    #[schema(value_type = Object, example = json!({"fiscal_number": "KIN-GOMBE-42"}))]
    example: Value,
    /// The JSON schema of its messages.
    #[schema(value_type = Object, example = json!({"title": "invoice.sealed"}))]
    schema: Value,
}

/// List the events, each with an example and a JSON schema.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/events",
    tag = "webhooks",
    operation_id = "list_webhook_events",
    security(("api_key" = ["webhooks:write"])),
    responses((status = 200, description = "The catalogue", body = EventCatalogue), Problems),
    extensions(("x-codes" = json!([])))
)]
pub(super) async fn events(caller: Caller) -> Result<Json<EventCatalogue>, Problem> {
    caller.may(Scope::WebhooksWrite)?;
    let data = EventType::ALL.iter().map(|event| EventDescription {
        name: event.as_str().to_owned(),
        description: event.description(),
        example: event.example(),
        schema: event.schema(),
    });
    Ok(Json(EventCatalogue { version: VERSION, data: data.collect() }))
}
