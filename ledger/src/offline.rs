//! Offline seals under a delegated credential: what a terminal makes alone, and what the ledger keeps
//! of it.
//!
//! An offline seal uses the formulas of a seal with the credential's id as authority, the terminal's
//! key, and the places and hashes of the terminal's own chain, whose first link is the grant's record.

use crate::codec::{DecodeError, Reader, Writer};
use crate::commands::InvoiceSlot;
use crate::hash::{Hash32, Tagged, payload_hash};
use crate::invoice::{CanonicalInvoice, parse_strict};
use crate::payload::Object;
use crate::seal;
use crate::state::group::Group;
use crate::state::{Id, read_id};
use crate::time::UnixMs;

/// An invoice as a terminal sealed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineSeal {
    /// The credential that it was sealed under.
    pub credential_id: Id,
    /// Its place in the terminal's chain, from 1: its number is the block's first plus this less 1.
    pub place: u64,
    /// The terminal's time.
    pub timestamp: UnixMs,
    /// The terminal's random blind.
    pub blind: Hash32,
    /// The seal before it, or the grant's record.
    pub prev_hash: Hash32,
    /// The terminal's signature over the entry hash.
    pub signature: [u8; 64],
    /// The canonical invoice.
    pub invoice: Vec<u8>,
}

impl OfflineSeal {
    /// The hash that the terminal signs.
    #[must_use]
    pub fn entry_hash(
        &self,
        outlet_id: &str,
        fiscal_number: &str,
        invoice: &CanonicalInvoice<'_>,
    ) -> Hash32 {
        let hidden = seal::hidden_hash(
            outlet_id,
            self.place,
            &payload_hash(&self.invoice),
            &self.blind,
            &self.prev_hash,
        );
        let totals = invoice.totals();
        seal::entry_hash(
            &self.credential_id,
            fiscal_number,
            self.timestamp.get(),
            invoice.invoice_type().as_str(),
            &totals.total.to_string(),
            totals.currency.as_str(),
            &hidden,
        )
    }

    /// Tells an honest repetition from another seal in the same slot, before anything is parsed.
    #[must_use]
    pub fn digest(&self) -> Hash32 {
        Tagged::new("fiscus/offline/v1")
            .str(&self.credential_id)
            .u64(self.place)
            .u64(self.timestamp.get())
            .h32(&self.blind)
            .h32(&self.prev_hash)
            .h32(&payload_hash(&self.invoice))
            .finish()
    }

    /// The payload of the ledger's record: the inner seal, with the invoice inside and last.
    #[must_use]
    pub fn record_payload(&self, fiscal_number: &str, entry_hash: &Hash32) -> Option<String> {
        Some(
            Object::new()
                .text("credential_id", &self.credential_id)
                .count("place", self.place)
                .text("fiscal_number", fiscal_number)
                .text("timestamp", &self.timestamp.to_string())
                .bytes("blind", &self.blind)
                .bytes("prev_hash", &self.prev_hash)
                .bytes("entry_hash", entry_hash)
                .bytes("signature", &self.signature)
                .json("invoice", std::str::from_utf8(&self.invoice).ok()?)
                .finish(),
        )
    }

    /// The invoice inside a record's payload.
    #[must_use]
    pub fn invoice_in(payload: &[u8]) -> Option<&[u8]> {
        const NAME: &[u8] = br#","invoice":"#;
        // The fields before it hold no quote that is not their own: ids are escaped, the rest is hex.
        let at = payload.windows(NAME.len()).position(|window| window == NAME)?;
        payload[at + NAME.len()..].strip_suffix(b"}")
    }

    pub(crate) fn parse<'e>(&'e self, group: &Group) -> InvoiceSlot<'e> {
        InvoiceSlot(
            group
                .manifest_at(self.timestamp)
                .map(|manifest| parse_strict(&self.invoice, manifest).map_err(Box::new)),
        )
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(self.invoice.len() + 256);
        out.str(&self.credential_id).u64(self.place).u64(self.timestamp.get());
        out.raw(&self.blind).raw(&self.prev_hash).raw(&self.signature).bytes(&self.invoice);
        out.finish()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let seal = Self {
            credential_id: read_id(&mut from, "seal credential")?,
            place: from.u64("seal place")?,
            timestamp: UnixMs::new(from.u64("seal time")?),
            blind: from.h32("seal blind")?,
            prev_hash: from.h32("seal link")?,
            signature: from.array("seal signature")?,
            invoice: from.bytes("seal invoice")?.to_vec(),
        };
        from.finish()?;
        Ok(seal)
    }
}
