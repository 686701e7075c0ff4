//! Conversations of hosts with devices, over TCP and over pseudo-terminals, in front of real nodes.
//!
//! What is said is kept in `transcripts`, with everything that differs between two runs masked;
//! `FISCUS_BLESS=1` writes them anew.

mod alone;
#[path = "../../../node/tests/cluster/mod.rs"]
mod cluster;
mod doubt;
mod faults;
mod host;
mod lifecycle;
mod many;
mod transcripts;
mod world;
