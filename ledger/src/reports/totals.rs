//! The parts that reports share.

use crate::hash::{Hash32, Tagged};
use crate::invoice::{Currency, GroupCode, InvoiceType, PaymentMethod};
use crate::manifest::Manifest;
use crate::money::format_minor;
use crate::payload::{Object, array};
use crate::state::outlet::{Outlet, Period};
use crate::state::tally::{CurrencyTally, Tally};

/// The digest that a report carries: over its canonical text without the digest itself.
#[must_use]
pub fn report_digest(canonical_without_digest: &str) -> Hash32 {
    Tagged::new("fiscus/report/v1").str(canonical_without_digest).finish()
}

/// The digest that a report carries, if it is the one of its text.
#[must_use]
pub fn digest_of(report: &str) -> Option<Hash32> {
    const MEMBER: &str = ",\"digest\":\"";
    let (open, rest) = report.rsplit_once(MEMBER)?;
    let carried = crate::hash::from_hex::<32>(rest.strip_suffix("\"}")?)?;
    let text = if open == "{" { "{}".to_owned() } else { format!("{open}}}") };
    (report_digest(&text) == carried).then_some(carried)
}

/// Closes a report with its digest.
pub(super) fn with_digest(report: Object) -> String {
    let text = report.finish();
    let digest = report_digest(&text);
    let open = text.strip_suffix('}').unwrap_or(&text);
    format!("{open},\"digest\":\"{}\"}}", crate::hash::hex(&digest))
}

/// How many invoices of each type.
pub(super) fn counts(tally: &Tally) -> String {
    InvoiceType::ALL
        .iter()
        .fold(Object::new(), |object, kind| object.count(kind.as_str(), tally.count(*kind)))
        .finish()
}

/// The totals per currency, the reporting currency always among them, with all 14 groups.
pub(super) fn currencies(tally: &Tally, manifest: &Manifest) -> String {
    let reporting = manifest.reporting_currency();
    let mut listed: Vec<(Currency, Option<&CurrencyTally>)> =
        tally.currencies().iter().map(|sums| (sums.currency, Some(sums))).collect();
    if let Err(at) = listed.binary_search_by_key(&reporting, |(currency, _)| *currency) {
        listed.insert(at, (reporting, None));
    }
    array(listed.into_iter().map(|(currency, sums)| currency_totals(currency, sums, manifest)))
}

fn currency_totals(
    currency: Currency,
    sums: Option<&CurrencyTally>,
    manifest: &Manifest,
) -> String {
    let groups = GroupCode::all().map(|code| {
        let sum = sums.map_or_else(Default::default, |sums| sums.groups[code.index()]);
        Object::new()
            .text("code", code.as_str())
            .text("name", &manifest.group(code).name)
            .text("base", &format_minor(sum.base))
            .text("tax", &format_minor(sum.tax))
            .text("total", &format_minor(sum.base + sum.tax))
            .finish()
    });
    let payments =
        PaymentMethod::ALL.iter().enumerate().fold(Object::new(), |object, (at, method)| {
            let paid = sums.map_or(0, |sums| sums.payments[at]);
            object.text(method.as_str(), &format_minor(paid))
        });
    let total = sums.map_or_else(Default::default, CurrencyTally::total);
    Object::new()
        .text("currency", currency.as_str())
        .json("groups", &array(groups))
        .text("subtotal", &format_minor(total.base))
        .text("total_vat", &format_minor(total.tax))
        .text("total", &format_minor(total.base + total.tax))
        .json("payments", &payments.finish())
        .finish()
}

/// What every report opens with: whose it is, and what it covers.
pub(super) fn coverage(
    object: Object,
    outlet: &Outlet,
    authority_id: &str,
    opening: (u64, &Hash32),
) -> Object {
    object
        .text("outlet_id", &outlet.fact.outlet_id)
        .text("merchant_nif", &outlet.fact.merchant_nif)
        .text("environment", outlet.fact.environment.as_str())
        .text("fiscal_authority_id", authority_id)
        .count("opened_after_position", opening.0)
        .bytes("opening_hash", opening.1)
        .count("closing_position", outlet.chain.last_position)
        .bytes("closing_hash", &outlet.chain.head)
}

/// The state of the outlet's numbers: sealed in the period, lent, missing and skipped. The main series
/// first, then those of its devices, which have no gaps.
pub(super) fn series(outlet: &Outlet, period: &Period) -> String {
    let series = &outlet.series;
    let main = Object::new()
        .text("series", &outlet.number_prefix())
        .count("last", series.last)
        .ranges("sealed", period.sealed.ranges())
        .ranges("open", series.reserved.ranges())
        .ranges("missing", series.missing.ranges())
        .ranges("recovery_gaps", series.recovery_gaps.ranges())
        .finish();
    let devices = outlet.device_series.iter().map(|(id, series)| {
        Object::new()
            .text("series", id)
            .count("last", series.last)
            .ranges("sealed", series.since_z().as_slice())
            .ranges("open", &[])
            .ranges("missing", &[])
            .ranges("recovery_gaps", &[])
            .finish()
    });
    array(std::iter::once(main).chain(devices))
}

/// The versions of the manifests that taxed what the report covers.
pub(super) fn manifests(object: Object, period: &Period) -> Object {
    object.texts("tax_manifest_versions", period.manifests.iter().map(|version| &**version))
}
