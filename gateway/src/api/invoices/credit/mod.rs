//! Credit notes: the whole of what is left of an invoice, or a part of it, built on its canonical document.
//!
//! ```text
//! original ─► what is left (row) ─► plan (lines) ─► fit (to the cent) ─► document ─► seal, as any invoice
//! ```
//!
//! The ledger decides whether a credit note fits its original, by base and by tax of each group. Taxes are rounded
//! by line, so the parts of a line may come to more than the line: `fit` divides lines until they do not.

mod document;
mod fit;
mod note;
mod plan;
pub(super) mod refund;
mod split;
pub(super) mod void;
