//! `GET /api/v1/shifts/{shift_id}`.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use fiscus_proto::ledger::{ShiftScope, x_report_request::Scope as XScope};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::IntoParams;

use super::search::Search;
use super::view::{Shift, Status};
use crate::access::{Caller, Outlet, Scope};
use crate::api::proved::prove;
use crate::http::parameters::Consistency;
use crate::http::{Parameters, PathOf, Problem, Problems};

/// Shifts that are looked at between two looks at the clock.
const SHIFTS_AT_ONCE: usize = 200;
/// With less time than this left, the search ends.
const TIME_LEFT_MIN: Duration = Duration::from_millis(500);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The outlet.
    #[param(example = "outlet-gombe")]
    outlet_id: String,
    /// `linearizable` unless asked otherwise.
    #[serde(default)]
    #[param(inline)]
    consistency: Consistency,
    /// Whether the answer carries its proof of inclusion.
    #[serde(default)]
    proof: bool,
}

/// Read a shift
///
/// With its X report: as recorded at its end, or as of now while it is open. With `proof=true` it carries the proof of
/// the record of its end, or of its opening while it is open.
#[utoipa::path(
    get,
    path = "/api/v1/shifts/{shift_id}",
    tag = "shifts",
    security(("api_key" = ["invoices:read"])),
    params(("shift_id" = String, Path, example = "till-1-2026-11-28-a"), Wanted),
    responses((status = 200, description = "The shift", body = Shift), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "SHIFT_UNKNOWN", "CHECKPOINT_PENDING"])))
)]
pub(super) async fn get(
    caller: Caller,
    PathOf(shift_id): PathOf<String>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Json<Shift>, Problem> {
    caller.may(Scope::InvoicesRead)?;
    let outlet = caller.outlet(&wanted.outlet_id)?;
    let mut search = Search::new(&outlet, wanted.consistency.into(), None);
    while search.place().is_some() {
        if outlet.time_left() < TIME_LEFT_MIN {
            return Err(too_long_ago(&shift_id));
        }
        let found = search.step(SHIFTS_AT_ONCE).await?;
        if let Some(shift) = found.into_iter().find(|shift| shift.shift_id == shift_id) {
            let mut shift = with_report(&outlet, shift, wanted.consistency).await?;
            if wanted.proof {
                prove(&caller, std::slice::from_mut(&mut shift)).await?;
            }
            return Ok(Json(shift));
        }
    }
    let detail = format!("there is no shift {shift_id:?} at outlet {:?}", outlet.id());
    Err(Problem::not_found("SHIFT_UNKNOWN", detail))
}

/// A closed shift has its report in its record.
async fn with_report(
    outlet: &Outlet,
    mut shift: Shift,
    consistency: Consistency,
) -> Result<Shift, Problem> {
    if shift.status == Status::Open {
        let scope = ShiftScope {
            terminal_id: shift.pos_terminal_id.clone(),
            shift_id: shift.shift_id.clone(),
        };
        let report = outlet.x_report(XScope::Shift(scope), consistency.into()).await?;
        let json = RawValue::from_string(report.json);
        shift.report = Some(json.map_err(|_| Problem::internal("an X report is not JSON"))?);
    }
    Ok(shift)
}

fn too_long_ago(shift_id: &str) -> Problem {
    let detail = format!(
        "shift {shift_id:?} was not found in the time that a request has; list the outlet's shifts page by page"
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "CLUSTER_UNAVAILABLE", detail)
        .retry_after(Duration::from_secs(1))
}
