//! `POST /api/v1/outlets/{outlet_id}/suspend`, `/resume`, `/close` and `/signing-mode`.

use fiscus_ledger::facts::{OutletStatus, SigningMode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::view::Outlet;
use crate::access::{Caller, Once, OutletSwitch};
use crate::http::{Body, IdempotencyKey, PathOf, Precondition, Problem, Problems, Tagged};

async fn switch(
    caller: &Caller,
    outlet_id: &str,
    wanted: (OutletSwitch, &'static str),
    key: &IdempotencyKey,
    precondition: &Precondition,
) -> Result<Tagged<Outlet>, Problem> {
    let (switch, operation) = wanted;
    let once = Once::new(operation, key, &outlet_id);
    caller.switch_outlet(outlet_id, switch, &once, precondition).await?;
    caller.outlet(outlet_id).map(|outlet| Outlet::tagged(&outlet))
}

/// Suspend an outlet: nothing is sealed for it until it is resumed.
#[utoipa::path(
    post,
    path = "/api/v1/outlets/{outlet_id}/suspend",
    tag = "outlets",
    security(("api_key" = ["registry:write"])),
    params(
        ("outlet_id" = String, Path, example = "outlet-gombe"),
        ("Idempotency-Key" = String, Header, description = "A new one for each time"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is changed"),
    ),
    responses((status = 200, description = "As it is now; its group knows", body = Outlet), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "OUTLET_CLOSED", "VERSION_CONFLICT", "IF_MATCH_INVALID"])))
)]
pub(super) async fn suspend(
    caller: Caller,
    PathOf(outlet_id): PathOf<String>,
    key: IdempotencyKey,
    precondition: Precondition,
) -> Result<Tagged<Outlet>, Problem> {
    let wanted = (OutletSwitch::Status(OutletStatus::Suspended), "outlet-suspend");
    switch(&caller, &outlet_id, wanted, &key, &precondition).await
}

/// Let a suspended outlet seal again.
#[utoipa::path(
    post,
    path = "/api/v1/outlets/{outlet_id}/resume",
    tag = "outlets",
    security(("api_key" = ["registry:write"])),
    params(
        ("outlet_id" = String, Path, example = "outlet-gombe"),
        ("Idempotency-Key" = String, Header, description = "A new one for each time"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is changed"),
    ),
    responses((status = 200, description = "As it is now; its group knows", body = Outlet), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "OUTLET_CLOSED", "VERSION_CONFLICT", "IF_MATCH_INVALID"])))
)]
pub(super) async fn resume(
    caller: Caller,
    PathOf(outlet_id): PathOf<String>,
    key: IdempotencyKey,
    precondition: Precondition,
) -> Result<Tagged<Outlet>, Problem> {
    let wanted = (OutletSwitch::Status(OutletStatus::Active), "outlet-resume");
    switch(&caller, &outlet_id, wanted, &key, &precondition).await
}

/// Close an outlet for ever. Its journal stays, and its numbers are never given away again.
#[utoipa::path(
    post,
    path = "/api/v1/outlets/{outlet_id}/close",
    tag = "outlets",
    security(("api_key" = ["registry:write"])),
    params(
        ("outlet_id" = String, Path, example = "outlet-gombe"),
        ("Idempotency-Key" = String, Header, description = "A new one for each time"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is changed"),
    ),
    responses((status = 200, description = "As it is now; its group knows", body = Outlet), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "VERSION_CONFLICT", "IF_MATCH_INVALID", "KEY_LIMITED"])))
)]
pub(super) async fn close(
    caller: Caller,
    PathOf(outlet_id): PathOf<String>,
    key: IdempotencyKey,
    precondition: Precondition,
) -> Result<Tagged<Outlet>, Problem> {
    let wanted = (OutletSwitch::Status(OutletStatus::Closed), "outlet-close");
    switch(&caller, &outlet_id, wanted, &key, &precondition).await
}

/// Who shall seal for the outlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SigningMode)]
pub(super) enum Mode {
    /// The ledger.
    Cluster,
    /// A real fiscal device.
    Def,
}

/// A change of who seals.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SigningModeChange {
    /// `cluster` or `def`.
    pub mode: Mode,
}

/// Let the ledger, or a real fiscal device, seal for an outlet. The journal states the last number of each series; none
/// is interrupted, and what is left to import of a device is imported in either mode.
#[utoipa::path(
    post,
    path = "/api/v1/outlets/{outlet_id}/signing-mode",
    tag = "outlets",
    security(("api_key" = ["registry:write"])),
    params(
        ("outlet_id" = String, Path, example = "outlet-gombe"),
        ("Idempotency-Key" = String, Header, description = "A new one for each time"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is changed"),
    ),
    request_body(content = SigningModeChange, example = json!({"mode": "def"})),
    responses((status = 200, description = "As it is now; its group knows", body = Outlet), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "VERSION_CONFLICT", "IF_MATCH_INVALID"])))
)]
pub(super) async fn signing_mode(
    caller: Caller,
    PathOf(outlet_id): PathOf<String>,
    key: IdempotencyKey,
    precondition: Precondition,
    Body(change): Body<SigningModeChange>,
) -> Result<Tagged<Outlet>, Problem> {
    let wanted = match change.mode {
        Mode::Cluster => (SigningMode::Cluster, "outlet-seal-in-cluster"),
        Mode::Def => (SigningMode::Def, "outlet-seal-by-device"),
    };
    let wanted = (OutletSwitch::SealedBy(wanted.0), wanted.1);
    switch(&caller, &outlet_id, wanted, &key, &precondition).await
}
