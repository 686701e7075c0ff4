//! The device proxy: the fiscal-device protocol, for points of sale that know nothing else, in front of a
//! cluster that is the device's memory, its counter and its key.
//!
//! ```text
//! TCP, serial, pseudo-terminal ─► host ─► protocol::Session (no IO) ─► port (one device's calls) ─► cluster
//!                                              ▲ standing
//!                       devices (documents, followed) ◄── cluster
//! ```
//!
//! Invariants: a proxy may be killed at any time: it keeps nothing that another proxy would miss, or, when it sells while
//! the cluster is away, has it on its disk before it answers; a
//! command is answered within its time, whatever the cluster does; an unknown outcome is told as unknown.
//!
//! Non-goals: fiscal rules, which are the ledger's and checked by every replica.

mod admin;
mod attach;
pub mod config;
pub mod def_sim;
mod devices;
mod health;
mod host;
mod metrics;
pub mod offline;
mod port;
pub mod protocol;
mod run;
mod serial;

#[cfg(any(test, fuzzing))]
pub use attach::hear;
pub use run::{Proxy, RunError};
