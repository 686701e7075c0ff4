//! `GET /api/v1/shifts`.

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::search::{Place, Search};
use super::view::{Shift, Status};
use crate::access::{Caller, Scope};
use crate::api::proved::prove;
use crate::http::list::{AsOf, Page, cursor_invalid, limit_proved, read_cursor, write_cursor};
use crate::http::parameters::Consistency;
use crate::http::{Parameters, Problem, Problems};

/// Calls to the cluster that one page makes at most.
const CALLS_MAX: usize = 8;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The outlet.
    #[param(example = "outlet-gombe")]
    outlet_id: String,
    /// Only those.
    #[param(inline)]
    status: Option<Status>,
    /// Items of a page, 1 to 500; 50 unless asked otherwise.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// Where the page begins, from the one before.
    cursor: Option<String>,
    /// `linearizable` unless asked otherwise.
    #[serde(default)]
    #[param(inline)]
    consistency: Consistency,
    /// Whether each shift carries its proof of inclusion; a page then has at most 100 items.
    #[serde(default)]
    proof: bool,
}

/// What a cursor carries.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    outlet: String,
    status: Option<Status>,
    place: Place,
}

/// List shifts
///
/// Open ones and closed ones of an outlet, the latest first. A page may have fewer items than `limit` and still a
/// `next_cursor`. With `proof=true` each carries the proof of the record of its end, or of its opening while it is open.
#[utoipa::path(
    get,
    path = "/api/v1/shifts",
    tag = "shifts",
    security(("api_key" = ["invoices:read"])),
    params(Wanted),
    responses(
        (status = 200, description = "Shifts", body = Page<Shift>, headers(("As-Of" = String, description = "The position that this is as of"))),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "CHECKPOINT_PENDING"])))
)]
pub(super) async fn list(
    caller: Caller,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Page<Shift>, Problem> {
    caller.may(Scope::InvoicesRead)?;
    let outlet = caller.outlet(&wanted.outlet_id)?;
    let most = limit_proved(wanted.limit, wanted.proof)?;
    let from = match wanted.cursor.as_deref().map(read_cursor::<Cursor>).transpose()? {
        Some(cursor) if cursor.outlet != outlet.id() || cursor.status != wanted.status => {
            return Err(cursor_invalid());
        }
        cursor => cursor.map(|cursor| cursor.place),
    };
    let mut search = Search::new(&outlet, wanted.consistency.into(), from);
    let mut data = Vec::new();
    for _ in 0..CALLS_MAX {
        // Each call brings at most as many as the page has room for, so none is dropped.
        let found = search.step(most - data.len()).await?;
        let wanted = |shift: &Shift| wanted.status.is_none_or(|status| status == shift.status);
        data.extend(found.into_iter().filter(wanted));
        if data.len() == most || search.place().is_none() {
            break;
        }
    }
    if wanted.proof {
        prove(&caller, &mut data).await?;
    }
    let next_cursor = search.place().map(|place| {
        let (outlet, place) = (outlet.id().to_owned(), place.clone());
        write_cursor(&Cursor { outlet, status: wanted.status, place })
    });
    Ok(Page { data, next_cursor, as_of: search.as_of.iter().map(AsOf::from).collect() })
}
