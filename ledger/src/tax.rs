//! The tax rules, and the arithmetic of lines, groups and totals. Pure functions of the invoice and
//! the manifest; nothing else in the product knows them.

use crate::invoice::{
    Classification, Currency, GroupCode, GroupTotal, InvoiceType, Item, PriceMode, Texts, Totals,
};
use crate::manifest::Manifest;
use crate::money::Amount;
use crate::problem::{Code, Problem};

/// The metadata entry that explains why a rule does not hold.
const OVERRIDE: &str = "tax_override_reason";
/// What a liberal profession shows for the reduced rate.
const PROFESSIONAL_APPROVAL: &str = "professional_approval_id";
const REDUCED_RATE: usize = 3;
/// The special groups, which persons may use only with the group's reference.
const FIRST_SPECIAL: usize = 7;

/// Rules 1 to 5: which groups this invoice may use, and with which references.
pub(crate) fn check_rules(
    invoice_type: InvoiceType,
    classification: Classification,
    items: &[Item<'_>],
    metadata: &Texts<'_>,
    manifest: &Manifest,
) -> Result<(), Problem> {
    if items.is_empty() {
        let detail = "an invoice needs at least one line";
        return Err(Problem::new(Code::ItemsEmpty, detail).at("items"));
    }
    if !has(metadata, OVERRIDE) {
        check_embassy(classification, items)?;
        check_exempt(items)?;
    }
    check_export(invoice_type, items, manifest)?;
    for (index, item) in items.iter().enumerate() {
        check_references(classification, item, manifest)
            .map_err(|problem| problem.at_index(index).at("items"))?;
    }
    Ok(())
}

/// Whether a text is there and says something.
fn has(texts: &Texts<'_>, key: &str) -> bool {
    texts.iter().any(|(known, value)| known == key && !value.trim().is_empty())
}

fn group_problem(code: Code, index: usize, detail: impl Into<String>) -> Problem {
    Problem::new(code, detail).at("tax_group").at_index(index).at("items")
}

/// Rule 1: every line for an embassy is exempt.
fn check_embassy(classification: Classification, items: &[Item<'_>]) -> Result<(), Problem> {
    if classification != Classification::Embassy {
        return Ok(());
    }
    match items.iter().position(|item| item.tax_group != GroupCode::EXEMPT) {
        None => Ok(()),
        Some(index) => Err(group_problem(
            Code::EmbassyNotExempt,
            index,
            "an embassy's lines are TG01 unless metadata.tax_override_reason says why not",
        )),
    }
}

/// Rule 2: exempt lines stand alone.
fn check_exempt(items: &[Item<'_>]) -> Result<(), Problem> {
    let exempt = |item: &Item<'_>| item.tax_group == GroupCode::EXEMPT;
    let first = items.first().is_some_and(exempt);
    match items.iter().position(|item| exempt(item) != first) {
        None => Ok(()),
        Some(index) => Err(group_problem(
            Code::ExemptMixed,
            index,
            "TG01 is not mixed with other groups unless metadata.tax_override_reason says why",
        )),
    }
}

/// Rule 3: exports, and nothing else, are TG07 with their certificate.
fn check_export(
    invoice_type: InvoiceType,
    items: &[Item<'_>],
    manifest: &Manifest,
) -> Result<(), Problem> {
    let export = matches!(invoice_type, InvoiceType::Export | InvoiceType::ExportCredit);
    for (index, item) in items.iter().enumerate() {
        if export != (item.tax_group == GroupCode::EXPORT) {
            let detail = "TG07 is the group of every line of an export, and of no other invoice";
            return Err(group_problem(Code::ExportGroup, index, detail));
        }
        let required = &manifest.group(item.tax_group).requires;
        if export && let Some(absent) = required.iter().find(|name| !has(&item.references, name)) {
            let detail = format!("a line of an export carries its {absent}");
            let problem = Problem::new(Code::ExportGroup, detail).at(absent).at("references");
            return Err(problem.at_index(index).at("items"));
        }
    }
    Ok(())
}

/// Rules 4 and 5: the references that a line's group asks for.
fn check_references(
    classification: Classification,
    item: &Item<'_>,
    manifest: &Manifest,
) -> Result<(), Problem> {
    let group = manifest.group(item.tax_group);
    let approval =
        item.tax_group.index() == REDUCED_RATE && classification == Classification::Professional;
    let required = group.requires.iter().map(String::as_str);
    let absent = required
        .chain(approval.then_some(PROFESSIONAL_APPROVAL))
        .find(|name| !has(&item.references, name));
    let Some(absent) = absent else { return Ok(()) };
    let code = item.tax_group.as_str();
    if classification == Classification::Individual && item.tax_group.index() >= FIRST_SPECIAL {
        let detail = format!("an individual may not use {code} without its {absent}");
        return Err(Problem::new(Code::GroupNotAllowed, detail).at("tax_group"));
    }
    let detail = format!("a line in {code} needs the reference {absent}");
    Err(Problem::new(Code::ReferenceMissing, detail).at(absent).at("references"))
}

/// Rules 6 to 8: computes every line, the groups and the totals.
pub(crate) fn compute(
    items: &mut [Item<'_>],
    price_mode: PriceMode,
    currency: Currency,
    manifest: &Manifest,
) -> Result<(Vec<GroupTotal>, Totals), Problem> {
    let mut groups: Vec<GroupTotal> = Vec::with_capacity(2);
    for (index, item) in items.iter_mut().enumerate() {
        compute_line(item, price_mode, manifest)
            .map_err(|problem| problem.at_index(index).at("items"))?;
        add_to_group(&mut groups, item, manifest)?;
    }
    let sum = |part: fn(&GroupTotal) -> Amount| -> i128 {
        groups.iter().map(|group| part(group).wide()).sum()
    };
    let mut rounded_by_group: i128 = 0;
    for group in &groups {
        let tax = group.rate.of(group.base).ok_or_else(|| over_limit("total_vat").at("totals"))?;
        rounded_by_group += tax.wide();
    }
    let total = |minor: i128, name: &str| {
        Amount::from_wide(minor).ok_or_else(|| over_limit(name).at("totals"))
    };
    let (subtotal, total_vat) = (sum(|group| group.base), sum(|group| group.tax));
    let totals = Totals {
        subtotal: total(subtotal, "subtotal")?,
        total_vat: total(total_vat, "total_vat")?,
        total: total(subtotal + total_vat, "total")?,
        currency,
        rounding_adjustment: total(total_vat - rounded_by_group, "rounding_adjustment")?,
    };
    Ok((groups, totals))
}

/// Base and tax of one line. Prices with tax are rounded first and then taken apart, so that the line
/// comes to exactly what the client pays.
fn compute_line(
    item: &mut Item<'_>,
    price_mode: PriceMode,
    manifest: &Manifest,
) -> Result<(), Problem> {
    let rate = manifest.group(item.tax_group).rate;
    let gross = item.quantity.times(item.unit_price).ok_or_else(|| over_limit("unit_price"))?;
    if item.discount > gross {
        let detail = format!("the discount {} is over the line's {gross}", item.discount);
        return Err(Problem::new(Code::DiscountExceedsLine, detail).at("discount"));
    }
    let less = |a: Amount, b: Amount| {
        Amount::from_wide(a.wide() - b.wide()).ok_or_else(|| over_limit("unit_price"))
    };
    let net = less(gross, item.discount)?;
    (item.base, item.tax) = match price_mode {
        PriceMode::Exclusive => (net, rate.of(net).ok_or_else(|| over_limit("unit_price"))?),
        PriceMode::Inclusive => {
            let base = rate.base_in(net).ok_or_else(|| over_limit("unit_price"))?;
            (base, less(net, base)?)
        }
    };
    Ok(())
}

fn add_to_group(
    groups: &mut Vec<GroupTotal>,
    item: &Item<'_>,
    manifest: &Manifest,
) -> Result<(), Problem> {
    let at = match groups.binary_search_by_key(&item.tax_group, |group| group.code) {
        Ok(at) => at,
        Err(at) => {
            let rate = manifest.group(item.tax_group).rate;
            let empty =
                GroupTotal { code: item.tax_group, rate, base: Amount::ZERO, tax: Amount::ZERO };
            groups.insert(at, empty);
            at
        }
    };
    let group = &mut groups[at];
    let over = || over_limit("subtotal").at("totals");
    group.base = group.base.checked_add(item.base).ok_or_else(over)?;
    group.tax = group.tax.checked_add(item.tax).ok_or_else(over)?;
    Ok(())
}

fn over_limit(name: &str) -> Problem {
    let detail = "the computed amount is over the limit of 10000000000000.00";
    Problem::new(Code::AmountOverflow, detail).at(name)
}
