//! An invoice in a list: everything but its lines.

use fiscus_ledger::record::Record;
use fiscus_ledger::seal::{AuthCode, split_number};
use fiscus_proto::ledger::JournalRecord;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::view::{TaxGroupAmounts, Totals, invoice_bytes};
use crate::access::Outlet;
use crate::api::proved::{Evident, RecordEvidence};
use crate::http::Problem;

/// Whom an invoice is for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::api::invoices) struct Client {
    /// The name; may be empty.
    #[schema(example = "Brasserie du Fleuve SARL")]
    name: String,
    /// The tax number; may be empty.
    #[schema(example = "C7654321D")]
    pub(super) nif: String,
    /// `individual`, `company`, `commercial_individual`, `professional`, `embassy`.
    #[schema(example = "company")]
    classification: String,
}

/// How an invoice was paid.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = InvoicePayment)]
pub(in crate::api::invoices) struct Payment {
    /// `cash`, `mobile_money`, `card`, `bank_transfer`, `credit`, `voucher`, `other`.
    #[schema(example = "cash")]
    pub(super) method: String,
    /// How much.
    #[schema(example = "1160.00")]
    amount: String,
    /// In which currency.
    #[schema(example = "CDF")]
    currency: String,
    /// The instrument's reference; may be empty.
    #[schema(example = "")]
    instrument_id: String,
    /// Who runs the wallet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "mpesa")]
    provider: Option<String>,
}

/// What is read of a canonical invoice for a list.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    pub(super) pos_terminal_id: String,
    pub(super) cashier_id: String,
    #[serde(default)]
    pub(super) original_fiscal_number: Option<String>,
    pub(super) client: Client,
    pub(super) tax_groups: Vec<TaxGroupAmounts>,
    pub(super) totals: Totals,
    pub(super) payments: Vec<Payment>,
    tax_manifest_version: String,
}

impl Document {
    pub(super) fn of(record: &Record<'_>) -> Result<Self, Problem> {
        serde_json::from_slice(invoice_bytes(record)?)
            .map_err(|error| Problem::internal(&format!("a canonical invoice: {error}")))
    }
}

/// A sealed invoice without its lines.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::api::invoices) struct InvoiceSummary {
    /// The number.
    #[schema(example = "KIN-GOMBE-42")]
    fiscal_number: String,
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    outlet_id: String,
    /// The number's last part.
    sequence: u64,
    /// The place in the outlet's journal.
    position: u64,
    /// `sale`, `advance`, `credit_note`, `export`, `export_credit`; with `offline_` before it when a terminal sealed
    /// it alone.
    #[schema(example = "sale")]
    kind: String,
    /// The trusted time.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    timestamp: String,
    /// A short code of the signature.
    #[schema(example = "7Q4X-1M8K-ZC0D-3J5W")]
    auth_code: String,
    /// Which authority signed.
    fiscal_authority_id: String,
    /// The terminal.
    #[schema(example = "till-1")]
    pos_terminal_id: String,
    /// Who sold; may be empty.
    #[schema(example = "cashier-7")]
    cashier_id: String,
    /// The invoice that it credits.
    #[schema(example = json!(null))]
    original_fiscal_number: Option<String>,
    client: Client,
    /// One for each group on the invoice.
    tax_groups: Vec<TaxGroupAmounts>,
    totals: Totals,
    payments: Vec<Payment>,
    /// The tax table that was in force.
    #[schema(example = "2026-02-01")]
    tax_manifest_version: String,
    /// `live`, or `sandbox` for trials.
    #[schema(example = "live")]
    environment: String,
    /// How far the upload to the tax authority is: `queued`, `uploading`, `acknowledged`, `rejected`, `failed`; `none`
    /// for a sandbox.
    #[schema(example = "queued")]
    dgi_status: String,
    /// What proves it.
    #[serde(flatten)]
    evidence: RecordEvidence,
}

impl Evident for InvoiceSummary {
    fn evidence(&mut self) -> &mut RecordEvidence {
        &mut self.evidence
    }
}

impl InvoiceSummary {
    pub(super) fn of(
        outlet: &Outlet,
        sealed: &JournalRecord,
        record: &Record<'_>,
        document: Document,
    ) -> Result<Self, Problem> {
        let signature: [u8; 64] = (&*sealed.signature)
            .try_into()
            .map_err(|_| Problem::internal("a signature has not 64 bytes"))?;
        let (_, sequence) = split_number(record.fiscal_number)
            .ok_or_else(|| Problem::internal("a fiscal number has no sequence"))?;
        let environment = outlet.entry().fact.value.environment;
        Ok(Self {
            fiscal_number: record.fiscal_number.to_owned(),
            outlet_id: record.outlet_id.to_owned(),
            sequence,
            position: record.position,
            kind: record.kind.as_str().to_owned(),
            timestamp: record.timestamp.to_string(),
            auth_code: AuthCode::of_signature(&signature).to_string(),
            fiscal_authority_id: record.authority_id.to_owned(),
            pos_terminal_id: document.pos_terminal_id,
            cashier_id: document.cashier_id,
            original_fiscal_number: document.original_fiscal_number,
            client: document.client,
            tax_groups: document.tax_groups,
            totals: document.totals,
            payments: document.payments,
            tax_manifest_version: document.tax_manifest_version,
            environment: environment.as_str().to_owned(),
            dgi_status: outlet.dgi_status(sealed, record).to_owned(),
            evidence: RecordEvidence::of(sealed, record),
        })
    }
}
