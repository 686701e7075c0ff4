//! Closures of days and of shifts: whether a report that stands in the journal says what its records add up to.

use crate::encoding::from_hex;
use crate::failure::{Failure, Kind};
use crate::hash::{Hash, Tagged};
use crate::tally::Tally;
use crate::value::Value;

/// Where a period or a shift began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) position: u64,
    pub(crate) head: Hash,
}

/// A shift that is open at a terminal.
#[derive(Debug, Clone)]
pub(crate) struct Shift {
    pub(crate) id: String,
    pub(crate) opening: Opening,
    pub(crate) tally: Tally,
}

fn wrong(detail: impl Into<String>) -> Failure {
    Failure::new(Kind::Totals, "report", detail)
}

/// A report's digest is of its text without it.
pub(crate) fn check_digest(text: &str) -> Result<(), Failure> {
    let parts = text.rsplit_once(",\"digest\":\"");
    let stated = parts.and_then(|(_, digest)| digest.strip_suffix("\"}")).and_then(from_hex::<32>);
    let body = parts.map(|(body, _)| format!("{body}}}"));
    let computed = body.map(|body| Tagged::new("fiscus/report/v1").text(&body).finish());
    match (stated, computed) {
        (Some(stated), Some(computed)) if stated == computed => Ok(()),
        _ => Err(wrong("its digest is not that of its text")),
    }
}

/// A report names the record that it begins after and the last one that it covers.
pub(crate) fn check_ends(
    report: &Value,
    (opening, position_name): (Option<Opening>, &str),
    closing: Opening,
) -> Result<(), Failure> {
    let begins = opening.is_none_or(|opening| {
        report.count(position_name) == Some(opening.position)
            && report.hash("opening_hash") == Some(opening.head)
    });
    let ends = report.count("closing_position") == Some(closing.position)
        && report.hash("closing_hash") == Some(closing.head);
    if begins && ends {
        Ok(())
    } else {
        Err(wrong("it covers other records than it stands behind"))
    }
}

/// The figures of a closed day.
pub(crate) fn check_day(report: &Value, since: &Tally, currency: &str) -> Result<(), Failure> {
    if !since.counts_are(report, "invoices") {
        return Err(wrong(format!(
            "it states other counts than the {} invoices since the last one",
            since.invoices()
        )));
    }
    if report.member("empty") != Some(&Value::Flag(since.invoices() == 0)) {
        return Err(wrong("it says wrongly whether anything was sold"));
    }
    if !since.currencies_are(report.list("currencies"), currency) {
        return Err(wrong("it states other sums than those of the invoices since the last one"));
    }
    Ok(())
}

/// The totals since the outlet's first invoice.
pub(crate) fn check_perpetual(
    report: &Value,
    perpetual: &Tally,
    currency: &str,
) -> Result<(), Failure> {
    let invoices = report.count("perpetual_invoices") == Some(perpetual.invoices());
    if invoices && perpetual.currencies_are(report.list("perpetual"), currency) {
        return Ok(());
    }
    Err(wrong("its perpetual totals are not those of all invoices"))
}

/// The figures of a closed shift.
pub(crate) fn check_shift(report: &Value, shift: &Shift) -> Result<(), Failure> {
    let same = report.text("shift_id") == Some(&shift.id)
        && shift.tally.counts_are(report, "invoices")
        && shift.tally.drawers_are(report.list("drawers"));
    if same {
        Ok(())
    } else {
        Err(wrong("it states other figures than those of the invoices of its shift"))
    }
}
