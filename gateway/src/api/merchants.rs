//! `/api/v1/merchants`: legal entities with a tax number.

use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::time::when;
use crate::access::{App, Caller, MerchantChange, Once, Scope};
use crate::directory::Versioned;
use crate::directory::documents;
use crate::http::list::{Page, PageQuery};
use crate::http::{
    Body, Fields, IdempotencyKey, Parameters, PathOf, Precondition, Problem, Problems, Tagged,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, change))
}

/// A legal entity with a tax number.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Merchant {
    /// Its tax number, unique in the cluster.
    #[schema(example = "A1234567B")]
    pub nif: String,
    /// What it is called on receipts.
    #[schema(example = "Alimentation Gombe SARL")]
    pub name: String,
    /// Its number in the trade register; empty when it has none.
    #[schema(example = "CD/KNG/RCCM/21-B-01234")]
    pub rccm: String,
    /// Where it is.
    #[schema(example = "12, avenue du Commerce, Gombe, Kinshasa")]
    pub address: String,
    /// Since when it is known.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub created_at: Option<String>,
}

impl Merchant {
    fn of(known: &documents::Merchant) -> Self {
        Self {
            nif: known.nif.clone(),
            name: known.name.clone(),
            rccm: known.rccm.clone(),
            address: known.address.clone(),
            created_at: when(known.created_ms),
        }
    }

    fn tagged(known: &Versioned<documents::Merchant>) -> Tagged<Self> {
        Tagged { version: known.version.to_string(), value: Self::of(&known.value) }
    }
}

/// A merchant that is to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMerchant {
    /// Its tax number. It can never change.
    #[schema(example = "A1234567B", max_length = 64, pattern = "^[^@/ ][^/ ]*$")]
    nif: String,
    /// What it is called on receipts.
    #[schema(example = "Alimentation Gombe SARL", max_length = 200)]
    name: String,
    /// Its number in the trade register.
    #[serde(default)]
    #[schema(example = "CD/KNG/RCCM/21-B-01234", max_length = 500)]
    rccm: String,
    /// Where it is.
    #[serde(default)]
    #[schema(example = "12, avenue du Commerce, Gombe, Kinshasa", max_length = 500)]
    address: String,
}

/// What changes of a merchant; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MerchantPatch {
    /// What it is called on receipts from now on.
    #[schema(example = "Alimentation Gombe SA", max_length = 200)]
    name: Option<String>,
    /// Its number in the trade register.
    #[schema(example = "CD/KNG/RCCM/26-B-00077", max_length = 500)]
    rccm: Option<String>,
    /// Where it is.
    #[schema(example = "3, boulevard du 30 Juin, Kinshasa", max_length = 500)]
    address: Option<String>,
}

/// List merchants. A key that is limited sees those of its outlets.
#[utoipa::path(
    get,
    path = "/api/v1/merchants",
    tag = "merchants",
    security(("api_key" = ["registry:read"])),
    params(PageQuery),
    responses((status = 200, description = "A page, by tax number", body = Page<Merchant>), Problems)
)]
async fn list(
    caller: Caller,
    Parameters(query): Parameters<PageQuery>,
) -> Result<Page<Merchant>, Problem> {
    caller.may(Scope::RegistryRead)?;
    let all = caller.merchants().into_iter();
    let all = all.map(|known| (known.value.nif.clone(), known)).collect();
    query.page(all, caller.directory_as_of(), |known| Merchant::of(&known.value))
}

/// Register a merchant.
///
/// A tax number belongs to one merchant in the whole cluster; one that is taken is refused, whoever has it.
#[utoipa::path(
    post,
    path = "/api/v1/merchants",
    tag = "merchants",
    security(("api_key" = ["registry:write"])),
    params(("Idempotency-Key" = String, Header, description = "A new one for each merchant")),
    request_body = NewMerchant,
    responses(
        (status = 201, description = "Registered now", body = Merchant),
        (status = 200, description = "Registered before, under this key", body = Merchant),
        Problems,
    ),
    extensions(("x-codes" = json!(["MERCHANT_EXISTS", "KEY_LIMITED", "REGISTRY_FULL"])))
)]
async fn create(
    caller: Caller,
    key: IdempotencyKey,
    Body(new): Body<NewMerchant>,
) -> Result<Response, Problem> {
    caller.may_all(Scope::RegistryWrite)?;
    let mut fields = Fields::default();
    fields.id("/nif", &new.nif);
    fields.name("/name", &new.name);
    fields.text("/rccm", &new.rccm);
    fields.text("/address", &new.address);
    fields.finish()?;
    let once = Once::new("merchant", &key, &new);
    let merchant = documents::Merchant {
        nif: new.nif,
        organisation: String::new(),
        name: new.name,
        rccm: new.rccm,
        address: new.address,
        created_ms: 0,
    };
    let made = caller.make_merchant(merchant, &once).await?;
    let known = caller.merchant(&made.id)?;
    Ok((made.status(), Merchant::tagged(&known)).into_response())
}

/// Read a merchant.
#[utoipa::path(
    get,
    path = "/api/v1/merchants/{nif}",
    tag = "merchants",
    security(("api_key" = ["registry:read"])),
    params(("nif" = String, Path, example = "A1234567B")),
    responses(
        (status = 200, description = "The merchant; its version is the ETag", body = Merchant),
        Problems,
    ),
    extensions(("x-codes" = json!(["MERCHANT_UNKNOWN"])))
)]
async fn get(caller: Caller, PathOf(nif): PathOf<String>) -> Result<Tagged<Merchant>, Problem> {
    caller.may(Scope::RegistryRead)?;
    caller.merchant(&nif).map(|known| Merchant::tagged(&known))
}

/// Change a merchant's name, trade register number or address.
#[utoipa::path(
    patch,
    path = "/api/v1/merchants/{nif}",
    tag = "merchants",
    security(("api_key" = ["registry:write"])),
    params(
        ("nif" = String, Path, example = "A1234567B"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is changed"),
    ),
    request_body = MerchantPatch,
    responses((status = 200, description = "As it is now", body = Merchant), Problems),
    extensions(("x-codes" = json!(["MERCHANT_UNKNOWN", "VERSION_CONFLICT", "IF_MATCH_INVALID", "KEY_LIMITED"])))
)]
async fn change(
    caller: Caller,
    PathOf(nif): PathOf<String>,
    precondition: Precondition,
    Body(patch): Body<MerchantPatch>,
) -> Result<Tagged<Merchant>, Problem> {
    caller.may_all(Scope::RegistryWrite)?;
    let mut fields = Fields::default();
    if let Some(name) = &patch.name {
        fields.name("/name", name);
    }
    for (pointer, text) in [("/rccm", &patch.rccm), ("/address", &patch.address)] {
        text.iter().for_each(|text| fields.text(pointer, text));
    }
    fields.finish()?;
    let wanted = MerchantChange { name: patch.name, rccm: patch.rccm, address: patch.address };
    caller.change_merchant(&nif, &wanted, &precondition).await?;
    caller.merchant(&nif).map(|known| Merchant::tagged(&known))
}
