//! `POST /api/v1/tax/classify`.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use fiscus_ledger::invoice::{Classification, InvoiceType};
use fiscus_ledger::manifest::Manifest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::suggestion::{Guess, Line, code, suggest};
use crate::access::{Caller, Scope};
use crate::http::{Body, Problem, Problems};

const TEXT_BYTES_MAX: usize = 512;
const REFERENCES_MAX: usize = 32;

/// What is known of a line.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassifyRequest {
    /// What is sold, in French or English.
    #[schema(example = "Bière Primus 72 cl", min_length = 1, max_length = 512)]
    description: String,
    /// What the client is to the tax law: `individual`, `company`, `commercial_individual`, `professional`,
    /// `embassy`.
    #[serde(default)]
    #[schema(
        example = "individual",
        pattern = "^(individual|company|commercial_individual|professional|embassy)$"
    )]
    classification: Option<String>,
    /// What the invoice is: `sale`, `advance`, `credit_note`, `export`, `export_credit`.
    #[serde(default)]
    #[schema(example = "sale", pattern = "^(sale|advance|credit_note|export|export_credit)$")]
    invoice_type: Option<String>,
    /// The line's references.
    #[serde(default)]
    #[schema(example = json!({ "excise_certificate": "ACC-2026-77" }))]
    references: BTreeMap<String, String>,
}

/// A suggestion. It decides nothing.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SuggestedGroup {
    /// The likeliest group.
    #[serde(flatten)]
    suggestion: Suggestion,
    /// Others that it may be.
    alternatives: Vec<Suggestion>,
    /// The tax table that names and rates are of.
    #[schema(example = "2026-02-01")]
    tax_manifest_version: String,
}

/// A group that it may be.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Suggestion {
    /// TG01 to TG14.
    #[schema(example = "TG12")]
    tax_group: String,
    /// Its English name.
    #[schema(example = "Specific tax, alcohol")]
    name: String,
    /// Its French name.
    #[schema(example = "Taxe spécifique, alcool")]
    name_fr: String,
    /// Its rate.
    #[schema(example = "0.2000")]
    rate: String,
    /// From 0 to 1: 1 where the law leaves no choice, 0.90 where a reference says so, 0.60 by words alone, 0.30 for
    /// a default.
    #[schema(example = "0.90")]
    confidence: String,
    /// Why.
    #[schema(example = "the text says \"biere\" and the line carries an excise_certificate")]
    reason: String,
    /// References that the group asks for and the line does not carry.
    missing_references: Vec<String>,
}

/// Suggest a tax group
///
/// From the client's class, the line's references and its words. A suggestion with its confidence and its reason;
/// who sells decides.
#[utoipa::path(
    post,
    path = "/api/v1/tax/classify",
    tag = "tax",
    security(("api_key" = ["invoices:seal"]), ("api_key" = ["invoices:read"])),
    request_body(content_type = "application/json", content = ClassifyRequest),
    responses((status = 200, description = "A suggestion", body = SuggestedGroup), Problems),
    extensions(("x-codes" = json!(["LIMIT_EXCEEDED", "NO_MANIFEST"])))
)]
pub(super) async fn classify(
    caller: Caller,
    Body(asked): Body<ClassifyRequest>,
) -> Result<Json<SuggestedGroup>, Problem> {
    caller.may(Scope::InvoicesSeal).or_else(|_| caller.may(Scope::InvoicesRead))?;
    let refused = |code, pointer: &str, detail: String| {
        Problem::at(StatusCode::UNPROCESSABLE_ENTITY, code, pointer, detail)
    };
    if asked.description.trim().is_empty() {
        let detail = "this text must not be empty".to_owned();
        return Err(refused("FIELD_INVALID", "/description", detail));
    }
    for (pointer, length, most) in [
        ("/description", asked.description.len(), TEXT_BYTES_MAX),
        ("/references", asked.references.len(), REFERENCES_MAX),
    ] {
        if length > most {
            let detail = format!("has {length}, and at most {most} may be");
            return Err(refused("LIMIT_EXCEEDED", pointer, detail));
        }
    }
    let word = |pointer: &str, word: &str| {
        refused("FIELD_INVALID", pointer, format!("{word:?} is not one of the words for this"))
    };
    let classification = asked.classification.as_deref().map(|text| {
        Classification::parse_lenient(text).ok_or_else(|| word("/classification", text))
    });
    let invoice_type = asked.invoice_type.as_deref();
    let invoice_type = invoice_type
        .map(|text| InvoiceType::parse(text).ok_or_else(|| word("/invoice_type", text)));
    let line = Line {
        text: &asked.description,
        classification: classification.transpose()?,
        invoice_type: invoice_type.transpose()?,
        references: &asked.references,
    };
    let manifest = caller.manifest()?;
    let guesses = suggest(&line);
    let mut all = guesses.iter().map(|guess| suggestion(guess, &line, &manifest));
    let first = all.next().ok_or_else(|| Problem::internal("there is always a suggestion"))?;
    Ok(Json(SuggestedGroup {
        suggestion: first,
        alternatives: all.collect(),
        tax_manifest_version: manifest.version().to_owned(),
    }))
}

fn suggestion(guess: &Guess, line: &Line<'_>, manifest: &Manifest) -> Suggestion {
    let group = manifest.group(code(guess));
    let missing = group.requires.iter().filter(|name| !line.references.contains_key(*name));
    Suggestion {
        tax_group: guess.group.to_owned(),
        name: group.name.clone(),
        name_fr: group.name_fr.clone(),
        rate: group.rate.to_string(),
        confidence: format!("{}.{:02}", guess.confidence / 100, guess.confidence % 100),
        reason: guess.reason.clone(),
        missing_references: missing.cloned().collect(),
    }
}
