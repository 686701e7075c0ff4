//! The one spelling of an invoice.

use super::types::{GroupTotal, Item, Payment, PriceMode, Texts, Totals};
use super::{Body, Filled};
use crate::json::{Comparison, Sink, write_string};
use crate::manifest::Manifest;
use crate::money::{Amount, write_scaled};

/// The canonical document, without what `omit` names.
pub(super) fn document(body: &Body<'_>, manifest: &Manifest, omit: Filled) -> String {
    let mut out = String::with_capacity(768 + body.items.len() * 256);
    write_document(&mut out, body, manifest, omit);
    out
}

/// The byte at which a text leaves the canonical document, if it does.
pub(super) fn departs_at(text: &str, body: &Body<'_>, manifest: &Manifest) -> Option<usize> {
    let mut comparison = Comparison::with(text);
    write_document(&mut comparison, body, manifest, Filled::default());
    comparison.finish()
}

fn write_document(out: &mut impl Sink, body: &Body<'_>, manifest: &Manifest, omit: Filled) {
    text(out, "{\"merchant_nif\":", &body.merchant_nif);
    text(out, ",\"outlet_id\":", &body.outlet_id);
    text(out, ",\"pos_terminal_id\":", &body.pos_terminal_id);
    text(out, ",\"cashier_id\":", &body.cashier_id);
    word(out, ",\"invoice_type\":", body.invoice_type.as_str());
    if !omit.timestamp {
        word(out, ",\"timestamp\":", &body.timestamp.to_string());
    }
    if let Some(original) = &body.original_fiscal_number {
        text(out, ",\"original_fiscal_number\":", original);
    }
    text(out, ",\"client\":{\"name\":", &body.client.name);
    text(out, ",\"nif\":", &body.client.nif);
    word(out, ",\"classification\":", body.client.classification.as_str());
    out.push_str("},\"items\":");
    list(out, &body.items, item);
    if !omit.tax_groups {
        out.push_str(",\"tax_groups\":");
        list(out, &body.tax_groups, |out, total| group(out, total, manifest));
    }
    out.push_str(",\"totals\":");
    if omit.totals {
        word(out, "{\"currency\":", body.totals.currency.as_str());
        out.push('}');
    } else {
        write_totals(out, &body.totals);
    }
    out.push_str(",\"payments\":");
    list(out, &body.payments, payment);
    if let Some(fx) = &body.fx {
        word(out, ",\"fx\":{\"rate\":", &fx.rate.to_string());
        word(out, ",\"reporting_currency\":", fx.reporting_currency.as_str());
        if !omit.fx_tax {
            amount(out, ",\"tax_in_reporting_currency\":", fx.tax);
        }
        out.push('}');
    }
    if body.price_mode == PriceMode::Inclusive {
        word(out, ",\"price_mode\":", body.price_mode.as_str());
    }
    if !omit.tax_manifest_version {
        text(out, ",\"tax_manifest_version\":", manifest.version());
    }
    texts(out, ",\"metadata\":", &body.metadata);
    out.push('}');
}

/// The tax groups alone.
pub(super) fn tax_groups(groups: &[GroupTotal], manifest: &Manifest) -> String {
    let mut out = String::new();
    list(&mut out, groups, |out, total| group(out, total, manifest));
    out
}

/// The totals alone.
pub(super) fn totals(totals: &Totals) -> String {
    let mut out = String::new();
    write_totals(&mut out, totals);
    out
}

fn item(out: &mut impl Sink, item: &Item<'_>) {
    text(out, "{\"code\":", &item.code);
    text(out, ",\"description\":", &item.description);
    out.push_str(",\"quantity\":\"");
    write_scaled(out, i128::from(item.quantity.thousandths()), 3, true);
    out.push('"');
    amount(out, ",\"unit_price\":", item.unit_price);
    if item.discount != Amount::ZERO {
        amount(out, ",\"discount\":", item.discount);
    }
    word(out, ",\"tax_group\":", item.tax_group.as_str());
    text(out, ",\"taxable_unit\":", &item.taxable_unit);
    texts(out, ",\"references\":", &item.references);
    out.push('}');
}

fn group(out: &mut impl Sink, total: &GroupTotal, manifest: &Manifest) {
    word(out, "{\"code\":", total.code.as_str());
    text(out, ",\"name\":", &manifest.group(total.code).name);
    out.push_str(",\"rate\":\"");
    write_scaled(out, i128::from(total.rate.ten_thousandths()), 4, false);
    out.push('"');
    amount(out, ",\"base_amount\":", total.base);
    amount(out, ",\"tax_amount\":", total.tax);
    out.push('}');
}

fn write_totals(out: &mut impl Sink, totals: &Totals) {
    amount(out, "{\"subtotal\":", totals.subtotal);
    amount(out, ",\"total_vat\":", totals.total_vat);
    amount(out, ",\"total\":", totals.total);
    word(out, ",\"currency\":", totals.currency.as_str());
    amount(out, ",\"rounding_adjustment\":", totals.rounding_adjustment);
    out.push('}');
}

fn payment(out: &mut impl Sink, payment: &Payment<'_>) {
    word(out, "{\"method\":", payment.method.as_str());
    amount(out, ",\"amount\":", payment.amount);
    word(out, ",\"currency\":", payment.currency.as_str());
    text(out, ",\"instrument_id\":", &payment.instrument_id);
    if let Some(provider) = payment.provider {
        word(out, ",\"provider\":", provider.as_str());
    }
    out.push('}');
}

fn list<S: Sink, T>(out: &mut S, values: &[T], mut write: impl FnMut(&mut S, &T)) {
    out.push('[');
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(out, value);
    }
    out.push(']');
}

/// An object of texts; left out when it is empty.
fn texts(out: &mut impl Sink, name: &str, entries: &Texts<'_>) {
    if entries.is_empty() {
        return;
    }
    out.push_str(name);
    out.push('{');
    for (at, (key, value)) in entries.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_string(out, key);
        out.push(':');
        write_string(out, value);
    }
    out.push('}');
}

fn text(out: &mut impl Sink, name: &str, value: &str) {
    out.push_str(name);
    write_string(out, value);
}

/// Text that is known to need no escape.
fn word(out: &mut impl Sink, name: &str, value: &str) {
    out.push_str(name);
    out.push('"');
    out.push_str(value);
    out.push('"');
}

fn amount(out: &mut impl Sink, name: &str, value: Amount) {
    out.push_str(name);
    out.push('"');
    write_scaled(out, value.wide(), 2, false);
    out.push('"');
}
