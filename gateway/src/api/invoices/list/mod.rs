//! Lists of invoices: by time over every outlet of the caller, or by number at one.
//!
//! ```text
//! filters ─► by_time (a stream for each part of each group, merged) ─► page, cursor
//!         └► by_number (one outlet)                                 ─► page, cursor
//! ```
//!
//! A cursor says how far each stream was read. New sales come after everything that was listed, so they move nothing
//! and are in no later page.

mod by_number;
mod by_time;
mod filters;
pub(super) mod handler;
mod parameters;
mod summary;
