//! The auditor's half of the ledger: whether a receipt, an export, a log or a range of an outlet's journal is what
//! it claims to be, from published formats and public keys alone.
//!
//! ```text
//! policy ──► what is trusted: origins, log keys, witnesses and their quorum, authority keys, tax manifests
//!                │
//! receipt ───────┤  qr, credential
//! export ────────┤  stream ─► record (on every core) ─► outlet (in order) ─► report
//! log, range ────┘  note, merkle, heads
//! ```
//!
//! Nothing here comes from the server's code: every hash, number, tax and proof is computed again by what stands in
//! this crate, after `docs/FORMAT.md`. What the two could share, they could get wrong together.
//!
//! Invariants: nothing that is checked says what to trust (only the policy does); a failure has one [`Kind`] and a
//! place; memory does not grow with the length of an export, but for what `outlet` says.
//!
//! Non-goals: asking anybody for anything. It reads files.

mod batch;
mod bundle;
mod closure;
mod credential;
mod decimal;
mod device;
mod encoding;
mod export;
mod failure;
mod hash;
mod heads;
mod invoice;
mod keys;
mod leave;
mod log;
mod manifest;
mod merkle;
mod note;
mod numbers;
mod offline;
mod outlet;
mod policy;
mod qr;
mod range;
mod receipt;
mod record;
mod scan;
mod stream;
mod tally;
mod tax;
mod time;
mod uploads;
mod value;

pub use export::{
    CurrencyTotal, ExportOptions, ExportSummary, JournalSummary, Progress, verify_export,
};
pub use failure::{Failure, Kind};
pub use log::{LogSummary, verify_log};
pub use note::Checkpoint;
pub use policy::{Policy, PolicyError};
pub use range::{Asked, RangeSummary, verify_range};
pub use receipt::{ReceiptSummary, verify_receipt};
pub use stream::VerifyError;
