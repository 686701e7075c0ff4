//! Deterministic simulation: a cluster of real nodes in one thread, over simulated disks and links, with every
//! fault that the design names, all of it decided by one number.
//!
//! ```text
//! seed ─► plan of faults ─► storm ─┐
//!      ─► clients ─► history ──────┤  three nodes (the product's own code)
//!      ─► clock, randomness ───────┘     │ after every millisecond: watch
//!                                        ▼ in the end: journals, history, roots
//! ```
//!
//! Invariant: two runs of a seed are the same, byte for byte of their traces. Non-goals: speed of the
//! product, what two threads do to each other, what a real kernel does.

mod clients;
mod history;
mod journal;
mod keys;
mod network;
mod operator;
mod plan;
mod seed;
mod signed;
mod storm;
mod summary;
mod watch;
mod world;

pub use seed::{Options, Outcome, planned_faults, run};
pub use summary::Summary;
