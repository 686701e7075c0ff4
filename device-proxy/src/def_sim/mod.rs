//! A simulated fiscal device: what a real DEF is to its host, as far as its line shows it.
//!
//! ```text
//! line ─► FrameParser ─► Machine (no IO) ─► an entry for the journal, synced ─► the answer, through the faults ─► line
//! ```
//!
//! It has a P-256 key, a journal of its own that survives power cuts, nonces that die after 7 seconds, and knows no
//! cluster. Invariants: an entry is durable before its answer leaves; its numbers have no gap, whatever is cut off
//! when; one invoice is sealed at most once.
//!
//! Non-goals: what real hardware does beyond its line. It is for tests, trials and demonstrations.

mod faults;
mod journal;
mod key;
mod machine;
mod run;

#[cfg(test)]
mod tests;

pub use faults::{Fault, Faults, FaultsError};
pub use journal::{Journal, JournalError};
pub use key::{DeviceKey, KeyError};
pub use machine::{Entry, Handled, Machine, MachineConfig, PoweredBy, Stored};
pub use run::{DefSim, DefSimConfig, DefSimError, Place};
