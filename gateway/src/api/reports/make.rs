//! `POST /api/v1/reports`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fiscus_ledger::facts::is_identifier;
use fiscus_ledger::hash::hex;
use fiscus_proto::ledger::{
    OutletScope, ShiftScope, TerminalScope, x_report_request::Scope as Wire,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::view::{Kind, Report, unknown};
use crate::access::{
    Caller, KeptContent, KeptReport, KeptText, NewReport, Once, Outlet, RangeAsked, Scope,
};
use crate::api::moments::{Bound, moment};
use crate::http::{Body, IdempotencyKey, Problem, Problems};

/// What an X looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum XScope {
    /// The outlet since its last Z.
    #[default]
    Outlet,
    /// A shift since it was opened.
    Shift,
    /// Whatever shift is open at a terminal.
    Terminal,
}

/// Which report is made of what. Beside `type` and `outlet_id`, a Z takes `operator`; an X `scope`,
/// `pos_terminal_id` and `shift_id`; an A one pair of bounds, and the whole journal without one.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportRequest {
    /// Which report.
    #[serde(rename = "type")]
    kind: Kind,
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    outlet_id: String,
    /// Of a Z: who closes the day. The key's name unless said.
    #[schema(example = "cashier-7", max_length = 64)]
    #[serde(default)]
    operator: Option<String>,
    /// Of an X: what it looks at; `outlet` unless said.
    #[serde(default)]
    scope: Option<XScope>,
    /// Of an X of a shift or a terminal.
    #[schema(example = "till-1", max_length = 64)]
    #[serde(default)]
    pos_terminal_id: Option<String>,
    /// Of an X of a shift.
    #[schema(example = "till-1-2026-11-28-a", max_length = 64)]
    #[serde(default)]
    shift_id: Option<String>,
    /// Of an A: not before, a time or a day (UTC).
    #[schema(example = "2026-11-01")]
    #[serde(default)]
    from: Option<String>,
    /// Of an A: up to this time, which is not included, or to the end of this day (UTC).
    #[schema(example = "2026-11-30")]
    #[serde(default)]
    to: Option<String>,
    /// Of an A: from the invoice with this number.
    #[serde(default)]
    #[schema(minimum = 1)]
    from_sequence: Option<u64>,
    /// Of an A: to the invoice with this number.
    #[serde(default)]
    #[schema(minimum = 1)]
    to_sequence: Option<u64>,
    /// Of an A: from this position in the journal.
    #[serde(default)]
    #[schema(minimum = 1)]
    from_position: Option<u64>,
    /// Of an A: to this position in the journal.
    #[serde(default)]
    #[schema(minimum = 1)]
    to_position: Option<u64>,
}

/// Make a report
///
/// A Z closes the day: it is a record of the journal, covers everything since the last one, and is made also when
/// nothing was sold. An X looks and changes nothing. An A lists every line of every invoice of a range; it is
/// answered with its id, under which it is read, however long it is. Z needs the scope `reports:close`.
#[utoipa::path(
    post,
    path = "/api/v1/reports",
    tag = "reports",
    security(("api_key" = ["reports:read"])),
    params(("Idempotency-Key" = String, Header, description = "A new one for each report; the same one when the request is repeated", min_length = 1, max_length = 255, pattern = "^[ -~]+$", example = "z-gombe-2026-11-28")),
    request_body(content = ReportRequest, content_type = "application/json", examples(
        ("z" = (summary = "Close the day", value = json!({"type": "z", "outlet_id": "outlet-gombe", "operator": "cashier-7"}))),
        ("x" = (summary = "Look at a terminal", value = json!({"type": "x", "outlet_id": "outlet-gombe", "scope": "terminal", "pos_terminal_id": "till-1"}))),
        ("a" = (summary = "Every line of a month", value = json!({"type": "a", "outlet_id": "outlet-gombe", "from": "2026-11-01", "to": "2026-11-30"}))),
    )),
    responses(
        (status = 201, description = "Made now", body = Report),
        (status = 200, description = "Made before, under this key: the same report", body = Report),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "SHIFT_NOT_OPEN", "NO_AUTHORITY", "NO_MANIFEST", "RANGE_EMPTY", "RANGE_INVALID", "REPORT_UNKNOWN"])))
)]
pub(super) async fn make(
    caller: Caller,
    key: IdempotencyKey,
    Body(asked): Body<ReportRequest>,
) -> Result<Response, Problem> {
    match asked.kind {
        Kind::Z => caller.may(Scope::ReportsClose)?,
        Kind::X | Kind::A => caller.may(Scope::ReportsRead)?,
    }
    let outlet = caller.outlet_in_body(&asked.outlet_id)?;
    asked.check()?;
    if asked.kind == Kind::Z {
        return close_day(&caller, &outlet, &asked, &key).await;
    }
    let once = Once::new("reports", &key, &asked);
    if let Some(number) = caller.report_made_before(&once).await? {
        return answer(&caller, &outlet, number, StatusCode::OK).await;
    }
    let new = match asked.kind {
        Kind::X => look(&caller, &outlet, &asked).await?,
        _ => range(&caller, &outlet, &asked).await?,
    };
    let made = caller.keep_report(&outlet, &new, &once).await?;
    let number = made.id.parse().map_err(|_| Problem::internal("a report has no number"))?;
    answer(&caller, &outlet, number, made.status()).await
}

impl ReportRequest {
    /// Refuses fields that this report does not have.
    fn check(&self) -> Result<(), Problem> {
        let given = [
            ("/operator", self.operator.is_some(), Kind::Z),
            ("/scope", self.scope.is_some(), Kind::X),
            ("/pos_terminal_id", self.pos_terminal_id.is_some(), Kind::X),
            ("/shift_id", self.shift_id.is_some(), Kind::X),
            ("/from", self.from.is_some(), Kind::A),
            ("/to", self.to.is_some(), Kind::A),
            ("/from_sequence", self.from_sequence.is_some(), Kind::A),
            ("/to_sequence", self.to_sequence.is_some(), Kind::A),
            ("/from_position", self.from_position.is_some(), Kind::A),
            ("/to_position", self.to_position.is_some(), Kind::A),
        ];
        match given.into_iter().find(|(_, is, kind)| *is && *kind != self.kind) {
            Some((pointer, _, _)) => Err(wrong(pointer, "a report of this type does not have it")),
            None => Ok(()),
        }
    }

    fn x_scope(&self) -> Result<Wire, Problem> {
        let terminal = || {
            self.pos_terminal_id.clone().ok_or_else(|| {
                wrong("/pos_terminal_id", "say which terminal the report is to look at")
            })
        };
        Ok(match self.scope.unwrap_or_default() {
            XScope::Outlet => Wire::Outlet(OutletScope {}),
            XScope::Terminal => Wire::Terminal(TerminalScope { terminal_id: terminal()? }),
            XScope::Shift => {
                let shift = self.shift_id.clone();
                let shift_id = shift.ok_or_else(|| {
                    wrong("/shift_id", "say which shift the report is to look at")
                })?;
                Wire::Shift(ShiftScope { terminal_id: terminal()?, shift_id })
            }
        })
    }
}

fn wrong(pointer: &str, detail: &str) -> Problem {
    Problem::at(StatusCode::UNPROCESSABLE_ENTITY, "FIELD_INVALID", pointer, detail)
}

async fn close_day(
    caller: &Caller,
    outlet: &Outlet,
    asked: &ReportRequest,
    key: &IdempotencyKey,
) -> Result<Response, Problem> {
    let own = &caller.key().name;
    let own = if is_identifier(own) { own } else { &caller.key().id };
    let operator = asked.operator.as_ref().unwrap_or(own);
    if !is_identifier(operator) {
        return Err(wrong("/operator", "must have 1 to 64 printable bytes"));
    }
    let (new, record) = outlet.close_day(operator, key).await?;
    let report = Report::of_closure(outlet, &record)?
        .ok_or_else(|| Problem::internal("a closing of the day became another record"))?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(report)).into_response())
}

/// An X: made by a node, kept here.
async fn look(
    caller: &Caller,
    outlet: &Outlet,
    asked: &ReportRequest,
) -> Result<NewReport, Problem> {
    #[derive(Deserialize)]
    struct Told {
        generated_at: String,
    }
    let signed = outlet.look_at(asked.x_scope()?).await?;
    let told: Told = serde_json::from_str(&signed.json)
        .map_err(|error| Problem::internal(&format!("an X report: {error}")))?;
    let scope = match asked.scope.unwrap_or_default() {
        XScope::Outlet => "outlet",
        XScope::Shift => "shift",
        XScope::Terminal => "terminal",
    };
    let content = KeptContent::X {
        scope: scope.to_owned(),
        pos_terminal_id: asked.pos_terminal_id.clone().unwrap_or_default(),
        generated_at: told.generated_at,
        authority_id: signed.authority_id,
        digest: hex(&signed.digest),
        signature: hex(&signed.signature),
    };
    Ok(NewReport { report: kept(caller, outlet, content), text: Some(signed.json) })
}

/// An A: the range as it is now.
async fn range(
    caller: &Caller,
    outlet: &Outlet,
    asked: &ReportRequest,
) -> Result<NewReport, Problem> {
    let time = |text: &Option<String>, pointer, bound| {
        let read = text.as_deref().map(|text| moment(text, bound));
        read.map(|read| read.ok_or_else(|| wrong(pointer, "must be a day or an RFC 3339 time")))
            .transpose()
    };
    let asked = RangeAsked {
        from: time(&asked.from, "/from", Bound::First)?,
        until: time(&asked.to, "/to", Bound::Last)?,
        from_sequence: asked.from_sequence,
        to_sequence: asked.to_sequence,
        from_position: asked.from_position,
        to_position: asked.to_position,
    };
    let range = outlet.range(&asked).await.map_err(Problem::in_body)?;
    let content = KeptContent::A { from_position: range.from, to_position: range.to };
    Ok(NewReport { report: kept(caller, outlet, content), text: None })
}

fn kept(caller: &Caller, outlet: &Outlet, content: KeptContent) -> KeptReport {
    KeptReport {
        outlet_id: outlet.id().to_owned(),
        made_ms: caller.now().get(),
        made_by: caller.key().name.clone(),
        content,
    }
}

/// A kept report, as made now or before.
async fn answer(
    caller: &Caller,
    outlet: &Outlet,
    number: u64,
    status: StatusCode,
) -> Result<Response, Problem> {
    let gone = || unknown("made under this key");
    let kept = caller.kept_report(outlet, number).await?.ok_or_else(gone)?;
    let mut report = Report::of_kept(outlet, number, &kept);
    if report.kind == Kind::X {
        let text: KeptText = caller.kept_text(outlet, number).await?.ok_or_else(gone)?;
        report = report.with_text(&text)?;
    }
    Ok((status, Json(report)).into_response())
}
