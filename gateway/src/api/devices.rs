//! `/api/v1/devices`: fiscal devices of outlets. An operator registers one and gets a code; whoever installs it
//! sends the code to the device, with `CFG|INIT`, once.

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::facts::DeviceState;
use fiscus_ledger::state::outlet::Outlet as Counters;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::time::when;
use crate::access::{self, App, Caller, Once, Scope};
use crate::directory::documents::DeviceHealth;
use crate::http::list::{Page, PageQuery};
use crate::http::{Body, Fields, IdempotencyKey, Parameters, PathOf, Problem, Problems, Tagged};
use crate::standing::Standing;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get))
        .routes(routes!(replace))
        .routes(routes!(revoke))
}

/// Where a device is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DeviceState)]
pub enum State {
    /// It waits for its code.
    Registered,
    /// It seals.
    Active,
    /// Another device has taken its place.
    Replaced,
    /// It is stopped for good.
    Revoked,
}

/// A fiscal device.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Device {
    /// Its id, unique for ever.
    #[schema(example = "def-gombe-1")]
    pub device_id: String,
    /// The one outlet that it seals for.
    #[schema(example = "outlet-gombe")]
    pub outlet_id: String,
    /// What it is called.
    #[schema(example = "Caisse centrale")]
    pub name: String,
    /// Where it is in its life.
    pub state: State,
    /// The device that has taken its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "def-gombe-2")]
    pub replaced_by: Option<String>,
    /// Its public key in base64, from its activation on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=")]
    pub public_key: Option<String>,
    /// Since when it is known.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub created_at: Option<String>,
    /// How it is, when its proxy has told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<DeviceHealth>,
    /// How it stands, in four colours, with drift and warnings; not there once it was replaced or revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
}

impl Device {
    pub(super) fn of(caller: &Caller, known: &access::Device, counters: Option<&Counters>) -> Self {
        let fact = &known.fact.value;
        let profile = known.profile.as_ref().map(|profile| &profile.value);
        let (state, replaced_by) = match &fact.state {
            DeviceState::Registered => (State::Registered, None),
            DeviceState::Active => (State::Active, None),
            DeviceState::Replaced { by } => (State::Replaced, Some(by.to_string())),
            DeviceState::Revoked => (State::Revoked, None),
        };
        Self {
            device_id: fact.device_id.to_string(),
            outlet_id: fact.outlet_id.to_string(),
            name: profile.map_or_else(String::new, |profile| profile.name.clone()),
            state,
            replaced_by,
            public_key: (!fact.public_key.is_empty()).then(|| encode_standard(&fact.public_key)),
            created_at: when(profile.map_or(0, |profile| profile.created_ms)),
            health: known.health.as_ref().map(|health| health.value.clone()),
            standing: caller.standing(known, counters),
        }
    }

    /// Reads it, with its outlet's counters.
    async fn tagged(caller: &Caller, device_id: &str) -> Result<Tagged<Self>, Problem> {
        let known = caller.device(device_id)?;
        let counters = caller.counters_of(std::slice::from_ref(&known)).await;
        let counters = counters.get(&*known.fact.value.outlet_id);
        Ok(Tagged { version: known.version(), value: Self::of(caller, &known, counters) })
    }
}

/// A device with the code that activates it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RegisteredDevice {
    /// The device.
    #[serde(flatten)]
    pub device: Device,
    /// For `CFG|INIT`, once. It is kept nowhere; the same request under the same Idempotency-Key and API key tells
    /// it again.
    #[schema(example = "def-gombe-1/7F3K-9QHM-2T5W-XA6E")]
    pub activation_code: String,
}

/// A device that is to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDevice {
    /// Its id: its serial number.
    #[schema(example = "def-gombe-1", max_length = 64, pattern = "^[^@/ ][^/ ]*$")]
    device_id: String,
    /// The one outlet that it will seal for.
    #[schema(example = "outlet-gombe")]
    outlet_id: String,
    /// What it is called.
    #[schema(example = "Caisse centrale", max_length = 200)]
    name: String,
}

/// A device that takes another one's place.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// Its id: its serial number.
    #[schema(example = "def-gombe-2", max_length = 64, pattern = "^[^@/ ][^/ ]*$")]
    device_id: String,
    /// What it is called.
    #[schema(example = "Caisse centrale", max_length = 200)]
    name: String,
}

/// Of which outlet, and which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Only this outlet's.
    #[param(example = "outlet-gombe")]
    outlet_id: Option<String>,
    /// How many items; 50 unless asked otherwise.
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List devices of the outlets that the key reaches, and how each stands: online, syncing, offline or blocked.
#[utoipa::path(
    get,
    path = "/api/v1/devices",
    tag = "devices",
    security(("api_key" = ["registry:read"])),
    params(Wanted),
    responses((status = 200, description = "A page, by id", body = Page<Device>), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN"])))
)]
async fn list(
    caller: Caller,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Page<Device>, Problem> {
    caller.may(Scope::RegistryRead)?;
    let mut all = caller.devices();
    if let Some(outlet_id) = &wanted.outlet_id {
        caller.outlet(outlet_id)?;
        all.retain(|(_, known)| *known.fact.value.outlet_id == **outlet_id);
    }
    let query = PageQuery { limit: wanted.limit, cursor: wanted.cursor };
    let Page { data, next_cursor, as_of } =
        query.page(all, caller.directory_as_of(), |known| known)?;
    let counters = caller.counters_of(&data).await;
    let of = |known: &access::Device| {
        Device::of(&caller, known, counters.get(&*known.fact.value.outlet_id))
    };
    Ok(Page { data: data.iter().map(of).collect(), next_cursor, as_of })
}

/// Register a device, and get the code that activates it.
#[utoipa::path(
    post,
    path = "/api/v1/devices",
    tag = "devices",
    security(("api_key" = ["registry:write"])),
    params(("Idempotency-Key" = String, Header, description = "A new one for each device")),
    request_body = NewDevice,
    responses(
        (status = 201, description = "Registered now", body = RegisteredDevice),
        (status = 200, description = "Registered before, under this key", body = RegisteredDevice),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "DEVICE_EXISTS", "REGISTRY_FULL"])))
)]
async fn create(
    caller: Caller,
    key: IdempotencyKey,
    Body(new): Body<NewDevice>,
) -> Result<Response, Problem> {
    caller.may(Scope::RegistryWrite)?;
    check(&new.device_id, &new.name)?;
    let once = Once::new("device", &key, &new);
    let made = caller.make_device(&new.outlet_id, &new.device_id, &new.name, &once).await?;
    registered(&caller, &new.device_id, made)
}

/// Read a device.
#[utoipa::path(
    get,
    path = "/api/v1/devices/{device_id}",
    tag = "devices",
    security(("api_key" = ["registry:read"])),
    params(("device_id" = String, Path, example = "def-gombe-1")),
    responses(
        (status = 200, description = "The device; its version is the ETag", body = Device),
        Problems,
    ),
    extensions(("x-codes" = json!(["DEVICE_UNKNOWN"])))
)]
async fn get(caller: Caller, PathOf(device_id): PathOf<String>) -> Result<Tagged<Device>, Problem> {
    caller.may(Scope::RegistryRead)?;
    Device::tagged(&caller, &device_id).await
}

/// Take a device out of service, for ever, and register another one for the same outlet.
#[utoipa::path(
    post,
    path = "/api/v1/devices/{device_id}/replace",
    tag = "devices",
    security(("api_key" = ["registry:write"])),
    params(
        ("device_id" = String, Path, example = "def-gombe-1"),
        ("Idempotency-Key" = String, Header, description = "A new one for each time"),
    ),
    request_body = Replacement,
    responses(
        (status = 201, description = "Replaced now; the new device", body = RegisteredDevice),
        (status = 200, description = "Replaced before, under this key", body = RegisteredDevice),
        Problems,
    ),
    extensions(("x-codes" = json!(["DEVICE_UNKNOWN", "DEVICE_EXISTS", "DEVICE_TRANSITION", "REGISTRY_FULL"])))
)]
async fn replace(
    caller: Caller,
    PathOf(device_id): PathOf<String>,
    key: IdempotencyKey,
    Body(new): Body<Replacement>,
) -> Result<Response, Problem> {
    caller.may(Scope::RegistryWrite)?;
    check(&new.device_id, &new.name)?;
    let once = Once::new("device-replace", &key, &(&device_id, &new));
    let made = caller.replace_device(&device_id, &new.device_id, &new.name, &once).await?;
    registered(&caller, &new.device_id, made)
}

/// Revoke a device, for ever: it answers `DEVICE_REVOKED` within a second.
#[utoipa::path(
    post,
    path = "/api/v1/devices/{device_id}/revoke",
    tag = "devices",
    security(("api_key" = ["registry:write"])),
    params(
        ("device_id" = String, Path, example = "def-gombe-1"),
        ("Idempotency-Key" = String, Header, description = "A new one for each time"),
    ),
    responses((status = 200, description = "As it is now", body = Device), Problems),
    extensions(("x-codes" = json!(["DEVICE_UNKNOWN", "DEVICE_TRANSITION"])))
)]
async fn revoke(
    caller: Caller,
    PathOf(device_id): PathOf<String>,
    key: IdempotencyKey,
) -> Result<Tagged<Device>, Problem> {
    let once = Once::new("device-revoke", &key, &device_id);
    caller.revoke_device(&device_id, &once).await?;
    Device::tagged(&caller, &device_id).await
}

fn check(device_id: &str, name: &str) -> Result<(), Problem> {
    let mut fields = Fields::default();
    fields.id("/device_id", device_id);
    fields.name("/name", name);
    fields.finish()
}

/// What was made, with its code, which no cache is to keep.
fn registered(
    caller: &Caller,
    device_id: &str,
    (made, activation_code): (access::Made, String),
) -> Result<Response, Problem> {
    let known = caller.device(device_id)?;
    let body = RegisteredDevice { device: Device::of(caller, &known, None), activation_code };
    Ok((made.status(), [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}
