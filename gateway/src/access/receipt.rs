//! Of a sealed invoice, what its paper says, and how much of it was taken back since. No line and no buyer.

use fiscus_ledger::hash::{Hash32, from_hex};
use fiscus_ledger::invoice::InvoiceType;
use fiscus_ledger::money::Amount;
use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::seal::AuthCode;
use fiscus_ledger::state::rows::SealedInvoice;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::ledger::{JournalRecord, UploadStatus};
use serde::Deserialize;

use super::public::SoldAt;
use crate::http::Problem;

/// What the paper of a sealed invoice says, as the ledger has it.
#[derive(Debug, Clone)]
pub struct SealedReceipt {
    /// The number.
    pub fiscal_number: String,
    /// What it is.
    pub invoice_type: InvoiceType,
    /// The time on the paper: a terminal's own when it sealed offline, a real device's when that sealed.
    pub timestamp: UnixMs,
    /// With tax.
    pub total: String,
    /// ISO 4217.
    pub currency: String,
    /// Who signed the ledger's record.
    pub authority_id: String,
    /// The ledger's own seal.
    pub seal: Seal,
    /// The terminal's, when it sealed offline, or the real device's: the one on its paper.
    pub printed: Option<Printed>,
    /// Where it was sold.
    pub place: SoldAt,
    /// How far the tax authority has it.
    pub upload: Option<Box<UploadStatus>>,
}

/// What identifies a seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// What was signed.
    pub entry_hash: Hash32,
    /// The code of the signature.
    pub auth_code: AuthCode,
}

/// Who printed what the ledger did not seal itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Printer {
    /// A terminal alone, under this credential.
    Terminal(String),
    /// A real fiscal device.
    Device(String),
}

/// What a terminal that sealed offline, or a real device, printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// Who.
    pub printer: Printer,
    /// Its own time.
    pub timestamp: UnixMs,
    /// Its own seal.
    pub seal: Seal,
}

/// How much of an invoice was taken back by credit notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credited {
    /// Nothing.
    None,
    /// Some of it.
    Partly,
    /// All of it.
    Fully,
}

/// What is read of an offline record's payload.
#[derive(Debug, Deserialize)]
struct Inner {
    credential_id: String,
    timestamp: String,
    entry_hash: String,
    signature: String,
}

/// What is read of the payload of a record of a real device.
#[derive(Debug, Deserialize)]
struct Device {
    device_id: String,
    entry: Entry,
    entry_hash: String,
    signature: String,
}

#[derive(Debug, Deserialize)]
struct Entry {
    timestamp: String,
}

impl Printed {
    /// Nothing when the ledger itself sealed.
    pub fn of(record: &Record<'_>) -> Result<Option<Self>, Problem> {
        let wrong = |what: &str| Problem::internal(&format!("an inner seal: {what}"));
        let unread = |error: serde_json::Error| wrong(&error.to_string());
        let (printer, time, entry_hash, signature) = match record.kind {
            RecordKind::Offline(_) => {
                let inner: Inner = serde_json::from_slice(record.payload).map_err(unread)?;
                let printer = Printer::Terminal(inner.credential_id);
                (printer, inner.timestamp, inner.entry_hash, inner.signature)
            }
            RecordKind::Def(_) => {
                let inner: Device = serde_json::from_slice(record.payload).map_err(unread)?;
                let printer = Printer::Device(inner.device_id);
                (printer, inner.entry.timestamp, inner.entry_hash, inner.signature)
            }
            _ => return Ok(None),
        };
        let timestamp = UnixMs::parse_canonical(&time);
        let bytes = from_hex(&signature).zip(from_hex(&entry_hash));
        let (signature, entry_hash) = bytes.ok_or_else(|| wrong("its hashes"))?;
        Ok(Some(Self {
            printer,
            timestamp: timestamp.ok_or_else(|| wrong("its time"))?,
            seal: Seal { entry_hash, auth_code: AuthCode::of_signature(&signature) },
        }))
    }
}

impl SealedReceipt {
    pub(super) fn of(place: SoldAt, sealed: &JournalRecord) -> Result<Self, Problem> {
        let wrong = |what: &str| Problem::internal(&format!("a record: {what}"));
        let record = Record::decode(&sealed.record).map_err(|error| wrong(&error.to_string()))?;
        let signature: &[u8; 64] =
            (&*sealed.signature).try_into().map_err(|_| wrong("its signature"))?;
        let invoice_type = record.kind.invoice_type().ok_or_else(|| wrong("no invoice"))?;
        let printed = Printed::of(&record)?;
        let timestamp = printed.as_ref().map_or(record.timestamp, |printed| printed.timestamp);
        Ok(Self {
            fiscal_number: record.fiscal_number.to_owned(),
            invoice_type,
            timestamp,
            total: record.total.to_owned(),
            currency: record.currency.to_owned(),
            authority_id: record.authority_id.to_owned(),
            seal: Seal {
                entry_hash: record.entry_hash,
                auth_code: AuthCode::of_signature(signature),
            },
            printed,
            place,
            upload: sealed.upload.clone(),
        })
    }

    /// The seal on the paper.
    #[must_use]
    pub fn printed(&self) -> &Seal {
        self.printed.as_ref().map_or(&self.seal, |printed| &printed.seal)
    }

    /// The seal of the terminal that sealed it offline.
    #[must_use]
    pub fn offline(&self) -> Option<&Seal> {
        let printed = self.printed.as_ref();
        let printed = printed.filter(|printed| matches!(printed.printer, Printer::Terminal(_)));
        printed.map(|printed| &printed.seal)
    }
}

impl Credited {
    /// What an invoice's row says.
    pub(super) fn of(row: &SealedInvoice) -> Self {
        let groups = &row.groups;
        let zero = Amount::ZERO;
        if groups.iter().all(|group| group.credited_base == zero && group.credited_tax == zero) {
            return Self::None;
        }
        let whole = groups
            .iter()
            .all(|group| group.credited_base == group.base && group.credited_tax == group.tax);
        if whole { Self::Fully } else { Self::Partly }
    }
}
