//! `GET /api/v1/audit/actions`: who did what.

use std::collections::BTreeMap;

use fiscus_ledger::time::UnixMs;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{ActionQuery, App, Caller, Scope};
use crate::directory::documents;
use crate::http::list::{self, Page, read_cursor, write_cursor};
use crate::http::parameters::{Consistency, invalid};
use crate::http::{Parameters, Problem, Problems};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(actions))
}

/// One thing that somebody did.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Action {
    /// When, by the gateway's clock.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub time: String,
    /// The key that was used.
    #[schema(example = "5f0c2a9d7be4413c88")]
    pub key_id: String,
    /// What the key was called then.
    #[schema(example = "Direction")]
    pub key_name: String,
    /// What was done.
    #[schema(example = "api_key.revoke")]
    pub action: String,
    /// To what kind of thing,
    #[schema(example = "api_key")]
    pub object: String,
    /// and to which.
    #[schema(example = "77aa0c2a9d7be4413c")]
    pub object_id: String,
    /// The outlet, where it concerns one.
    #[schema(example = "outlet-gombe")]
    pub outlet_id: Option<String>,
    /// The request, as its answer named it.
    #[schema(example = "3c1f0a52b7d94e6688aa1020")]
    pub request_id: String,
    /// What else is worth knowing of it.
    #[schema(example = json!({"name": "Caisses de Gombe"}))]
    pub details: BTreeMap<String, String>,
}

impl Action {
    fn of(known: documents::Action) -> Self {
        Self {
            time: UnixMs::new(known.time_ms).to_string(),
            key_id: known.key_id,
            key_name: known.key_name,
            action: known.action,
            object: known.object,
            object_id: known.object_id,
            outlet_id: Some(known.outlet_id).filter(|id| !id.is_empty()),
            request_id: known.request_id,
            details: known.details,
        }
    }
}

/// Which actions, and which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Of which organisation; the platform's operator names one.
    #[param(example = "org-kivu-retail")]
    organization_id: Option<String>,
    /// Not before this time.
    #[param(example = "2026-11-01T00:00:00Z")]
    from: Option<String>,
    /// Before this time.
    #[param(example = "2026-12-01T00:00:00Z")]
    to: Option<String>,
    /// By which key.
    #[param(example = "5f0c2a9d7be4413c88")]
    key_id: Option<String>,
    /// What was done.
    #[param(example = "api_key.revoke")]
    action: Option<String>,
    /// To what kind of thing.
    #[param(example = "api_key")]
    object: Option<String>,
    /// To which thing.
    #[param(example = "77aa0c2a9d7be4413c")]
    object_id: Option<String>,
    /// At which outlet.
    #[param(example = "outlet-gombe")]
    outlet_id: Option<String>,
    /// How many items; 50 unless asked otherwise. There may be fewer, and more to come.
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// `linearizable` unless asked otherwise.
    #[serde(default)]
    #[param(inline)]
    consistency: Consistency,
}

#[derive(Debug, Serialize, Deserialize)]
struct Place {
    place: String,
}

fn time(name: &str, text: Option<&str>) -> Result<u64, Problem> {
    let Some(text) = text else { return Ok(0) };
    // 0 would leave the end open.
    let read = UnixMs::parse_lenient(text).map(|time| time.get().max(1));
    read.ok_or_else(|| invalid(name, format!("{name} must be a time, as in 2026-11-28T10:15:30Z")))
}

/// Find out who did what: the newest first.
///
/// Every change of the registry and of keys is here, written together with the change itself.
#[utoipa::path(
    get,
    path = "/api/v1/audit/actions",
    tag = "audit",
    security(("api_key" = ["audit:read"])),
    params(Wanted),
    responses((status = 200, description = "A page, the newest first", body = Page<Action>), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "ORGANIZATION_UNKNOWN"])))
)]
async fn actions(
    caller: Caller,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Page<Action>, Problem> {
    caller.may(Scope::AuditRead)?;
    let after = wanted.cursor.as_deref().map(read_cursor::<Place>).transpose()?;
    let query = ActionQuery {
        organization: wanted.organization_id,
        from_ms: time("from", wanted.from.as_deref())?,
        until_ms: time("to", wanted.to.as_deref())?,
        key_id: wanted.key_id,
        action: wanted.action,
        object: wanted.object,
        object_id: wanted.object_id,
        outlet_id: wanted.outlet_id,
        after: after.map(|place| place.place),
        limit: list::limit(wanted.limit)?,
    };
    let page = caller.actions(&query, wanted.consistency.into()).await?;
    let data = page.actions.into_iter().map(|(_, action)| Action::of(action)).collect();
    let next_cursor = page.next.map(|place| write_cursor(&Place { place }));
    Ok(Page { data, next_cursor, as_of: vec![page.as_of] })
}
