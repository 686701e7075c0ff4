//! `GET /api/v1/outlets` and `GET /api/v1/outlets/{outlet_id}`.

use serde::Deserialize;
use utoipa::IntoParams;

use super::view::{Outlet, status_name};
use crate::access::{Caller, Scope};
use crate::directory::OutletEntry;
use crate::http::list::{Page, PageQuery};
use crate::http::parameters::invalid;
use crate::http::{Parameters, PathOf, Problem, Problems, Tagged};

/// Which outlets, and which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only this merchant's.
    #[param(example = "A1234567B")]
    merchant_nif: Option<String>,
    /// Only this region's.
    #[param(example = "kinshasa")]
    region_id: Option<String>,
    /// `active`, `suspended` or `closed`.
    #[param(example = "active")]
    status: Option<String>,
    /// `live` or `sandbox`.
    #[param(example = "live")]
    environment: Option<String>,
    /// How many items; 50 unless asked otherwise.
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl Wanted {
    fn check(&self) -> Result<(), Problem> {
        for (name, word, words) in [
            ("status", &self.status, &["active", "suspended", "closed"][..]),
            ("environment", &self.environment, &["live", "sandbox"]),
        ] {
            if word.as_deref().is_some_and(|word| !words.contains(&word)) {
                return Err(invalid(name, format!("{name} must be one of {}", words.join(", "))));
            }
        }
        Ok(())
    }

    fn fits(&self, entry: &OutletEntry) -> bool {
        let is = |asked: &Option<String>, known: &str| asked.as_deref().is_none_or(|a| a == known);
        let fact = &entry.fact.value;
        is(&self.merchant_nif, &fact.merchant_nif)
            && is(&self.region_id, entry.region())
            && is(&self.status, status_name(fact.status))
            && is(&self.environment, fact.environment.as_str())
    }
}

/// List the outlets that the key reaches.
#[utoipa::path(
    get,
    path = "/api/v1/outlets",
    tag = "outlets",
    security(("api_key" = ["registry:read"])),
    params(Wanted),
    responses((status = 200, description = "A page, by id", body = Page<Outlet>), Problems)
)]
pub(super) async fn list(
    caller: Caller,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Page<Outlet>, Problem> {
    caller.may(Scope::RegistryRead)?;
    wanted.check()?;
    let all = caller.outlet_entries().into_iter().filter(|entry| wanted.fits(entry));
    let all = all.map(|entry| (entry.id().to_owned(), entry)).collect();
    let query = PageQuery { limit: wanted.limit, cursor: wanted.cursor };
    query.page(all, caller.directory_as_of(), |entry| Outlet::of(&entry))
}

/// Read an outlet.
#[utoipa::path(
    get,
    path = "/api/v1/outlets/{outlet_id}",
    tag = "outlets",
    security(("api_key" = ["registry:read"])),
    params(("outlet_id" = String, Path, example = "outlet-gombe")),
    responses(
        (status = 200, description = "The outlet; its version is the ETag", body = Outlet),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN"])))
)]
pub(super) async fn get(
    caller: Caller,
    PathOf(outlet_id): PathOf<String>,
) -> Result<Tagged<Outlet>, Problem> {
    caller.may(Scope::RegistryRead)?;
    caller.outlet(&outlet_id).map(|outlet| Outlet::tagged(&outlet))
}
