//! What a check is answered with.

use fiscus_ledger::time::UnixMs;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{Credited, SoldAt};
use crate::http::list::AsOf;
use crate::uploads::status::dgi_status;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Verification {
    /// Genuine.
    Verified(Box<VerifiedReceipt>),
    /// Nothing here fits: an unknown number, a wrong code, or a receipt that nobody here signed. They are not
    /// told apart.
    NotFound(NotFound),
    /// A genuine receipt that was changed.
    Tampered(Tampered),
}

/// A genuine receipt. No lines, no buyer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct VerifiedReceipt {
    /// The number.
    #[schema(example = "KIN-GOMBE-42")]
    pub fiscal_number: String,
    /// `sale`, `advance`, `credit_note`, `export` or `export_credit`.
    #[schema(example = "sale")]
    pub invoice_type: String,
    /// When it was sealed, as the paper says.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub timestamp: String,
    /// With tax.
    #[schema(example = "1160.00")]
    pub total: String,
    /// ISO 4217.
    #[schema(example = "CDF")]
    pub currency: String,
    /// Who sold it; empty when the register does not name it.
    #[schema(example = "Alimentation Gombe SARL")]
    pub merchant_name: String,
    /// Where.
    #[schema(example = "Gombe")]
    pub outlet_name: String,
    /// `live`, or `sandbox` for a trial that is no sale.
    #[schema(example = "live")]
    pub environment: String,
    /// `TEST / SPÉCIMEN` on a trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "TEST / SPÉCIMEN")]
    pub notice: Option<String>,
    /// Who vouches for it.
    #[schema(example = "demo.10ba682c8ad13513")]
    pub fiscal_authority_id: String,
    /// The code on the paper.
    #[schema(example = "7Q4X-1M8K-ZC0D-3J5W")]
    pub auth_code: String,
    /// How much of it credit notes took back.
    pub credited: CreditedState,
    /// How far the upload to the tax authority is: `queued`, `acknowledged`, `rejected`, `failed`; `none` for a trial,
    /// and where the ledger does not have it.
    #[schema(example = "queued")]
    pub dgi_status: String,
    /// Whether the ledger has it.
    pub ledger: LedgerState,
    /// Whether a terminal sealed it alone, with a leave of the authority.
    pub sealed_offline: bool,
    /// When the majority did not answer: the moment that a replica's answer is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<AsOf>,
}

/// How much of an invoice was taken back by credit notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreditedState {
    /// Nothing.
    None,
    /// Some of it.
    Partly,
    /// All of it: the invoice is void.
    Fully,
}

impl From<Credited> for CreditedState {
    fn from(credited: Credited) -> Self {
        match credited {
            Credited::None => Self::None,
            Credited::Partly => Self::Partly,
            Credited::Fully => Self::Fully,
        }
    }
}

/// Whether the ledger has a genuine receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LedgerState {
    /// It has.
    Recorded,
    /// The terminal that sealed it offline has not delivered it yet.
    Awaited,
    /// Its signature holds, and the ledger knows that it lost this number in a restore.
    Lost,
    /// Its signature holds; the replica that answered may not have heard of it yet.
    Unconfirmed,
}

/// Nothing fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NotFound {
    /// In words.
    #[schema(
        example = "no receipt with this number and this code is known; check both, character by character"
    )]
    pub detail: String,
    /// When the majority did not answer: the moment that a replica's answer is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<AsOf>,
}

/// A genuine receipt that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tampered {
    /// What shows it.
    pub evidence: Evidence,
    /// In words.
    #[schema(
        example = "something on this receipt is not what was sealed: the signature does not match"
    )]
    pub detail: String,
}

/// What shows that a receipt was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The signature does not match what the receipt says.
    Signature,
    /// An authority signed it, and not the one that it names.
    Authority,
    /// The terminal's leave does not hold, or does not cover this receipt.
    Credential,
    /// It leads to an address that is not ours.
    Address,
    /// The ledger has another receipt under this number.
    Record,
}

impl Evidence {
    pub(super) fn detail(self) -> &'static str {
        match self {
            Self::Signature => {
                "something on this receipt is not what was sealed: the signature does not match"
            }
            Self::Authority => "the authority named on this receipt is not the one that signed it",
            Self::Credential => "the terminal's leave to seal offline does not cover this receipt",
            Self::Address => "the address in this QR code is not that of the public verification",
            Self::Record => "the ledger has another receipt under this number",
        }
    }
}

impl From<Evidence> for Verification {
    fn from(evidence: Evidence) -> Self {
        Self::Tampered(Tampered { evidence, detail: evidence.detail().to_owned() })
    }
}

/// The facts of a receipt that an answer is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'f> {
    pub(super) fiscal_number: &'f str,
    pub(super) invoice_type: &'f str,
    pub(super) timestamp: UnixMs,
    pub(super) total: &'f str,
    pub(super) currency: &'f str,
    pub(super) authority_id: &'f str,
    pub(super) auth_code: fiscus_ledger::seal::AuthCode,
    pub(super) place: Option<&'f SoldAt>,
    pub(super) environment: fiscus_ledger::facts::Environment,
    pub(super) ledger: LedgerState,
    pub(super) sealed_offline: bool,
    pub(super) upload: Option<&'f fiscus_proto::ledger::UploadStatus>,
}

impl VerifiedReceipt {
    pub(super) fn new(facts: &Facts<'_>, credited: Credited, as_of: Option<AsOf>) -> Self {
        let sandbox = facts.environment == fiscus_ledger::facts::Environment::Sandbox;
        let dgi_status = match facts.ledger {
            LedgerState::Recorded => dgi_status(facts.environment, facts.upload),
            _ => "none",
        };
        let named = |name: fn(&SoldAt) -> &str| facts.place.map_or("", name).to_owned();
        Self {
            fiscal_number: facts.fiscal_number.to_owned(),
            invoice_type: facts.invoice_type.to_owned(),
            timestamp: facts.timestamp.to_string(),
            total: facts.total.to_owned(),
            currency: facts.currency.to_owned(),
            merchant_name: named(|place| &place.merchant_name),
            outlet_name: named(|place| &place.outlet_name),
            environment: facts.environment.as_str().to_owned(),
            notice: sandbox.then(|| "TEST / SPÉCIMEN".to_owned()),
            fiscal_authority_id: facts.authority_id.to_owned(),
            auth_code: facts.auth_code.to_string(),
            credited: credited.into(),
            dgi_status: dgi_status.to_owned(),
            ledger: facts.ledger,
            sealed_offline: facts.sealed_offline,
            as_of,
        }
    }
}
