//! `POST /api/v1/invoices/{fiscal_number}/upload`, `/api/v1/outlets/{outlet_id}/upload` and
//! `/api/v1/regions/{region_id}/upload`: what the tax authority has refused is sent again.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{App, Caller, Scope};
use crate::http::{PathOf, Problem, Problems};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(retry_invoice))
        .routes(routes!(retry_outlet))
        .routes(routes!(retry_region))
}

/// What was asked for.
#[derive(Debug, Serialize, ToSchema)]
struct UploadRetry {
    /// So many invoices are sent again.
    #[schema(example = 1)]
    invoices: u64,
}

/// Send an invoice to the tax authority again
///
/// One that is `rejected` or `failed`, once what was wrong is corrected there. Asked for twice, it is sent once. What was
/// sealed never changes: where the invoice itself is wrong, seal a credit note and a new one.
#[utoipa::path(
    post,
    path = "/api/v1/invoices/{fiscal_number}/upload",
    tag = "invoices",
    operation_id = "retry_invoice_upload",
    security(("api_key" = ["registry:write"])),
    params(("fiscal_number" = String, Path, example = "KIN-GOMBE-1")),
    responses((status = 200, description = "It is sent again", body = UploadRetry), Problems),
    extensions(("x-codes" = json!(["INVOICE_UNKNOWN", "UPLOAD_NOT_REFUSED", "UPLOAD_NOT_LIVE", "NO_AUTHORITY"])))
)]
async fn retry_invoice(
    caller: Caller,
    PathOf(fiscal_number): PathOf<String>,
) -> Result<Json<UploadRetry>, Problem> {
    caller.may(Scope::RegistryWrite)?;
    let outlet = caller.outlet_of_number(&fiscal_number)?;
    let invoices = outlet.retry_uploads(Some(&fiscal_number), &caller.key().id).await?;
    Ok(Json(UploadRetry { invoices }))
}

/// Send everything of an outlet again that the tax authority has refused
///
/// An outlet is one branch: the two are the same here. Nothing is sent twice when nothing is refused.
#[utoipa::path(
    post,
    path = "/api/v1/outlets/{outlet_id}/upload",
    tag = "outlets",
    operation_id = "retry_outlet_uploads",
    security(("api_key" = ["registry:write"])),
    params(("outlet_id" = String, Path, example = "outlet-gombe")),
    responses((status = 200, description = "So many are sent again", body = UploadRetry), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "UPLOAD_NOT_REFUSED", "UPLOAD_NOT_LIVE", "NO_AUTHORITY"])))
)]
async fn retry_outlet(
    caller: Caller,
    PathOf(outlet_id): PathOf<String>,
) -> Result<Json<UploadRetry>, Problem> {
    caller.may(Scope::RegistryWrite)?;
    let outlet = caller.outlet(&outlet_id)?;
    let invoices = outlet.retry_uploads(None, &caller.key().id).await?;
    Ok(Json(UploadRetry { invoices }))
}

/// Send everything of a region again that the tax authority has refused
///
/// Of all outlets of the region that the key is for. Where it breaks off, what was asked for stays asked for: ask again, and
/// nothing is sent twice.
#[utoipa::path(
    post,
    path = "/api/v1/regions/{region_id}/upload",
    tag = "regions",
    operation_id = "retry_region_uploads",
    security(("api_key" = ["registry:write"])),
    params(("region_id" = String, Path, example = "kinshasa")),
    responses((status = 200, description = "So many are sent again", body = UploadRetry), Problems),
    extensions(("x-codes" = json!(["REGION_UNKNOWN", "UPLOAD_NOT_REFUSED", "UPLOAD_NOT_LIVE", "NO_AUTHORITY"])))
)]
async fn retry_region(
    caller: Caller,
    PathOf(region_id): PathOf<String>,
) -> Result<Json<UploadRetry>, Problem> {
    caller.may(Scope::RegistryWrite)?;
    caller.region(&region_id)?;
    let mut invoices = 0;
    for outlet in caller.outlets().iter().filter(|it| it.entry().region() == region_id) {
        invoices += outlet.retry_uploads(None, &caller.key().id).await?;
    }
    Ok(Json(UploadRetry { invoices }))
}
