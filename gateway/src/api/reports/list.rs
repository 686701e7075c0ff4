//! `GET /api/v1/reports`.

use fiscus_proto::ledger::JournalRecord;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::view::{Kind, Report};
use crate::access::{Caller, Outlet, Scope};
use crate::api::moments::{Bound, moment};
use crate::api::proved::prove;
use crate::http::list::{AsOf, Page, cursor_invalid, limit_proved, read_cursor, write_cursor};
use crate::http::parameters::{Consistency, invalid};
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
    /// Only reports of this type.
    #[serde(rename = "type")]
    #[param(inline)]
    kind: Option<Kind>,
    /// Made not before, a time or a day (UTC).
    #[param(example = "2026-11-01")]
    from: Option<String>,
    /// Made before this time, or by the end of this day (UTC).
    #[param(example = "2026-11-30")]
    to: Option<String>,
    /// Items of a page, 1 to 500; 50 unless asked otherwise.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// Where the page begins, from the one before.
    cursor: Option<String>,
    /// `linearizable` unless asked otherwise.
    #[serde(default)]
    #[param(inline)]
    consistency: Consistency,
    /// Whether each Z carries the proof of its record; a page then has at most 100 items. X and A are no records.
    #[serde(default)]
    proof: bool,
}

/// Where a page begins: behind these of the journal's closings and of the kept reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    outlet: String,
    /// Closings below this leaf; 0 when there are no more.
    below_leaf: u64,
    /// Kept reports below this number.
    below_number: u64,
}

/// List reports
///
/// Of an outlet, the latest first: all Z, and the last hundred of X and A. They are without their text. A page may
/// have fewer items than `limit` and still a `next_cursor`. With `proof=true` each Z carries its proof.
#[utoipa::path(
    get,
    path = "/api/v1/reports",
    tag = "reports",
    security(("api_key" = ["reports:read"])),
    params(Wanted),
    responses(
        (status = 200, description = "Reports", body = Page<Report>, headers(("As-Of" = String, description = "The position that this is as of"))),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "CHECKPOINT_PENDING"])))
)]
pub(super) async fn list(
    caller: Caller,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Page<Report>, Problem> {
    caller.may(Scope::ReportsRead)?;
    let outlet = caller.outlet(&wanted.outlet_id)?;
    let most = limit_proved(wanted.limit, wanted.proof)?;
    let place = match wanted.cursor.as_deref().map(read_cursor::<Place>).transpose()? {
        Some(place) if place.outlet != outlet.id() => return Err(cursor_invalid()),
        place => place,
    };
    let time = |text: &Option<String>, name, bound| match text.as_deref() {
        None => Ok(0),
        // 0 would leave the end open.
        Some(text) => moment(text, bound)
            .map(|moment| moment.get().max(1))
            .ok_or_else(|| invalid(name, "must be a day or an RFC 3339 time")),
    };
    let times = (time(&wanted.from, "from", Bound::First)?, time(&wanted.to, "to", Bound::Last)?);
    let kept = kept(&caller, &outlet, &wanted, times, place.as_ref()).await?;
    let closures = match (&place, wanted.kind) {
        (_, Some(Kind::X | Kind::A)) | (Some(Place { below_leaf: 0, .. }), _) => {
            Closures { found: Vec::new(), next: 0, as_of: None }
        }
        _ => {
            let below = place.as_ref().map_or(0, |place| place.below_leaf);
            closures(&outlet, below, times, most, wanted.consistency).await?
        }
    };
    let mut page = merge(&outlet, most, kept, closures, place)?;
    if page.as_of.is_empty() {
        page.as_of.push(caller.directory_as_of());
    }
    if wanted.proof {
        prove(&caller, &mut page.data).await?;
    }
    Ok(page)
}

/// Closings of the day, the latest first.
struct Closures {
    found: Vec<JournalRecord>,
    /// Where the next ones begin; 0 at the end.
    next: u64,
    as_of: Option<AsOf>,
}

async fn closures(
    outlet: &Outlet,
    mut below: u64,
    times: (u64, u64),
    most: usize,
    consistency: Consistency,
) -> Result<Closures, Problem> {
    let mut all = Closures { found: Vec::new(), next: 0, as_of: None };
    for _ in 0..CALLS_MAX {
        let room = u32::try_from(most - all.found.len()).unwrap_or(u32::MAX);
        let answer = outlet.closures(below, times, room, consistency.into()).await?;
        all.found.extend(answer.records);
        all.as_of = all.as_of.or(answer.as_of.as_ref().map(AsOf::from));
        all.next = answer.next_leaf.unwrap_or(0);
        below = all.next;
        if below == 0 || all.found.len() >= most {
            break;
        }
    }
    Ok(all)
}

/// The kept reports that are asked for, the latest first.
async fn kept(
    caller: &Caller,
    outlet: &Outlet,
    wanted: &Wanted,
    (from, until): (u64, u64),
    place: Option<&Place>,
) -> Result<Vec<(u64, u64, Report)>, Problem> {
    if wanted.kind == Some(Kind::Z) {
        return Ok(Vec::new());
    }
    let below = place.map_or(u64::MAX, |place| place.below_number);
    let all = caller.kept_reports(outlet, wanted.consistency.into()).await?;
    let own = all.into_iter().filter(|(number, kept)| {
        *number < below && kept.made_ms >= from && (until == 0 || kept.made_ms < until)
    });
    let reports =
        own.map(|(number, kept)| (kept.made_ms, number, Report::of_kept(outlet, number, &kept)));
    Ok(reports
        .filter(|(_, _, report)| wanted.kind.is_none_or(|kind| kind == report.kind))
        .collect())
}

/// Both in the order of their times, and where the next page begins.
fn merge(
    outlet: &Outlet,
    most: usize,
    kept: Vec<(u64, u64, Report)>,
    closures: Closures,
    place: Option<Place>,
) -> Result<Page<Report>, Problem> {
    let (mut data, mut kept) = (Vec::new(), kept.into_iter().peekable());
    let mut below_number = place.map_or(u64::MAX, |place| place.below_number);
    let mut below_leaf = closures.next;
    let mut closed = Vec::with_capacity(closures.found.len());
    for sealed in &closures.found {
        let report = Report::of_closure(outlet, sealed)?;
        let report = report.ok_or_else(|| Problem::internal("a record is no closing"))?;
        let time = fiscus_ledger::time::UnixMs::parse_canonical(&report.generated_at);
        closed.push((time.map_or(0, |time| time.get()), sealed.leaf, report.listed()));
    }
    let mut closed = closed.into_iter().peekable();
    while data.len() < most {
        let newer = match (closed.peek(), kept.peek()) {
            (Some((z, ..)), Some((x, ..))) => z >= x,
            (Some(_), None) => true,
            // What is kept may be older than closings that were not looked at yet.
            (None, Some(_)) if closures.next != 0 => break,
            (None, Some(_)) => false,
            (None, None) => break,
        };
        if newer {
            data.extend(closed.next().map(|(_, _, report)| report));
        } else if let Some((_, number, report)) = kept.next() {
            below_number = number;
            data.push(report);
        }
    }
    // A closing that did not fit is the first of the next page.
    if let Some((_, leaf, _)) = closed.peek() {
        below_leaf = leaf + 1;
    }
    let more = below_leaf != 0 || kept.peek().is_some();
    let outlet = outlet.id().to_owned();
    let next_cursor = more.then(|| write_cursor(&Place { outlet, below_leaf, below_number }));
    Ok(Page { data, next_cursor, as_of: closures.as_of.into_iter().collect() })
}
