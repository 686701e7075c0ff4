//! `PATCH /api/v1/outlets/{outlet_id}`.

use serde::Deserialize;
use utoipa::ToSchema;

use super::view::Outlet;
use crate::access::{Caller, OutletChange, Scope};
use crate::http::{Body, Fields, PathOf, Precondition, Problem, Problems, Tagged};

/// What changes of an outlet; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutletPatch {
    /// What it is called.
    #[schema(example = "Gombe centre", max_length = 200)]
    name: Option<String>,
    /// Where it is.
    #[schema(example = "14, avenue du Commerce, Gombe, Kinshasa", max_length = 500)]
    address: Option<String>,
    /// Its telephone.
    #[schema(example = "+243 81 000 0001", max_length = 500)]
    phone: Option<String>,
    /// Its region; none when it is empty.
    #[schema(example = "kinshasa")]
    region_id: Option<String>,
}

/// Change an outlet's name, address, telephone or region.
#[utoipa::path(
    patch,
    path = "/api/v1/outlets/{outlet_id}",
    tag = "outlets",
    security(("api_key" = ["registry:write"])),
    params(
        ("outlet_id" = String, Path, example = "outlet-gombe"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is changed"),
    ),
    request_body = OutletPatch,
    responses((status = 200, description = "As it is now", body = Outlet), Problems),
    extensions(("x-codes" = json!([
        "OUTLET_UNKNOWN", "REGION_UNKNOWN", "VERSION_CONFLICT", "IF_MATCH_INVALID", "KEY_LIMITED"
    ])))
)]
pub(super) async fn change(
    caller: Caller,
    PathOf(outlet_id): PathOf<String>,
    precondition: Precondition,
    Body(patch): Body<OutletPatch>,
) -> Result<Tagged<Outlet>, Problem> {
    caller.may(Scope::RegistryWrite)?;
    let mut fields = Fields::default();
    if let Some(name) = &patch.name {
        fields.name("/name", name);
    }
    for (pointer, text) in [("/address", &patch.address), ("/phone", &patch.phone)] {
        text.iter().for_each(|text| fields.text(pointer, text));
    }
    fields.finish()?;
    let wanted = OutletChange {
        name: patch.name,
        address: patch.address,
        phone: patch.phone,
        region: patch.region_id,
    };
    caller.change_outlet(&outlet_id, &wanted, &precondition).await?;
    caller.outlet(&outlet_id).map(|outlet| Outlet::tagged(&outlet))
}
