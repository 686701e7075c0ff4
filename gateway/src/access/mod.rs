//! Who asks, what they may do, and how often; and the only ways to reach data.
//!
//! ```text
//! Authorization ─► keys ─► Caller ─► may(scope) ─► Outlet, Merchant … of this caller ─► cluster
//! ```
//!
//! Invariant: what is not the caller's is answered exactly as what does not exist.

mod app;
mod caller;
pub mod keys;
mod outlet;
pub mod rates;
pub mod scopes;

pub use app::App;
pub use caller::Caller;
pub(crate) use caller::invoice_unknown;
pub use outlet::Outlet;
pub use scopes::{Role, Scope};
