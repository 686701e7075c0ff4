//! Reports (Z, X, A and the closing of a shift) as CSV and as PDF, from their JSON and its signature.
//!
//! Members that a report may get later are shown under their own names: nothing is left out.

mod article_csv;
mod content;
mod csv;
mod sheets;

use fiscus_ledger::hash::Hash32;
use fiscus_ledger::json::JsonError;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::record::Record;

pub use article_csv::ArticleCsv;

use super::Language;
use super::view::{MerchantLabel, OutletLabel};
use content::Content;

/// What a report's signature is for.
#[derive(Debug, Clone, Copy)]
pub enum Signed<'a> {
    /// X and A reports: their digest.
    Digest(&'a Hash32),
    /// Z reports and closings of shifts: the entry hash of their record.
    Record(&'a Record<'a>),
}

/// A report and what vouches for it.
#[derive(Debug, Clone, Copy)]
pub struct SignedReport<'a> {
    /// The report. The lines of an A report are its member `lines`.
    pub json: &'a str,
    /// The key that signed.
    pub authority_id: &'a str,
    /// What was signed.
    pub signed: Signed<'a>,
    /// The signature.
    pub signature: &'a [u8; 64],
    /// Names the tax groups in other languages.
    pub manifest: &'a Manifest,
    /// Whose report it is, where that is known.
    pub merchant: Option<MerchantLabel<'a>>,
    /// Which outlet it is about, where that is known.
    pub outlet: Option<OutletLabel<'a>>,
}

/// Why a text is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// It is not JSON.
    #[error("the report is not JSON: {0}")]
    Json(#[from] JsonError),
    /// It is not an object that says which report it is.
    #[error("the report is not an object with a member \"report\" of z, x, a or shift")]
    NotAReport,
    /// A line of an A report is not an object.
    #[error("a line of the report is not an object")]
    NotALine,
}

/// Comma-separated values (RFC 4180), one section below the other under one row of column names.
pub fn csv(report: &SignedReport<'_>, language: Language) -> Result<String, RenderError> {
    let content = Content::read(report, language)?;
    if content.is_articles {
        return ArticleCsv::whole(report, language);
    }
    Ok(csv::write(&content, language))
}

/// Sheets of A4.
pub fn pdf(report: &SignedReport<'_>, language: Language) -> Result<Vec<u8>, RenderError> {
    Ok(sheets::pdf(&Content::read(report, language)?, language))
}
