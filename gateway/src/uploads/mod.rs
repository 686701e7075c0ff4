//! Uploads to the tax authority: sealed invoices of live outlets, in order per outlet, in batches, until each of them
//! is answered. docs/UPLOAD.md says what is sent.
//!
//! ```text
//! agent.rs (whose turn, how fast: pace.rs) ─► round.rs (what comes next, what was answered) ─► adapter.rs ─► outside
//!                                                 ▲                    │ RecordUpload
//!                                                 └───── journals ◄────┘
//! ```
//!
//! Invariants: an answer is believed as a whole or not at all (contract.rs); what is not known is never failed; how
//! far an outlet is follows from its journal alone.
//!
//! Non-goal: exactly once on the wire. The same id is sent again, and the other side knows it.

pub mod adapter;
pub(crate) mod agent;
pub mod config;
pub mod contract;
mod figures;
pub mod pace;
mod round;
pub(crate) mod status;
