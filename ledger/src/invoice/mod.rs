//! Invoices: what a terminal submits, read from its raw JSON text into one type that cannot be wrong.
//!
//! ```text
//! text ──read──► draft ──complete──► CanonicalInvoice (private fields, canonical bytes)
//!        form            tax, totals
//! ```
//!
//! The lenient way in (REST) takes fields in any order and fills in what the ledger can compute; the
//! strict way in (devices, apply) takes nothing but canonical bytes. Both are one reader with a mode.

mod complete;
mod draft;
mod read;
mod types;
mod write;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

pub use types::{
    Classification, Client, Currency, Fx, GroupCode, GroupTotal, InvoiceType, Item, Payment,
    PaymentMethod, PriceMode, Provider, Texts, Totals,
};

use crate::hash::{Hash32, Tagged, payload_hash, payload_hashes};
use crate::manifest::Manifest;
use crate::problem::{Code, Problem};
use crate::time::UnixMs;

/// A request body, and so a canonical invoice, is at most this long.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// An invoice has at most this many lines.
pub const ITEMS_MAX: usize = 2_000;
/// An invoice has at most this many payments.
pub const PAYMENTS_MAX: usize = 64;
/// A description or a client's name is at most this long.
pub const DESCRIPTION_BYTES_MAX: usize = 512;
/// An identifier is at most this long.
pub const IDENTIFIER_BYTES_MAX: usize = 64;
/// An invoice has at most this many metadata entries; a line has at most this many references.
pub const ENTRIES_MAX: usize = 32;
/// A metadata name or value is at most this long.
pub const METADATA_BYTES_MAX: usize = 256;

/// An invoice that is right in itself: its form, its limits, its taxes and its totals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalInvoice<'a> {
    /// Apart, because invoices are handed on several times and are large.
    body: Box<Body<'a>>,
    canonical: Cow<'a, str>,
    /// When it is known already.
    payload_hash: Option<Hash32>,
}

/// The parts of an invoice, complete and computed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Body<'a> {
    merchant_nif: Cow<'a, str>,
    outlet_id: Cow<'a, str>,
    pos_terminal_id: Cow<'a, str>,
    cashier_id: Cow<'a, str>,
    invoice_type: InvoiceType,
    timestamp: UnixMs,
    original_fiscal_number: Option<Cow<'a, str>>,
    client: Client<'a>,
    items: Vec<Item<'a>>,
    tax_groups: Vec<GroupTotal>,
    totals: Totals,
    payments: Vec<Payment<'a>>,
    fx: Option<Fx>,
    price_mode: PriceMode,
    manifest_version: Arc<str>,
    metadata: Texts<'a>,
}

/// What the ledger filled in because the client left it out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filled {
    /// The time of authoring.
    pub timestamp: bool,
    /// The manifest's version.
    pub tax_manifest_version: bool,
    /// The tax groups, or some of their figures or names.
    pub tax_groups: bool,
    /// The totals, or some of them.
    pub totals: bool,
    /// The tax in the reporting currency.
    pub fx_tax: bool,
}

/// A leniently read invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// The invoice.
    pub invoice: CanonicalInvoice<'a>,
    /// A hash of what the client chose, so that an honest retry is recognised although what was filled
    /// in has changed.
    pub fingerprint: Hash32,
    /// What was filled in.
    pub filled: Filled,
}

/// Reads an invoice as REST takes it. `now` is the time of authoring when the client gives none.
pub fn parse_lenient<'a>(
    text: &'a [u8],
    manifest: &Manifest,
    now: UnixMs,
) -> Result<Parsed<'a>, Problem> {
    let draft = read::read(as_text(text)?, read::Mode::Lenient)?;
    let (body, filled) = complete::complete(draft, manifest, Some(now))?;
    let canonical = write::document(&body, manifest, Filled::default());
    if canonical.len() > BODY_BYTES_MAX {
        return Err(Problem::new(
            Code::BodyTooLarge,
            format!("the canonical invoice would have {} bytes, over 1 MiB", canonical.len()),
        ));
    }
    let fingerprint = match filled {
        none if none == Filled::default() => fingerprint(&canonical),
        some => fingerprint(&write::document(&body, manifest, some)),
    };
    let invoice = CanonicalInvoice {
        body: Box::new(body),
        canonical: Cow::Owned(canonical),
        payload_hash: None,
    };
    Ok(Parsed { invoice, fingerprint, filled })
}

/// Reads an invoice as devices send it and as apply sees it: canonical bytes and nothing else.
pub fn parse_strict<'a>(
    text: &'a [u8],
    manifest: &Manifest,
) -> Result<CanonicalInvoice<'a>, Problem> {
    read_strict(text, manifest).map_err(Problem::strictly)
}

fn read_strict<'a>(text: &'a [u8], manifest: &Manifest) -> Result<CanonicalInvoice<'a>, Problem> {
    let text = as_text(text)?;
    let draft = read::read(text, read::Mode::Strict)?;
    let (body, _) = complete::complete(draft, manifest, None)?;
    // Whatever the reader lets pass, only the one canonical spelling is accepted.
    if let Some(byte) = write::departs_at(text, &body, manifest) {
        let detail = format!("the document leaves its canonical form at byte {byte}");
        return Err(Problem::new(Code::SchemaInvalid, detail));
    }
    Ok(CanonicalInvoice {
        body: Box::new(body),
        canonical: Cow::Borrowed(text),
        payload_hash: None,
    })
}

fn as_text(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.len() > BODY_BYTES_MAX {
        let detail = format!("the document has more than {BODY_BYTES_MAX} bytes");
        return Err(Problem::new(Code::BodyTooLarge, detail));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let detail = format!("the document is not UTF-8 at byte {}", error.valid_up_to());
        Problem::new(Code::Utf8Invalid, detail)
    })
}

fn fingerprint(chosen: &str) -> Hash32 {
    Tagged::new("fiscus/fingerprint/v1").str(chosen).finish()
}

impl CanonicalInvoice<'_> {
    /// The merchant's tax number.
    #[must_use]
    pub fn merchant_nif(&self) -> &str {
        &self.body.merchant_nif
    }

    /// The outlet.
    #[must_use]
    pub fn outlet_id(&self) -> &str {
        &self.body.outlet_id
    }

    /// The terminal.
    #[must_use]
    pub fn pos_terminal_id(&self) -> &str {
        &self.body.pos_terminal_id
    }

    /// The cashier; empty for API clients.
    #[must_use]
    pub fn cashier_id(&self) -> &str {
        &self.body.cashier_id
    }

    /// The type.
    #[must_use]
    pub fn invoice_type(&self) -> InvoiceType {
        self.body.invoice_type
    }

    /// The client's time of authoring: recorded, never trusted.
    #[must_use]
    pub fn timestamp(&self) -> UnixMs {
        self.body.timestamp
    }

    /// The invoice that a credit note credits.
    #[must_use]
    pub fn original_fiscal_number(&self) -> Option<&str> {
        self.body.original_fiscal_number.as_deref()
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client<'_> {
        &self.body.client
    }

    /// The lines, with their computed base and tax.
    #[must_use]
    pub fn items(&self) -> &[Item<'_>] {
        &self.body.items
    }

    /// The tax groups, sorted by code.
    #[must_use]
    pub fn tax_groups(&self) -> &[GroupTotal] {
        &self.body.tax_groups
    }

    /// The totals.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.body.totals
    }

    /// The payments.
    #[must_use]
    pub fn payments(&self) -> &[Payment<'_>] {
        &self.body.payments
    }

    /// The exchange rate, on an invoice that is not in the reporting currency.
    #[must_use]
    pub fn fx(&self) -> Option<&Fx> {
        self.body.fx.as_ref()
    }

    /// Whether prices include tax.
    #[must_use]
    pub fn price_mode(&self) -> PriceMode {
        self.body.price_mode
    }

    /// The version of the manifest that it is taxed by.
    #[must_use]
    pub fn manifest_version(&self) -> &str {
        &self.body.manifest_version
    }

    /// Metadata, sorted by key.
    #[must_use]
    pub fn metadata(&self) -> &[(Cow<'_, str>, Cow<'_, str>)] {
        &self.body.metadata
    }

    /// The one spelling of this invoice.
    #[must_use]
    pub fn canonical_bytes(&self) -> &[u8] {
        self.canonical.as_bytes()
    }

    /// The one spelling of this invoice, as text.
    #[must_use]
    pub fn canonical_text(&self) -> &str {
        &self.canonical
    }

    /// BLAKE3 of the canonical bytes.
    #[must_use]
    pub fn payload_hash(&self) -> Hash32 {
        self.payload_hash.unwrap_or_else(|| payload_hash(self.canonical_bytes()))
    }

    /// Finds out the payload hashes of many at once.
    pub(crate) fn hash_payloads(invoices: &mut [&mut Self]) {
        let payloads: Vec<&[u8]> =
            invoices.iter().map(|invoice| invoice.canonical_bytes()).collect();
        let hashes = payload_hashes(&payloads);
        for (invoice, hash) in invoices.iter_mut().zip(hashes) {
            invoice.payload_hash = Some(hash);
        }
    }

    /// The tax groups as they stand in the canonical bytes.
    #[must_use]
    pub fn tax_groups_json(&self, manifest: &Manifest) -> String {
        write::tax_groups(&self.body.tax_groups, manifest)
    }

    /// The totals as they stand in the canonical bytes.
    #[must_use]
    pub fn totals_json(&self) -> String {
        write::totals(&self.body.totals)
    }
}
