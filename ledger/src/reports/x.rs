//! The X report: a snapshot that changes nothing; and the closing of a shift, which is the X of it.

use super::totals::{counts, coverage, currencies, manifests, series, with_digest};
use crate::invoice::PaymentMethod;
use crate::manifest::Manifest;
use crate::money::format_minor;
use crate::payload::{Object, array};
use crate::state::Id;
use crate::state::outlet::Outlet;
use crate::state::rows::OpenShift;
use crate::state::tally::Tally;
use crate::time::UnixMs;

/// What an X looks at.
#[derive(Debug, Clone, Copy)]
pub enum XScope<'a> {
    /// The outlet since its last Z.
    Outlet,
    /// A terminal since its shift was opened.
    Shift {
        /// The terminal.
        terminal_id: &'a str,
        /// Its open shift.
        shift: &'a OpenShift,
    },
}

/// What an X needs beside the outlet.
#[derive(Debug)]
pub struct XContext<'a> {
    /// The key that will sign its digest.
    pub authority_id: &'a str,
    /// The group time.
    pub generated_at: UnixMs,
    /// The manifest in force.
    pub manifest: &'a Manifest,
    /// What it looks at.
    pub scope: XScope<'a>,
    /// The outlet's devices and their states.
    pub devices: &'a [(Id, &'a str)],
    /// How many invoices wait for their upload.
    pub uploads_queued: u64,
    /// What the caller knows to be wrong: clock, storage.
    pub warnings: &'a [String],
}

/// A block with at most this share of its numbers left is worth a warning.
const BLOCK_NEARLY_USED_NUMBERS: u64 = 50;

/// The X of an outlet, or of a shift.
#[must_use]
pub fn x_report(outlet: &Outlet, context: &XContext<'_>) -> String {
    let period = &outlet.period;
    let (tally, opening) = match context.scope {
        XScope::Outlet => (&period.tally, (period.opened_after, &period.opening_head)),
        XScope::Shift { shift, .. } => (&shift.tally, (shift.opened_at, &shift.opening_head)),
    };
    let report = Object::new().text("report", "x");
    let report = match context.scope {
        XScope::Outlet => report.text("scope", "outlet"),
        XScope::Shift { terminal_id, shift } => report
            .text("scope", "shift")
            .text("pos_terminal_id", terminal_id)
            .text("shift_id", &shift.shift_id),
    };
    let devices = context
        .devices
        .iter()
        .map(|(id, state)| Object::new().text("device_id", id).text("state", state).finish());
    let report = coverage(report, outlet, context.authority_id, opening)
        .text("generated_at", &context.generated_at.to_string())
        .count("invoices", tally.invoices())
        .json("counts", &counts(tally))
        .json("series", &series(outlet, period))
        .json("currencies", &currencies(tally, context.manifest))
        .json("devices", &array(devices))
        .count("uploads_queued", context.uploads_queued);
    let warnings = warnings(outlet, context);
    let report = report.texts("warnings", warnings.iter().map(String::as_str));
    with_digest(manifests(report, period))
}

fn warnings(outlet: &Outlet, context: &XContext<'_>) -> Vec<String> {
    let mut warnings = context.warnings.to_vec();
    let open = outlet.series.reserved.count();
    if open > 0 && open <= BLOCK_NEARLY_USED_NUMBERS {
        warnings.push(format!("only {open} numbers are left in the open offline blocks"));
    }
    let missing = outlet.series.missing.count();
    if missing > 0 {
        warnings.push(format!("{missing} numbers of closed offline blocks are missing"));
    }
    warnings
}

/// The payload of a shift's closing record.
#[must_use]
pub fn shift_close(
    outlet: &Outlet,
    terminal_id: &str,
    shift: &OpenShift,
    cashier_id: &str,
) -> String {
    let report = Object::new()
        .text("report", "shift")
        .text("outlet_id", &outlet.fact.outlet_id)
        .text("shift_id", &shift.shift_id)
        .text("pos_terminal_id", terminal_id)
        .text("opened_by", &shift.cashier_id)
        .text("closed_by", cashier_id)
        .text("opened_at", &shift.opened.to_string())
        .count("opened_at_position", shift.opened_at)
        .bytes("opening_hash", &shift.opening_head)
        .count("closing_position", outlet.chain.last_position)
        .bytes("closing_hash", &outlet.chain.head)
        .count("invoices", shift.tally.invoices())
        .json("counts", &counts(&shift.tally))
        .json("drawers", &drawers(&shift.tally));
    with_digest(report)
}

/// What should be in the drawer, per currency and payment method.
fn drawers(tally: &Tally) -> String {
    array(tally.currencies().iter().map(|sums| {
        let total = sums.total();
        let methods = PaymentMethod::ALL.iter().zip(sums.payments);
        let payments = methods.fold(Object::new(), |object, (method, paid)| {
            object.text(method.as_str(), &format_minor(paid))
        });
        Object::new()
            .text("currency", sums.currency.as_str())
            .text("subtotal", &format_minor(total.base))
            .text("total_vat", &format_minor(total.tax))
            .text("total", &format_minor(total.base + total.tax))
            .json("payments", &payments.finish())
            .finish()
    }))
}
