//! The replica process: configuration, services, signer, metrics, shutdown.
//!
//! ```text
//! gRPC ─► services/ledger ─► batcher ─► fiscus_raft ─► apply ─► records (sign) ─► answer
//! ```
//!
//! No business rule lives here: what a command means is the ledger's, what order commands have is
//! Raft's.

mod backup;
pub mod batcher;
mod blocks;
mod checkpoints;
pub mod clock;
pub mod config;
pub mod context;
mod cuts;
mod expiry;
mod facts;
pub mod groups;
pub mod identity;
pub mod incidents;
pub mod metrics;
pub mod monitor;
mod other_logs;
#[cfg(feature = "planted-bugs")]
mod planted;
pub mod records;
mod recovery;
mod run;
mod scrub;
mod services;
pub mod signer;
pub mod steward;
pub mod surroundings;
mod witnesses;

pub use run::{Node, RunError};
pub use witnesses::CaFileError;
