//! Conversations of hosts with devices, over TCP and over pseudo-terminals, in front of real nodes.
//!
//! What is said is kept in `transcripts`, with everything that differs between two runs masked;
//! `FISCUS_BLESS=1` writes them anew.

mod alone;
mod attach;
#[path = "../../../node/tests/cluster/mod.rs"]
mod cluster;
mod codes;
mod doubt;
mod faults;
mod guide;
mod host;
mod lifecycle;
mod line;
mod many;
mod transcripts;
mod world;
