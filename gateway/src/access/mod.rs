//! Who asks, what they may do, and how often; and the only ways to reach data.
//!
//! ```text
//! Authorization ─► keys ─► Caller ─► may(scope) ─► Outlet, Merchant … of this caller ─► cluster
//! no key ─► visitors ─► Public ─► published keys, and of an invoice what its paper says ─► cluster
//! ```
//!
//! Invariant: what is not the caller's is answered exactly as what does not exist.

mod actions;
mod app;
mod authorities;
mod authority_key;
mod batch;
mod caller;
mod checkpoints;
mod copies;
mod devices;
mod exports;
mod heads;
pub mod key_ring;
pub mod keys;
mod log;
mod outlet;
mod outlets;
mod places;
mod public;
mod range;
pub mod rates;
mod receipt;
mod registry;
mod reports;
mod ring;
pub mod scopes;
mod search;
mod staff;
mod strangers;
mod tenants;
mod uploads;
mod visitors;
mod webhooks;

pub use actions::{ActionPage, ActionQuery};
pub use app::App;
pub use authorities::Published;
pub use caller::Caller;
pub(crate) use caller::invoice_unknown;
pub use checkpoints::SignedCheckpoint;
pub use devices::Device;
pub use exports::Export;
pub(crate) use exports::not_acknowledged;
pub use heads::{AbsentOutlet, CompleteRange, ProvenHeads};
pub use log::{LogReader, TileAsked};
pub use outlet::Outlet;
pub use outlets::{NewOutlet, OutletChange, OutletSwitch};
pub use public::{LookUp, Public, PublishedKeys, SoldAt};
pub use range::{Range, RangeAsked};
pub use receipt::{Credited, Printed, Printer, Seal, SealedReceipt};
pub use registry::{Made, Once};
pub(crate) use reports::no_answer;
pub use reports::{KeptContent, KeptReport, KeptText, NewReport};
pub use scopes::{Role, Scope};
pub use search::{Part, Search};
pub use staff::{CashierChange, Terminal, TerminalChange};
pub use tenants::MerchantChange;
#[cfg(fuzzing)]
pub(crate) use visitors::visitor;
pub use webhooks::{Again, Progress};
