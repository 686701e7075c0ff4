//! An entry of the device's journal as `QRY|LOG` tells it.

use fiscus_ledger::device_seal::{DeviceSeal, device_number, entry_hash};
use fiscus_ledger::hash::{Hash32, from_hex, payload_hash};
use fiscus_ledger::payload::Object;
use fiscus_ledger::state::Id;
use fiscus_ledger::time::UnixMs;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::protocol::DumpFormat;
use crate::protocol::answer::ok;
use crate::protocol::nonce::seal_key;

/// One entry, whose hash is that of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogEntry {
    pub(crate) sequence: u64,
    pub(crate) timestamp: UnixMs,
    pub(crate) payload_hash: Hash32,
    pub(crate) prev_hash: Hash32,
    pub(crate) entry_hash: Hash32,
    pub(crate) signature: [u8; 64],
    pub(crate) auth_code: String,
    pub(crate) qr_payload: String,
    /// What is signed.
    pub(crate) text: String,
    /// The canonical invoice, which a device keeps with its entry.
    pub(crate) invoice: Option<String>,
}

#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    log_entry: &'a RawValue,
}

#[derive(Deserialize)]
struct Fields<'a> {
    sequence: u64,
    timestamp: String,
    payload_hash: String,
    prev_hash: String,
    entry_hash: String,
    signature: String,
    auth_code: String,
    qr_payload: String,
    #[serde(borrow, default)]
    invoice: Option<&'a RawValue>,
}

impl LogEntry {
    /// Reads the answer to `QRY|LOG`.
    pub(crate) fn read(answer: &str) -> Option<Self> {
        let told: Told<'_> = serde_json::from_str(answer).ok()?;
        let raw = told.log_entry.get();
        let fields: Fields<'_> = serde_json::from_str(raw).ok()?;
        // Quotes inside of texts are escaped, so this is the member itself.
        let (open, _) = raw.split_once(",\"entry_hash\":")?;
        let text = format!("{open}}}");
        let entry = Self {
            sequence: fields.sequence,
            timestamp: UnixMs::parse_canonical(&fields.timestamp)?,
            payload_hash: from_hex(&fields.payload_hash)?,
            prev_hash: from_hex(&fields.prev_hash)?,
            entry_hash: from_hex(&fields.entry_hash)?,
            signature: from_hex(&fields.signature)?,
            auth_code: fields.auth_code,
            qr_payload: fields.qr_payload,
            text,
            invoice: fields.invoice.map(|invoice| invoice.get().to_owned()),
        };
        let whole = entry_hash(&entry.text) == entry.entry_hash
            && entry
                .invoice
                .as_ref()
                .is_none_or(|invoice| payload_hash(invoice.as_bytes()) == entry.payload_hash);
        whole.then_some(entry)
    }

    /// The idempotency key of what is sealed in it.
    pub(crate) fn key(&self) -> [u8; 16] {
        seal_key(&self.payload_hash)
    }

    /// The answer to the commit that made it, the same whoever asks and whenever.
    pub(crate) fn answer(&self, device_id: &str) -> String {
        let number = device_number(device_id, self.sequence);
        ok().count("invoice_seq", self.sequence)
            .text("fiscal_number", number.as_deref().unwrap_or_default())
            .text("auth_code", &self.auth_code)
            .text("device_id", device_id)
            .text("timestamp", &self.timestamp.to_string())
            .text("qr_payload", &self.qr_payload)
            .finish()
    }

    /// What the ledger takes in; none when the device does not tell the invoice and nobody has kept it.
    pub(crate) fn seal(&self, device_id: &str, kept: Option<Vec<u8>>) -> Option<DeviceSeal> {
        let told = self.invoice.as_ref().map(|invoice| invoice.as_bytes().to_vec());
        Some(DeviceSeal {
            device_id: Id::from(device_id),
            sequence: self.sequence,
            timestamp: self.timestamp,
            prev_hash: self.prev_hash,
            signature: self.signature,
            invoice: told.or(kept)?,
        })
    }
}

impl LogEntry {
    /// A record of a dump.
    pub(crate) fn record(&self, format: DumpFormat) -> String {
        match format {
            DumpFormat::Digest => Object::new()
                .count("sequence", self.sequence)
                .bytes("entry_hash", &self.entry_hash)
                .finish(),
            DumpFormat::Json => {
                let open = self.text.strip_suffix('}').unwrap_or(&self.text);
                let rest = Object::new()
                    .bytes("entry_hash", &self.entry_hash)
                    .bytes("signature", &self.signature)
                    .text("auth_code", &self.auth_code)
                    .text("qr_payload", &self.qr_payload)
                    .finish();
                format!("{open},{}", rest.strip_prefix('{').unwrap_or(&rest))
            }
        }
    }
}
