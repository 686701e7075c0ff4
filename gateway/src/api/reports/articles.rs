//! An A report as it is sent: as long as it is, with no more than a few lines in memory.
//!
//! ```text
//! node ─► header, line, line, …, trailer ─► JSON, NDJSON or CSV, piece by piece
//!                                       └─► PDF, up to a bound
//! ```
//!
//! A report that breaks off ends the connection before its end, so that nobody takes it for whole.

use std::pin::Pin;

use axum::body::Body;
use axum::http::StatusCode;
use fiscus_ledger::hash::{Hash32, hex};
use fiscus_proto::ledger::{ReportPart, ReportTrailer, report_part::Part};
use futures_util::{Stream, StreamExt, stream};
use serde_json::json;

use super::document::Document;
use super::view::Report;
use crate::access::{Caller, Outlet};
use crate::http::Problem;
use crate::render::report::ArticleCsv;

/// A PDF has so many lines at most; it is for reading, and is made in memory.
pub(super) const PDF_LINES_MAX: usize = 20_000;
/// Text is sent in pieces of about this size.
const PIECE_BYTES: usize = 32 * 1024;

type Parts = Pin<Box<dyn Stream<Item = Result<ReportPart, Problem>> + Send>>;

/// An A report that has begun.
pub(super) struct Articles {
    /// Holds the tenant's place for as long as the report is sent.
    caller: Caller,
    outlet: Outlet,
    report: Report,
    header: String,
    parts: Parts,
}

/// A form that is written as the lines come.
#[derive(Debug)]
pub(super) enum Form {
    Json,
    Ndjson,
    Csv(Box<ArticleCsv>),
}

impl Articles {
    /// Asks a node for it.
    pub(super) async fn begin(
        caller: Caller,
        outlet: Outlet,
        mut report: Report,
    ) -> Result<Self, Problem> {
        let (Some(from), Some(to)) = (report.from_position, report.to_position) else {
            return Err(Problem::internal("an A report has no range"));
        };
        let (header, parts) = outlet.articles(from, to).await?;
        let told: serde_json::Value = serde_json::from_str(&header)
            .map_err(|error| Problem::internal(&format!("an A report's header: {error}")))?;
        if let Some(time) = told["generated_at"].as_str() {
            time.clone_into(&mut report.generated_at);
        }
        Ok(Self { caller, outlet, report, header, parts: Box::pin(parts) })
    }

    /// The report as a body that is written as it comes.
    pub(super) fn body(self, form: Form) -> Body {
        let writer = Writer { articles: self, form, lines: 0 };
        let pieces = stream::unfold(Some(writer), |writer| async move {
            let mut writer = writer?;
            let mut piece = String::new();
            while piece.len() < PIECE_BYTES {
                match writer.next(&mut piece).await {
                    Ok(true) => {}
                    Ok(false) => return Some((Ok(piece), None)),
                    Err(problem) => {
                        tracing::warn!(
                            code = &*problem.code,
                            detail = problem.detail,
                            "an A report breaks off"
                        );
                        return Some((Err(std::io::Error::other(problem.detail)), None));
                    }
                }
            }
            Some((Ok(piece), Some(writer)))
        });
        Body::from_stream(pieces)
    }

    /// The report whole, for a PDF.
    pub(super) async fn whole(mut self) -> Result<Document, Problem> {
        let mut json = open(&self.header).to_owned() + ",\"lines\":[";
        let mut lines = 0;
        let trailer = loop {
            match self.part().await? {
                Part::Line(line) => {
                    lines += 1;
                    if lines > PDF_LINES_MAX {
                        return Err(too_long());
                    }
                    if lines > 1 {
                        json.push(',');
                    }
                    json += &line;
                }
                Part::Trailer(trailer) => break trailer,
                Part::Header(_) => return Err(Problem::internal("an A report has two headers")),
            }
        };
        json += "]}";
        let (digest, signature) = vouchers(&trailer)?;
        Document::digested(
            &self.caller,
            &self.outlet,
            json,
            trailer.authority_id,
            digest,
            signature,
        )
    }

    async fn part(&mut self) -> Result<Part, Problem> {
        let part = self.parts.next().await.transpose()?.and_then(|part| part.part);
        part.ok_or_else(|| Problem::internal("an A report ends without its trailer"))
    }
}

fn too_long() -> Problem {
    let detail = format!(
        "the report has more than {PDF_LINES_MAX} lines; read it as csv or json, or ask for a shorter range"
    );
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "REPORT_TOO_LONG", detail)
}

/// An object without its end.
fn open(object: &str) -> &str {
    object.strip_suffix('}').unwrap_or(object)
}

fn vouchers(trailer: &ReportTrailer) -> Result<(Hash32, [u8; 64]), Problem> {
    let digest = Hash32::try_from(&*trailer.digest);
    let signature = <[u8; 64]>::try_from(&*trailer.signature);
    digest.ok().zip(signature.ok()).ok_or_else(|| Problem::internal("an A report is not signed"))
}

struct Writer {
    articles: Articles,
    form: Form,
    /// Written so far, with the header as the first.
    lines: u64,
}

impl Writer {
    /// Writes the next part; whether there are more.
    async fn next(&mut self, out: &mut String) -> Result<bool, Problem> {
        if self.lines == 0 {
            self.begin(out);
            self.lines = 1;
            return Ok(true);
        }
        match self.articles.part().await? {
            Part::Line(line) => {
                self.line(&line, out)?;
                self.lines += 1;
                Ok(true)
            }
            Part::Trailer(trailer) => self.end(&trailer, out).map(|()| false),
            Part::Header(_) => Err(Problem::internal("an A report has two headers")),
        }
    }

    fn begin(&self, out: &mut String) {
        let header = &self.articles.header;
        match self.form {
            Form::Json => {
                let around = serde_json::to_string(&self.articles.report).expect("it is JSON");
                *out += open(&around);
                *out += ",\"report\":";
                *out += open(header);
                *out += ",\"lines\":[";
            }
            Form::Ndjson => *out += &format!("{header}\n"),
            Form::Csv(..) => {}
        }
    }

    fn line(&mut self, line: &str, out: &mut String) -> Result<(), Problem> {
        match &mut self.form {
            Form::Json if self.lines == 1 => *out += line,
            Form::Json => *out += &format!(",{line}"),
            Form::Ndjson => *out += &format!("{line}\n"),
            Form::Csv(csv) => {
                *out += &csv.line(line).map_err(|error| Problem::internal(&error.to_string()))?;
            }
        }
        Ok(())
    }

    fn end(&mut self, trailer: &ReportTrailer, out: &mut String) -> Result<(), Problem> {
        let (digest, signature) = vouchers(trailer)?;
        let seal = json!({
            "fiscal_authority_id": trailer.authority_id,
            "signed": "digest",
            "digest": hex(&digest),
            "signature": hex(&signature),
        });
        match std::mem::replace(&mut self.form, Form::Json) {
            Form::Json => *out += &format!("]}},{}", seal.to_string().trim_start_matches('{')),
            Form::Ndjson => *out += &format!("{seal}\n"),
            Form::Csv(csv) => {
                let (caller, outlet) = (&self.articles.caller, &self.articles.outlet);
                let (json, authority) =
                    (self.articles.header.clone(), trailer.authority_id.clone());
                let report =
                    Document::digested(caller, outlet, json, authority, digest, signature)?;
                *out += &report.finish_csv(*csv)?;
            }
        }
        Ok(())
    }
}
