//! Sealing while the cluster is away: numbers that were lent before, a key of the box's own, and a spool on its disk.
//!
//! ```text
//!  host ─► port ─┬─► cluster                                      while it answers
//!                └─► Till (no IO of its own) ─► Spool ─► Disk      while it does not
//!                      ▲        ▲
//!   Moment, randomness ┘        └ agent: asks for numbers ahead, delivers what was sealed, tells how it stands
//! ```
//!
//! Invariants:
//! - what is answered to a host is on the disk before, and a number is never given out twice (`Spool`);
//! - a document that was ever submitted to the cluster is never sealed offline, and one that was sealed offline is never
//!   submitted to it as a sale (`Till::begin`): no sale is doubled, however often the cable and the power go;
//! - no seal has a time before the one before it, or outside of its credential's window (`Clock`).
//!
//! Non-goals: credit notes, whose originals only the ledger knows; two boxes that are the same device.

mod agent;
mod authority;
mod book;
mod clock;
mod deliver;
mod disk;
mod entry;
mod key_file;
mod scan;
mod settings;
mod spool;
mod status;
mod tell;
mod till;

#[cfg(test)]
mod tests;

pub use agent::OfflineError;
pub(crate) use agent::{Agent, SharedTill};
pub(crate) use clock::Moment;
pub use key_file::{KeyFileError, is_key_file};
pub use settings::OfflineSection;
pub(crate) use status::TillReport;
pub(crate) use status::{Colour, Standing};
pub(crate) use till::{Begun, SealedHere, Slipped};

pub use scan::{Scanned, scan};
pub use spool::{ENTRIES_AT, SpoolError};

/// Reads an entry and writes it again: one that reads has one spelling.
#[must_use]
pub fn entry_again(bytes: &[u8]) -> Option<Vec<u8>> {
    entry::Entry::decode(bytes).ok().map(|entry| entry.encode())
}
