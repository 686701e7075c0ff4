//! `GET /api/v1/reports/{report_id}`.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use fiscus_ledger::hash::{Hash32, from_hex};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::articles::{Articles, Form as ArticleForm};
use super::document::Document;
use super::view::{Kind, Report, unknown};
use crate::access::{Caller, Outlet, Scope};
use crate::api::proved::prove;
use crate::api::tongue::Tongue;
use crate::http::negotiate::{Form, forms};
use crate::http::parameters::{PathOf, invalid};
use crate::http::{Parameters, Problem, Problems};
use crate::place_id::PlaceId;
use crate::render::Language;
use crate::render::report::ArticleCsv;

/// A form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// The report and what vouches for it.
    Json,
    /// Of an A: the header, each line, and what vouches for it, one object a line.
    Ndjson,
    /// Comma-separated values (RFC 4180).
    Csv,
    /// Sheets of A4.
    Pdf,
}

static FORMS: [Form<Format>; 4] = forms([
    (Format::Json, "json", "application/json"),
    (Format::Csv, "csv", "text/csv; charset=utf-8; header=present"),
    (Format::Pdf, "pdf", "application/pdf"),
    (Format::Ndjson, "ndjson", "application/x-ndjson"),
]);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Its form; by `Accept` unless said, and `json` without either.
    #[param(inline)]
    format: Option<Format>,
    /// The language of CSV and PDF; by `Accept-Language` unless said, and French without either.
    #[param(inline)]
    lang: Option<Tongue>,
    /// Whether a Z as JSON carries the proof of its record. Other forms carry none, and X and A are no records.
    #[serde(default)]
    proof: bool,
}

/// Read a report
///
/// As JSON, CSV or PDF. An A report is made anew of the same records whenever it is read, and signed as a whole; it
/// is sent as it comes, however long it is, except as a PDF, which has at most 20,000 lines.
#[utoipa::path(
    get,
    path = "/api/v1/reports/{report_id}",
    tag = "reports",
    security(("api_key" = ["reports:read"])),
    params(("report_id" = String, Path, description = "As given out", example = "z-b3V0bGV0LWdvbWJl-17"), Wanted),
    responses(
        (status = 200, description = "The report", headers(("Content-Disposition" = String, description = "A name for the file")), content(
            (Report = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
            (Vec<u8> = "application/pdf"),
        )),
        Problems,
    ),
    extensions(("x-codes" = json!(["REPORT_UNKNOWN", "REPORT_TOO_LONG", "NOT_ACCEPTABLE", "NO_MANIFEST", "CHECKPOINT_PENDING"])))
)]
pub(super) async fn get(
    caller: Caller,
    PathOf(report_id): PathOf<String>,
    Parameters(wanted): Parameters<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.may(Scope::ReportsRead)?;
    let form = Form::choose(&FORMS, wanted.format, &headers)?;
    let format = form.format;
    let tongue = Tongue::choose(wanted.lang, &headers);
    let id = PlaceId::parse(&report_id).ok_or_else(|| unknown(&report_id))?;
    let outlet = caller.outlet(&id.outlet_id).map_err(|problem| hidden(problem, &report_id))?;
    let found = match id.letter {
        'z' => closure(&caller, &outlet, id.number).await?,
        'x' | 'a' => kept(&caller, &outlet, &id).await?,
        _ => None,
    };
    let (mut report, document) = found.ok_or_else(|| unknown(&report_id))?;
    if wanted.proof && format == Format::Json {
        prove(&caller, std::slice::from_mut(&mut report)).await?;
    }
    let mut response = match (report.kind, document) {
        (Kind::A, _) => articles(caller, outlet, report, format, tongue).await?,
        (_, Some(document)) => match format {
            Format::Json => Json(report).into_response(),
            Format::Ndjson => return Err(invalid("format", "only an A report is there as ndjson")),
            Format::Csv => document.csv(tongue)?.into_response(),
            Format::Pdf => document.pdf(tongue).await?.into_response(),
        },
        (_, None) => return Err(Problem::internal("a report has no document")),
    };
    let headers = response.headers_mut();
    form.tell(headers);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if format != Format::Json {
        form.name_file(headers, "attachment", &report_id);
    }
    Ok(response)
}

/// Another tenant's report is told as one that does not exist, in the words of this resource.
fn hidden(problem: Problem, report_id: &str) -> Problem {
    if problem.code == "OUTLET_UNKNOWN" { unknown(report_id) } else { problem }
}

type Found = Option<(Report, Option<Document>)>;

async fn closure(caller: &Caller, outlet: &Outlet, position: u64) -> Result<Found, Problem> {
    let Some(sealed) = outlet.record_at(position).await? else { return Ok(None) };
    let Some(report) = Report::of_closure(outlet, &sealed)? else { return Ok(None) };
    let json = report.report.as_ref().map_or("", |text| text.get()).to_owned();
    let document = Document::recorded(caller, outlet, json, sealed)?;
    Ok(Some((report, Some(document))))
}

async fn kept(caller: &Caller, outlet: &Outlet, id: &PlaceId) -> Result<Found, Problem> {
    let Some(kept) = caller.kept_report(outlet, id.number).await? else { return Ok(None) };
    let report = Report::of_kept(outlet, id.number, &kept);
    match (id.letter, report.kind) {
        ('a', Kind::A) => return Ok(Some((report, None))),
        ('x', Kind::X) => {}
        _ => return Ok(None),
    }
    let Some(text) = caller.kept_text(outlet, id.number).await? else { return Ok(None) };
    let broken = || Problem::internal("a kept report is not signed");
    let digest: Hash32 = report.digest.as_deref().and_then(from_hex).ok_or_else(broken)?;
    let signature = report.signature.as_deref().and_then(from_hex::<64>).ok_or_else(broken)?;
    let authority = report.fiscal_authority_id.clone().unwrap_or_default();
    let json = text.json.clone();
    let document = Document::digested(caller, outlet, json, authority, digest, signature)?;
    Ok(Some((report.with_text(&text)?, Some(document))))
}

async fn articles(
    caller: Caller,
    outlet: Outlet,
    report: Report,
    format: Format,
    tongue: Language,
) -> Result<Response, Problem> {
    let articles = Articles::begin(caller, outlet, report).await?;
    Ok(match format {
        Format::Json => articles.body(ArticleForm::Json).into_response(),
        Format::Ndjson => articles.body(ArticleForm::Ndjson).into_response(),
        Format::Csv => {
            articles.body(ArticleForm::Csv(Box::new(ArticleCsv::new(tongue)))).into_response()
        }
        Format::Pdf => articles.whole().await?.pdf(tongue).await?.into_response(),
    })
}
