//! The replica process.
