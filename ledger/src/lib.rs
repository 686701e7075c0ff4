//! The fiscal domain as pure functions.
//!
//! No clock, no randomness, no IO, no floats, no hash-ordered maps: time and seeds are arguments, and
//! bad input is an outcome. Every replica that applies the same entries to the same state reaches the
//! same bytes.

#![deny(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::float_arithmetic,
    clippy::lossy_float_literal,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a replica must not lose a digit, stop, or differ from another"
)]
#![cfg_attr(
    not(test),
    deny(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a lossy cast changes money silently"
    )
)]

pub mod activation;
pub mod apply;
pub mod base64;
pub mod checkpoint;
pub mod codec;
pub mod commands;
pub mod cosignature;
pub mod credential;
pub mod device_seal;
pub mod facts;
pub mod hash;
pub mod heads;
pub mod invoice;
pub mod journal;
pub mod json;
pub mod keys;
pub mod manifest;
pub mod money;
pub mod note;
pub mod offline;
pub mod outcome;
pub mod payload;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod problem;
pub mod qr;
pub mod record;
pub mod reference;
pub mod reports;
pub mod seal;
pub mod state;
pub mod tax;
pub mod text;
pub mod time;
pub mod tlog_proof;
pub mod tree;
mod unicode_assigned;
