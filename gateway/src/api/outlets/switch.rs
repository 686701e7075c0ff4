//! `POST /api/v1/outlets/{outlet_id}/suspend`, `/resume` and `/close`.

use fiscus_ledger::facts::OutletStatus;

use super::view::Outlet;
use crate::access::{Caller, Once};
use crate::http::{IdempotencyKey, PathOf, Precondition, Problem, Problems, Tagged};

async fn switch(
    caller: &Caller,
    outlet_id: &str,
    wanted: (OutletStatus, &'static str),
    key: &IdempotencyKey,
    precondition: &Precondition,
) -> Result<Tagged<Outlet>, Problem> {
    let (status, operation) = wanted;
    let once = Once::new(operation, key, &outlet_id);
    caller.set_outlet_status(outlet_id, status, &once, precondition).await?;
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
    let wanted = (OutletStatus::Suspended, "outlet-suspend");
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
    let wanted = (OutletStatus::Active, "outlet-resume");
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
    let wanted = (OutletStatus::Closed, "outlet-close");
    switch(&caller, &outlet_id, wanted, &key, &precondition).await
}
