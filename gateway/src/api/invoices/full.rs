//! An invoice with everything that came after it.

use fiscus_ledger::record::Record;
use fiscus_ledger::state::rows::SealedInvoice as CreditRow;
use fiscus_ledger::state::table::Row;
use fiscus_proto::ledger::{JournalRecord, ReadInvoiceResponse};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::view::{SealedInvoice, Totals, invoice_bytes};
use crate::access::Outlet;
use crate::api::payments::view::PaymentState;
use crate::http::Problem;
use crate::http::list::AsOf;

/// How much of something was credited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Credited {
    /// Nothing.
    None,
    /// Some of it.
    Partly,
    /// All of it.
    Fully,
}

/// What was credited of a tax group.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct CreditedGroup {
    /// TG01 to TG14.
    #[schema(example = "TG02")]
    pub(crate) code: String,
    /// How much of it.
    pub(crate) credited: Credited,
    /// What the invoice has in it, without tax.
    #[schema(example = "1000.00")]
    pub(crate) base_amount: String,
    /// The tax.
    #[schema(example = "160.00")]
    pub(crate) tax_amount: String,
    /// What was credited of the base.
    #[schema(example = "0.00")]
    pub(crate) credited_base_amount: String,
    /// What was credited of the tax.
    #[schema(example = "0.00")]
    pub(crate) credited_tax_amount: String,
}

/// A credit note of an invoice.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct CreditNote {
    /// Its number.
    #[schema(example = "KIN-GOMBE-43")]
    pub(crate) fiscal_number: String,
    /// What it is.
    #[schema(example = "credit_note")]
    pub(crate) kind: String,
    /// The trusted time.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub(crate) timestamp: String,
    /// Its totals, which subtract.
    pub(crate) totals: Totals,
}

/// A sealed invoice with its document, its payments and its credit notes.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct FullInvoice {
    /// The seal.
    #[serde(flatten)]
    pub(crate) sealed: SealedInvoice,
    /// The canonical invoice: the very bytes that are hashed.
    #[schema(value_type = Object, example = json!({ "merchant_nif": "A1234567B", "outlet_id": "outlet-gombe", "invoice_type": "sale" }))]
    pub(crate) invoice: Box<RawValue>,
    /// The latest that is known of each payment that names it.
    pub(crate) payments: Vec<PaymentState>,
    /// Its credit notes, in their order.
    pub(crate) credits: Vec<CreditNote>,
    /// How much of it was credited.
    pub(crate) credited: Credited,
    /// The same by tax group; empty for a credit note, which cannot be credited.
    pub(crate) credited_groups: Vec<CreditedGroup>,
    /// Whether all payments and credit notes are told: an invoice with very many of them tells the first.
    pub(crate) complete: bool,
    /// The position that this is as of.
    pub(crate) as_of: AsOf,
    /// When asked for: that the record is in the log, with the signed checkpoint (C2SP tlog-proof).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        example = "c2sp.org/tlog-proof@v1\nindex 0\n\nkinshasa/g/1\n1\nS/USLzRFVMU73i67jNK349FgCtYxw4Wl18ziPHeFRZo=\n\n— kinshasa/g/1 AAAAAA==\n"
    )]
    pub(crate) proof: Option<String>,
}

impl FullInvoice {
    /// What the cluster answers, for a record that is there.
    pub(super) fn of(
        outlet: &Outlet,
        sealed: &JournalRecord,
        found: &ReadInvoiceResponse,
    ) -> Result<Self, Problem> {
        let record = decode(sealed)?;
        let document = String::from_utf8(invoice_bytes(&record)?.to_vec());
        let document = document.ok().and_then(|text| RawValue::from_string(text).ok());
        let groups = credit_row(found)?.map_or_else(Vec::new, |row| credited_groups(&row));
        let credits = found.credits.iter().map(credit_note).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            sealed: SealedInvoice::of(outlet, sealed)?,
            invoice: document
                .ok_or_else(|| Problem::internal("a canonical invoice is not JSON"))?,
            payments: found.payments.iter().map(PaymentState::of).collect(),
            credited: overall(&groups, !credits.is_empty()),
            credits,
            credited_groups: groups,
            complete: !found.credits_cut && !found.payments_cut,
            as_of: found.as_of.as_ref().map(AsOf::from).unwrap_or_default(),
            proof: None,
        })
    }
}

pub(super) fn decode(sealed: &JournalRecord) -> Result<Record<'_>, Problem> {
    Record::decode(&sealed.record).map_err(|error| Problem::internal(&format!("a record: {error}")))
}

/// What is left to credit, as the ledger counts it.
pub(super) fn credit_row(found: &ReadInvoiceResponse) -> Result<Option<CreditRow>, Problem> {
    if found.invoice_row.is_empty() {
        return Ok(None);
    }
    let row = CreditRow::from_stored(&found.invoice_row);
    row.map(Some).map_err(|error| Problem::internal(&format!("an invoice's row: {error}")))
}

fn credited_groups(row: &CreditRow) -> Vec<CreditedGroup> {
    let groups = row.groups.iter().map(|group| {
        let touched = group.credited_base.minor() > 0 || group.credited_tax.minor() > 0;
        let credited = match touched {
            false => Credited::None,
            true if group.credited_base == group.base => Credited::Fully,
            true => Credited::Partly,
        };
        CreditedGroup {
            code: group.code.as_str().to_owned(),
            credited,
            base_amount: group.base.to_string(),
            tax_amount: group.tax.to_string(),
            credited_base_amount: group.credited_base.to_string(),
            credited_tax_amount: group.credited_tax.to_string(),
        }
    });
    groups.collect()
}

/// A group in which nothing is to be paid is credited when the others are.
fn overall(groups: &[CreditedGroup], has_credits: bool) -> Credited {
    if !has_credits {
        return Credited::None;
    }
    let whole =
        |group: &CreditedGroup| group.credited == Credited::Fully || group.base_amount == "0.00";
    if groups.iter().all(whole) { Credited::Fully } else { Credited::Partly }
}

fn credit_note(sealed: &JournalRecord) -> Result<CreditNote, Problem> {
    #[derive(Deserialize)]
    struct Document {
        totals: Totals,
    }
    let record = decode(sealed)?;
    let document: Document = serde_json::from_slice(invoice_bytes(&record)?)
        .map_err(|error| Problem::internal(&format!("a canonical invoice: {error}")))?;
    Ok(CreditNote {
        fiscal_number: record.fiscal_number.to_owned(),
        kind: record.kind.as_str().to_owned(),
        timestamp: record.timestamp.to_string(),
        totals: document.totals,
    })
}
