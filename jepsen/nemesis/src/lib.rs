//! Faults on real processes: a cluster in network namespaces, clients that note everything, and what goes wrong.
//!
//! ```text
//! workloads ─► ClusterClient, gateways ─► nodes in namespaces ◄─ faults (machines, network, disks, clocks, operator)
//!     └─► record ─► history.jsonl ◄─ watch (leaders, states, checkpoints)   └─► record
//!                        ▲ journal, totals, replicas in the end
//!                        └─► fiscus-check ─► summary.json, timeline.svg, report.html
//! ```
//!
//! Invariants: everything that goes wrong is decided by the seed, when it does is not; an operation is noted with the
//! outcome that its client was told, never with a better one; nothing is left out of a history. Nothing of a run is left
//! but its directory.
//!
//! Non-goals: repeating a run exactly, which real processes cannot; `fiscus-sim` does.

mod clock;
mod cluster;
mod disk;
mod faults;
mod figures;
mod journal;
mod network;
mod operator;
mod options;
mod page;
mod picture;
mod record;
mod run;
mod sales;
mod till;
mod watch;
mod workloads;

pub use options::Options;
pub use run::run;
