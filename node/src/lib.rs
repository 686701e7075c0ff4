//! The replica process.

pub mod signer;
