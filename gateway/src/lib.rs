//! The gateway: the fiscal REST API in front of a cluster.
//!
//! ```text
//! listener ─► http (request id, limits, problems) ─► access (who, what, how often) ─► api (one file a resource)
//!                                                                                     │
//!                               directory (documents, followed) ◄── cluster ◄─────────┘ typed client
//! ```
//!
//! Invariants: a gateway keeps nothing that another gateway would miss; a handler reaches data only through the
//! caller that it serves; an unknown outcome is told as unknown; every queue, body and wait has a bound.
//!
//! Non-goals: fiscal rules, which are the ledger's and checked again by every replica.

pub mod access;
mod activity;
mod admin;
mod alerts;
pub mod api;
pub mod config;
pub mod delivery;
pub mod directory;
pub mod http;
mod listener;
mod metrics;
pub mod network;
mod place_id;
pub mod render;
mod run;
pub mod standing;
pub mod uploads;
pub mod webhooks;

pub use access::App;
pub use run::{Gateway, RunError};
