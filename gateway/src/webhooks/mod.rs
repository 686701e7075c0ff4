//! Webhooks: what happens in the ledger, sent to customers' endpoints as Standard Webhooks 1.0.
//!
//! ```text
//! record ─► event (what it tells) ─► message (payload, signatures) ─► guard (may this address be reached?) ─► post
//! ```
//!
//! Invariants: nothing is sent to an address that was not checked, and the connection goes to the address that was;
//! a secret is in memory and sealed, never in a log or an answer but the one that makes it.

pub mod catalogue;
pub mod event;
pub mod guard;
mod lookups;
pub mod message;
pub mod post;
pub mod signature;
pub mod target;
pub mod vault;
