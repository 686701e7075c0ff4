//! The languages of what is printed.

use fiscus_ledger::invoice::InvoiceType;

use super::words::{ENGLISH, FRENCH, Words};

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// French, the language of the law.
    French,
    /// English.
    English,
}

impl Language {
    /// Reads `fr` or `en`.
    #[must_use]
    pub fn parse(tag: &str) -> Option<Self> {
        match tag {
            "fr" => Some(Self::French),
            "en" => Some(Self::English),
            _ => None,
        }
    }

    /// `fr` or `en`.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::French => "fr",
            Self::English => "en",
        }
    }

    /// The other one.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::French => Self::English,
            Self::English => Self::French,
        }
    }

    /// What an invoice is called.
    #[must_use]
    pub(crate) fn invoice_type(self, invoice_type: InvoiceType) -> &'static str {
        let place = InvoiceType::ALL.iter().position(|known| *known == invoice_type);
        self.words().invoice_types[place.expect("ALL lists every type")]
    }

    /// A label and what it is of, in one text.
    pub(super) fn labelled(self, label: &str, value: &str) -> String {
        match self {
            Self::French => format!("{label}\u{a0}: {value}"),
            Self::English => format!("{label}: {value}"),
        }
    }

    pub(super) const fn words(self) -> &'static Words {
        match self {
            Self::French => &FRENCH,
            Self::English => &ENGLISH,
        }
    }
}
