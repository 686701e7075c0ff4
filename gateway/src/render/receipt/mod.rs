//! A receipt as HTML, as PDF, and as a thermal printer's bytes.

mod a4;
mod code_page;
mod escpos;
mod html;
mod roll;
mod roll_pdf;

pub use html::STYLE;

use super::view::ReceiptView;
use super::{Paper, Roll};

/// A whole page without scripts, and without anything to load.
#[must_use]
pub fn html(view: &ReceiptView) -> String {
    html::page(view)
}

/// A PDF whose text can be searched and copied.
#[must_use]
pub fn pdf(view: &ReceiptView, paper: Paper) -> Vec<u8> {
    match paper {
        Paper::A4 => a4::pdf(view),
        Paper::Roll(roll) => roll_pdf::pdf(view, roll),
    }
}

/// What a thermal printer prints, and then cuts.
#[must_use]
pub fn escpos(view: &ReceiptView, roll: Roll) -> Vec<u8> {
    escpos::print(view, roll)
}
