//! What clients saw of a cluster, judged against what it holds in the end.
//!
//! ```text
//! history.jsonl ─► line (the format) ─► history (what belongs together) ─► checks ─► findings
//!                                               └─► edn, for tools of Jepsen
//! ```
//!
//! Invariants: every check is linear or sorts once; no check searches for an order that would explain a history, because
//! the journal is the order. Nothing of the product is used: its hashes, its tree and its rules of numbering are
//! written here again.
//!
//! Non-goals: signatures, which whoever reads the journal checks as it comes.

pub mod checks;
pub mod edn;
pub mod finding;
pub mod history;
pub mod line;
mod names;
mod tree;

pub use checks::check;
pub use finding::{Finding, Kind, exit_code};
pub use history::{History, LoadError};
