//! The fiscal-device protocol as machines without IO: bytes and times in, frames and decisions out.
//!
//! ```text
//! bytes ─► frame (STX … ETX, checksum) ─► command (FAMILY|VERB, arguments, JSON) ─► session ─► answer ─► bytes
//!                                                                                    │  ▲
//!                                                                             a call ▼  │ a reply
//!                                                                         whoever can reach the cluster
//! ```
//!
//! Invariants: every frame that begins gets exactly one answer, in the order in which frames end; a nonce
//! is used for the payload it was given for and nothing else; what is held for a host has a bound, whatever
//! it sends; an unknown outcome is never told as a failure.
//!
//! Non-goals: fiscal rules, which are the ledger's, and everything that waits.

pub mod answer;
pub mod command;
pub(crate) mod crc32;
pub mod frame;
pub mod nonce;
pub mod session;

#[cfg(test)]
mod tests;

pub use answer::{Code, Fault};
pub use command::{Command, DumpFormat};
pub use frame::{FRAME_BYTES_MAX, FrameParser};
pub use nonce::Nonce;
pub use session::{Call, Reply, Session, SessionLimits, Standing, Step};
