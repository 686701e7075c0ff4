//! Consensus: the write-ahead log, the state store, snapshots, the openraft adapter and the peer
//! network. The only owner of fsync; it sees the fiscal core through one thin adapter.

pub mod consensus;
pub mod disk;
pub mod entry;
pub mod index;
pub mod latency;
pub mod store;
pub mod threads;
pub mod wal;
