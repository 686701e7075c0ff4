//! Messages of the wire and of the log, and the typed client of the cluster.
//!
//! No logic about money or consensus lives here. A message that is stored is never changed, only
//! extended.

pub mod absence;
pub mod client;
pub mod dial;
mod generated;
pub mod tls;

/// What operators ask of a node.
pub use generated::fiscus::admin::v1 as admin;
/// What is asked of a group, and what it answers.
pub use generated::fiscus::command::v1 as command;
/// What gateways and device proxies ask of the cluster.
pub use generated::fiscus::ledger::v1 as ledger;
/// What nodes say to each other, and the stored form of log entries.
pub use generated::fiscus::peer::v1 as peer;
/// What a replica keeps beside the rows of the fiscal core.
pub use generated::fiscus::stored::v1 as stored;
