//! Who asks, what they may do, and how often; and the only ways to reach data.
//!
//! ```text
//! Authorization ─► keys ─► Caller ─► may(scope) ─► Outlet, Merchant … of this caller ─► cluster
//! ```
//!
//! Invariant: what is not the caller's is answered exactly as what does not exist.

mod actions;
mod app;
mod batch;
mod caller;
pub mod key_ring;
pub mod keys;
mod outlet;
mod outlets;
mod places;
pub mod rates;
mod registry;
pub mod scopes;
mod search;
mod staff;
mod strangers;
mod tenants;

pub use actions::{ActionPage, ActionQuery};
pub use app::App;
pub use caller::Caller;
pub(crate) use caller::invoice_unknown;
pub use outlet::Outlet;
pub use outlets::{NewOutlet, OutletChange};
pub use registry::{Made, Once};
pub use scopes::{Role, Scope};
pub use search::{Part, Search};
pub use staff::{CashierChange, Terminal, TerminalChange};
pub use tenants::MerchantChange;
