//! The law's arithmetic and its rules for groups, computed again from the lines of an invoice.

use crate::decimal::{AMOUNT_MAX, half_up};
use crate::failure::{Failure, Kind};
use crate::invoice::{EMBASSY, Invoice, Item, PROFESSIONAL};
use crate::manifest::{GROUPS, Manifest};
use crate::qr::TYPES;

const EXEMPT: usize = 0;
const REDUCED: usize = 3;
const EXPORT: usize = 6;
const OVERRIDE: &str = "tax_override_reason";
const PROFESSIONAL_APPROVAL: &str = "professional_approval_id";

fn tax(detail: impl Into<String>) -> Failure {
    Failure::new(Kind::Tax, "invoice", detail)
}

fn totals(detail: impl Into<String>) -> Failure {
    Failure::new(Kind::Totals, "invoice", detail)
}

/// Checks everything that an invoice computes and claims, under the manifest in force.
pub(crate) fn check(invoice: &Invoice<'_>, manifest: &Manifest) -> Result<(), Failure> {
    if invoice.manifest != manifest.version {
        let detail = format!(
            "it names manifest {:?}, but {:?} was in force",
            invoice.manifest, manifest.version
        );
        return Err(tax(detail));
    }
    check_rules(invoice, manifest)?;
    let mut sums = [(0_i128, 0_i128, false); GROUPS];
    for (place, item) in (1..).zip(&invoice.items) {
        let rate = i128::from(manifest.groups[item.group].rate);
        let (base, tax_amount) = line(item, rate, invoice.inclusive).ok_or_else(|| {
            tax(format!("line {place} is over the limit, or its discount is over the line"))
        })?;
        let sum = &mut sums[item.group];
        *sum = (sum.0 + base, sum.1 + tax_amount, true);
    }
    check_groups(invoice, manifest, &sums)?;
    check_totals(invoice, manifest, &sums)?;
    check_fx(invoice, manifest)
}

/// Base and tax of a line.
fn line(item: &Item<'_>, rate: i128, inclusive: bool) -> Option<(i128, i128)> {
    let gross = half_up(i128::from(item.quantity) * i128::from(item.unit_price), 1_000);
    let net = gross - i128::from(item.discount);
    if gross > i128::from(AMOUNT_MAX) || net < 0 {
        return None;
    }
    if inclusive {
        let base = half_up(net * 10_000, 10_000 + rate);
        return Some((base, net - base));
    }
    Some((net, half_up(net * rate, 10_000)))
}

fn check_groups(
    invoice: &Invoice<'_>,
    manifest: &Manifest,
    sums: &[(i128, i128, bool); GROUPS],
) -> Result<(), Failure> {
    let mut stated = invoice.groups.iter();
    for (group, (base, tax_amount, present)) in sums.iter().enumerate().filter(|(_, sum)| sum.2) {
        debug_assert!(present);
        let code = format!("TG{:02}", group + 1);
        let Some(found) = stated.next().filter(|found| found.group == group) else {
            return Err(tax(format!("its tax groups do not list {code} in its place")));
        };
        let known = &manifest.groups[group];
        if found.rate != known.rate || found.name != known.name {
            return Err(tax(format!(
                "it states another rate or name for {code} than the manifest"
            )));
        }
        if (i128::from(found.base), i128::from(found.tax)) != (*base, *tax_amount) {
            return Err(tax(format!(
                "the lines of {code} make a base of {base} and a tax of {tax_amount} minor units"
            )));
        }
    }
    match stated.next() {
        None => Ok(()),
        Some(_) => Err(tax("it lists a tax group that no line is in")),
    }
}

fn check_totals(
    invoice: &Invoice<'_>,
    manifest: &Manifest,
    sums: &[(i128, i128, bool); GROUPS],
) -> Result<(), Failure> {
    let subtotal: i128 = sums.iter().map(|sum| sum.0).sum();
    let vat: i128 = sums.iter().map(|sum| sum.1).sum();
    let by_group: i128 = sums
        .iter()
        .zip(&manifest.groups)
        .map(|(sum, group)| half_up(sum.0 * i128::from(group.rate), 10_000))
        .sum();
    let stated = &invoice.totals;
    for (name, stated, computed) in [
        ("subtotal", stated.subtotal, subtotal),
        ("total_vat", stated.vat, vat),
        ("total", stated.total, subtotal + vat),
        ("rounding_adjustment", stated.rounding, vat - by_group),
    ] {
        if i128::from(stated) != computed {
            return Err(totals(format!(
                "{name} is stated as {stated} and is {computed} minor units"
            )));
        }
    }
    Ok(())
}

fn check_fx(invoice: &Invoice<'_>, manifest: &Manifest) -> Result<(), Failure> {
    let reporting = manifest.reporting_currency.as_bytes();
    let foreign = invoice.totals.currency != reporting;
    let Some(fx) = &invoice.fx else {
        return if foreign {
            Err(tax("it is in a foreign currency and has no exchange rate"))
        } else {
            Ok(())
        };
    };
    let converted = half_up(i128::from(invoice.totals.vat) * i128::from(fx.rate), 1_000_000);
    if !foreign || fx.currency != reporting || i128::from(fx.tax) != converted {
        return Err(tax(format!("its tax in the reporting currency is {converted} minor units")));
    }
    Ok(())
}

fn has(texts: &[(std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)], key: &str) -> bool {
    texts.iter().any(|(known, value)| known == key && !value.trim().is_empty())
}

fn check_rules(invoice: &Invoice<'_>, manifest: &Manifest) -> Result<(), Failure> {
    if invoice.items.is_empty() {
        return Err(tax("it has no line"));
    }
    let exempt = invoice.items.iter().filter(|item| item.group == EXEMPT).count();
    if !has(&invoice.metadata, OVERRIDE) {
        if invoice.class == EMBASSY && exempt < invoice.items.len() {
            return Err(tax("a line for an embassy is not exempt, and no reason is given"));
        }
        if exempt > 0 && exempt < invoice.items.len() {
            return Err(tax("exempt lines stand among others, and no reason is given"));
        }
    }
    let is_export = TYPES[invoice.kind].starts_with("export");
    for (place, item) in (1..).zip(&invoice.items) {
        if is_export != (item.group == EXPORT) {
            return Err(tax(format!(
                "line {place}: TG07 is the group of exports, and of nothing else"
            )));
        }
        let approval = item.group == REDUCED && invoice.class == PROFESSIONAL;
        let required = manifest.groups[item.group].requires.iter().map(String::as_str);
        for name in required.chain(approval.then_some(PROFESSIONAL_APPROVAL)) {
            if !has(&item.references, name) {
                return Err(tax(format!(
                    "line {place} lacks the reference {name} that its group asks for"
                )));
            }
        }
    }
    Ok(())
}
