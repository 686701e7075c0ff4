//! Receipts and reports on paper and screen.
//!
//! ```text
//! record + signature + invoice ─► ReceiptView ─┬─► html
//!                                              ├─► pdf (A4, rolls)      QrPayload ─► png, svg
//!                                              └─► escpos (rolls)       report JSON ─► csv, pdf
//! ```
//!
//! Invariants: nothing here asks for time, randomness or files, so the same view makes the same bytes;
//! text of clients reaches no output as markup, as a printer's command or as a formula; a character that
//! an output cannot show leaves a visible mark.
//!
//! Non-goals: whether a record is genuine is for the verifier, and counting copies is for the caller.

mod figures;
mod language;
mod pdf;
pub mod qr;
pub mod receipt;
pub mod report;
mod text;
mod view;
mod words;

pub use language::Language;
pub(crate) use text::{escape, visible};
pub use view::{CopyMark, MerchantLabel, OutletLabel, ReceiptParts, ReceiptView, ViewError};

/// A thermal printer's paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roll {
    /// 58 mm, of which 48 mm are printable.
    Mm58,
    /// 80 mm, of which 72 mm are printable.
    Mm80,
}

impl Roll {
    /// The printable width at 8 dots per millimetre.
    #[must_use]
    pub const fn dots(self) -> usize {
        match self {
            Self::Mm58 => 384,
            Self::Mm80 => 576,
        }
    }

    /// Characters of the printer's standard font, 12 dots each.
    const fn columns(self) -> usize {
        self.dots() / 12
    }
}

/// What a document is laid out for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paper {
    /// 210 × 297 mm.
    A4,
    /// A roll, as long as it needs to be.
    Roll(Roll),
}
