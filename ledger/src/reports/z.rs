//! The Z report: the daily closure's canonical text.

use super::totals::{counts, coverage, currencies, manifests, series, with_digest};
use crate::manifest::Manifest;
use crate::payload::Object;
use crate::state::outlet::Outlet;
use crate::time::UnixMs;

/// What a Z needs beside the outlet.
#[derive(Debug)]
pub struct ZContext<'a> {
    /// The key that will sign its record.
    pub authority_id: &'a str,
    /// Who closes.
    pub operator: &'a str,
    /// The group time.
    pub generated_at: UnixMs,
    /// The manifest in force, for the groups' names.
    pub manifest: &'a Manifest,
}

/// The Z over everything since the last one.
#[must_use]
pub fn z_report(outlet: &Outlet, context: &ZContext<'_>) -> String {
    let period = &outlet.period;
    let opening = (period.opened_after, &period.opening_head);
    let report = Object::new().text("report", "z").count("z_number", outlet.last_z + 1);
    let report = coverage(report, outlet, context.authority_id, opening)
        .text("generated_at", &context.generated_at.to_string())
        .text("operator", context.operator)
        .flag("empty", period.tally.invoices() == 0)
        .count("invoices", period.tally.invoices())
        .json("counts", &counts(&period.tally))
        .json("series", &series(outlet, period))
        .json("currencies", &currencies(&period.tally, context.manifest))
        .json("perpetual", &currencies(&outlet.perpetual, context.manifest))
        .count("perpetual_invoices", outlet.perpetual.invoices());
    with_digest(manifests(report, period))
}
