//! `GET /api/v1/tax-groups`.

use axum::Json;
use fiscus_ledger::invoice::GroupCode;
use fiscus_ledger::manifest::Manifest;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::{Caller, Scope};
use crate::http::{Parameters, Problem, Problems};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// A version of the table; the one in force when it is absent.
    #[param(example = "2026-02-01")]
    version: Option<String>,
}

/// A version of the tax table.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TaxTable {
    /// As invoices name it.
    #[schema(example = "2026-02-01")]
    version: String,
    /// From when on it is in force.
    #[schema(example = "2026-02-01T00:00:00.000Z")]
    effective_from: String,
    /// Whether it is in force now.
    in_force: bool,
    /// The currency that taxes are reported in.
    #[schema(example = "CDF")]
    reporting_currency: String,
    /// TG01 to TG14.
    groups: Vec<TaxGroup>,
}

/// A tax group.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TaxGroup {
    /// TG01 to TG14.
    #[schema(example = "TG02")]
    code: String,
    /// Its English name, which invoices carry.
    #[schema(example = "Standard VAT, goods")]
    name: String,
    /// Its French name.
    #[schema(example = "TVA standard, biens")]
    name_fr: String,
    /// Its rate.
    #[schema(example = "0.1600")]
    rate: String,
    /// The references that a line in it needs.
    requires: Vec<String>,
}

/// Read the tax groups
///
/// The table that invoices are taxed by now, or another version of it.
#[utoipa::path(
    get,
    path = "/api/v1/tax-groups",
    tag = "tax",
    security(("api_key" = ["registry:read"]), ("api_key" = ["invoices:seal"])),
    params(Wanted),
    responses((status = 200, description = "The table", body = TaxTable), Problems),
    extensions(("x-codes" = json!(["NO_MANIFEST", "MANIFEST_UNKNOWN"])))
)]
pub(super) async fn groups(
    caller: Caller,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Json<TaxTable>, Problem> {
    caller.may(Scope::RegistryRead).or_else(|_| caller.may(Scope::InvoicesSeal))?;
    let in_force = caller.manifest()?;
    let manifest = match &wanted.version {
        None => in_force.clone(),
        Some(version) => caller.manifest_of(version).ok_or_else(|| {
            let detail = format!("there is no version {version:?} of the tax table");
            Problem::not_found("MANIFEST_UNKNOWN", detail)
        })?,
    };
    let is_in_force = manifest.version() == in_force.version();
    Ok(Json(table(&manifest, is_in_force)))
}

fn table(manifest: &Manifest, in_force: bool) -> TaxTable {
    let groups = GroupCode::all().map(|code| {
        let group = manifest.group(code);
        TaxGroup {
            code: code.as_str().to_owned(),
            name: group.name.clone(),
            name_fr: group.name_fr.clone(),
            rate: group.rate.to_string(),
            requires: group.requires.clone(),
        }
    });
    TaxTable {
        version: manifest.version().to_owned(),
        effective_from: manifest.effective_from().to_string(),
        in_force,
        reporting_currency: manifest.reporting_currency().as_str().to_owned(),
        groups: groups.collect(),
    }
}
