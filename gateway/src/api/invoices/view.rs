//! How a sealed invoice is answered.

use fiscus_ledger::hash::{hex, payload_hash};
use fiscus_ledger::qr::{QrFields, QrPayload};
use fiscus_ledger::record::Record;
use fiscus_ledger::seal::{AuthCode, split_number};
use fiscus_proto::ledger::JournalRecord;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Outlet, Printed, Printer};
use crate::http::Problem;

/// A tax group of an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaxGroupAmounts {
    /// TG01 to TG14.
    #[schema(example = "TG02")]
    pub code: String,
    /// Its name.
    #[schema(example = "Standard VAT, goods")]
    pub name: String,
    /// Its rate.
    #[schema(example = "0.1600")]
    pub rate: String,
    /// What the tax is on.
    #[schema(example = "1000.00")]
    pub base_amount: String,
    /// The tax.
    #[schema(example = "160.00")]
    pub tax_amount: String,
}

/// An invoice's totals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Totals {
    /// Without tax.
    #[schema(example = "1000.00")]
    pub subtotal: String,
    /// The tax.
    #[schema(example = "160.00")]
    pub total_vat: String,
    /// With tax.
    #[schema(example = "1160.00")]
    pub total: String,
    /// ISO 4217.
    #[schema(example = "CDF")]
    pub currency: String,
    /// What rounding by line makes of the tax against rounding by group.
    #[schema(example = "0.00")]
    pub rounding_adjustment: String,
}

/// What a terminal that sealed an invoice offline printed: its paper has this code and this time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OfflinePaper {
    /// The leave under which it sealed.
    #[schema(example = "cred-7f2c")]
    pub credential_id: String,
    /// The code on the paper.
    #[schema(example = "7Q4X-1M8K-ZC0D-3J5W")]
    pub auth_code: String,
    /// The time on the paper.
    #[schema(example = "2026-11-28T08:15:30.123Z")]
    pub timestamp: String,
    /// What the terminal signed.
    pub entry_hash: String,
}

/// What a real fiscal device that sealed an invoice printed: its paper has this code and this time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DevicePaper {
    /// The device.
    #[schema(example = "DEF-GOMBE-1")]
    pub device_id: String,
    /// The code on the paper.
    #[schema(example = "7Q4X-1M8K-ZC0D-3J5W")]
    pub auth_code: String,
    /// The time on the paper.
    #[schema(example = "2026-11-28T08:15:30.123Z")]
    pub timestamp: String,
    /// The hash of the entry in the device's own journal.
    pub entry_hash: String,
}

/// A sealed invoice: its five security elements, and what they cover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SealedInvoice {
    /// The number, unique for ever.
    #[schema(example = "KIN-GOMBE-42")]
    pub fiscal_number: String,
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    pub outlet_id: String,
    /// The number's last part.
    pub sequence: u64,
    /// The place in the outlet's journal.
    pub position: u64,
    /// The place in the group's tree.
    pub leaf_index: u64,
    /// `sale`, `advance`, `credit_note`, `export`, `export_credit`; with `offline_` before it when a terminal, `def_` when a real device
    /// sealed it alone.
    #[schema(example = "sale")]
    pub kind: String,
    /// Which authority signed.
    pub fiscal_authority_id: String,
    /// A short code of the signature.
    #[schema(example = "7Q4X-1M8K-ZC0D-3J5W")]
    pub auth_code: String,
    /// The trusted time.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub timestamp: String,
    /// The text of the QR code.
    pub qr_payload: String,
    /// Ed25519 over the entry hash, in hexadecimal.
    pub signature: String,
    /// BLAKE3 of the canonical invoice.
    pub payload_hash: String,
    /// What is signed.
    pub entry_hash: String,
    /// The entry hash of the record before it.
    pub previous_hash: String,
    /// One for each group on the invoice.
    pub tax_groups: Vec<TaxGroupAmounts>,
    /// The totals.
    pub totals: Totals,
    /// The tax table that was in force.
    #[schema(example = "2026-02-01")]
    pub tax_manifest_version: String,
    /// `live`, or `sandbox` for trials.
    #[schema(example = "live")]
    pub environment: String,
    /// How far the upload to the tax authority is: `queued`, `uploading`, `acknowledged`, `rejected`, `failed`; `none`
    /// for a sandbox.
    #[schema(example = "queued")]
    pub dgi_status: String,
    /// Only when the tax authority has refused it: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dgi_refusal: Option<DgiRefusal>,
    /// Only when a terminal sealed it offline. Verification accepts either code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline: Option<OfflinePaper>,
    /// Only when a real fiscal device sealed it. Verification by number accepts either code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DevicePaper>,
}

/// Why the tax authority has refused an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DgiRefusal {
    /// The tax authority's code.
    #[schema(example = "NIF_UNKNOWN")]
    pub code: String,
    /// Its sentence.
    #[schema(example = "the buyer's tax number is not registered")]
    pub reason: String,
    /// The position of the journal record that says so.
    #[schema(example = 121)]
    pub position: u64,
}

impl DgiRefusal {
    /// Of an invoice that is refused, or was before it was asked for again.
    #[must_use]
    pub fn of(upload: Option<&fiscus_proto::ledger::UploadStatus>) -> Option<Self> {
        let upload = upload.filter(|upload| !upload.code.is_empty())?;
        let (code, reason) = (upload.code.clone(), upload.reason.clone());
        Some(Self { code, reason, position: upload.stated_at })
    }
}

/// The paper of whoever sealed, when it was not the ledger.
fn papers(printed: Option<Printed>) -> (Option<OfflinePaper>, Option<DevicePaper>) {
    let Some(Printed { printer, timestamp, seal }) = printed else { return (None, None) };
    let auth_code = seal.auth_code.to_string();
    let timestamp = timestamp.to_string();
    let entry_hash = hex(&seal.entry_hash);
    match printer {
        Printer::Terminal(credential_id) => {
            (Some(OfflinePaper { credential_id, auth_code, timestamp, entry_hash }), None)
        }
        Printer::Device(device_id) => {
            (None, Some(DevicePaper { device_id, auth_code, timestamp, entry_hash }))
        }
    }
}

/// What is read of a canonical invoice for an answer.
#[derive(Debug, Deserialize)]
struct Canonical {
    tax_groups: Vec<TaxGroupAmounts>,
    totals: Totals,
    tax_manifest_version: String,
}

/// The canonical invoice in a record.
pub fn invoice_bytes<'r>(record: &Record<'r>) -> Result<&'r [u8], Problem> {
    let invoice = record.kind.invoice_in(record.payload);
    invoice.ok_or_else(|| Problem::internal("a record is not an invoice"))
}

impl SealedInvoice {
    /// What a record says, whoever asks and whenever.
    pub fn of(outlet: &Outlet, sealed: &JournalRecord) -> Result<Self, Problem> {
        let record = Record::decode(&sealed.record);
        let record = record.map_err(|error| Problem::internal(&format!("a record: {error}")))?;
        let signature: [u8; 64] = (&*sealed.signature)
            .try_into()
            .map_err(|_| Problem::internal("a signature has not 64 bytes"))?;
        let invoice = invoice_bytes(&record)?;
        let canonical: Canonical = serde_json::from_slice(invoice)
            .map_err(|error| Problem::internal(&format!("a canonical invoice: {error}")))?;
        let qr = QrPayload::new(QrFields::of_online_seal(outlet.verify_host(), &record, signature))
            .map_err(|error| Problem::internal(&format!("a QR code: {error}")))?;
        let (_, sequence) = split_number(record.fiscal_number)
            .ok_or_else(|| Problem::internal("a fiscal number has no sequence"))?;
        let environment = outlet.entry().fact.value.environment;
        let (offline, device) = papers(Printed::of(&record)?);
        Ok(Self {
            fiscal_number: record.fiscal_number.to_owned(),
            outlet_id: record.outlet_id.to_owned(),
            sequence,
            position: record.position,
            leaf_index: record.leaf_index,
            kind: record.kind.as_str().to_owned(),
            fiscal_authority_id: record.authority_id.to_owned(),
            auth_code: AuthCode::of_signature(&signature).to_string(),
            timestamp: record.timestamp.to_string(),
            qr_payload: qr.to_url(),
            signature: hex(&signature),
            payload_hash: hex(&payload_hash(invoice)),
            entry_hash: hex(&record.entry_hash),
            previous_hash: hex(&record.prev_hash),
            tax_groups: canonical.tax_groups,
            totals: canonical.totals,
            tax_manifest_version: canonical.tax_manifest_version,
            environment: environment.as_str().to_owned(),
            dgi_status: outlet.dgi_status(sealed, &record).to_owned(),
            dgi_refusal: DgiRefusal::of(sealed.upload.as_deref()),
            offline,
            device,
        })
    }
}
