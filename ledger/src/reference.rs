//! What a record is about besides its outlet, for whoever looks from the other side: the credit notes and
//! the payments of an invoice, an outlet's devices, its blocks of numbers.
//!
//! It comes from the record alone, so that it can be made again of any journal. Non-goal: whether what
//! the record names exists; apply has seen to that.

use std::borrow::Cow;

use crate::invoice::InvoiceType;
use crate::json::{Kind, Reader};
use crate::record::{Record, RecordKind};

/// What a record may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A credit note: the invoice that it credits.
    Credited,
    /// A payment event: the invoice that it pays.
    Paid,
    /// A device's event: the device.
    Device,
    /// Numbers lent to a terminal: nothing more, so that all of an outlet's are found in their order.
    Lent,
}

impl Subject {
    /// All, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Credited, Self::Paid, Self::Device, Self::Lent];

    /// The code in stored keys.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Credited => 1,
            Self::Paid => 2,
            Self::Device => 3,
            Self::Lent => 4,
        }
    }
}

/// What one record is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference<'a> {
    /// What it is.
    pub subject: Subject,
    /// Its number or id.
    pub name: Cow<'a, str>,
}

impl<'a> Reference<'a> {
    /// What a record is about, if it is about anything that somebody looks for.
    #[must_use]
    pub fn of(record: &Record<'a>) -> Option<Self> {
        let (subject, name) = match record.kind {
            kind if kind.invoice_type().is_some_and(InvoiceType::is_credit) => {
                let invoice = kind.invoice_in(record.payload)?;
                (Subject::Credited, leading_text(invoice, "original_fiscal_number")?)
            }
            RecordKind::Payment => (Subject::Paid, leading_text(record.payload, "fiscal_number")?),
            RecordKind::Device => (Subject::Device, leading_text(record.payload, "device_id")?),
            RecordKind::BlockGrant => (Subject::Lent, Cow::Borrowed("")),
            _ => return None,
        };
        Some(Self { subject, name })
    }
}

/// A text member of canonical JSON, among those that come before the first one that is no text.
#[must_use]
pub fn leading_text<'a>(json: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    let mut reader = Reader::new(std::str::from_utf8(json).ok()?);
    reader.begin_object().ok()?;
    let mut first = true;
    while let Some(key) = reader.next_key(&mut first).ok()? {
        if reader.peek().ok()? != Kind::String {
            return None;
        }
        let value = reader.string().ok()?;
        if key == name {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_only_before_what_is_no_text() {
        let json = br#"{"merchant_nif":"A","original_fiscal_number":"K-G-\"7","client":{"x":"y"},"z":"1"}"#;
        assert_eq!(leading_text(json, "original_fiscal_number").as_deref(), Some("K-G-\"7"));
        assert_eq!(leading_text(json, "merchant_nif").as_deref(), Some("A"));
        assert_eq!(leading_text(json, "z"), None);
        assert_eq!(leading_text(json, "absent"), None);
        for broken in [&b"{"[..], b"[]", b"", b"\xff", br#"{"a":1,"#] {
            assert_eq!(leading_text(broken, "a"), None);
        }
    }

    #[test]
    fn codes_are_in_order_and_stay() {
        assert_eq!(Subject::ALL.map(Subject::code), [1, 2, 3, 4]);
    }
}
