//! Many invoices in one request, each with an answer of its own.
//!
//! ```text
//! JSON, or lines ─► items ─► lanes (an outlet's items one after the other, outlets side by side) ─► answers, in order
//! ```
//!
//! So many items are under way at most; no more is read before one is answered, and no answer is made before it is
//! taken.

mod answer;
pub(super) mod handler;
mod items;
mod lanes;

#[cfg(fuzzing)]
pub(in crate::api) use items::of_document;
