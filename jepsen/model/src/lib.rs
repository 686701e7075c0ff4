//! Models of the protocols in which a wrong order of steps loses or doubles something, small enough to be read, and
//! checked in every state that they can reach.
//!
//! ```text
//! checkpoints   cut ─► told by a majority ─► decided in the log ─► signed
//! blocks        grant ─► sealed offline ─► closed ─► reconciled late
//! members       old voters ─► both ─► new voters, and whoever comes by a snapshot
//! ```
//!
//! Invariant: each model has variants with one wrong step, and the checker refutes each of them; a model that cannot
//! be refuted says nothing. Non-goals: the product's code, which the simulation runs; liveness; sizes beyond the bounds
//! that each model names.

pub mod blocks;
pub mod checkpoints;
pub mod members;
