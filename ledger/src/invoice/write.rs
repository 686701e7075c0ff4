//! The one spelling of an invoice.

use super::types::{GroupTotal, Item, Payment, PriceMode, Texts, Totals};
use super::{Body, Filled};
use crate::json::write_string;
use crate::manifest::Manifest;
use crate::money::{Amount, write_scaled};

/// The canonical document, without what `omit` names.
pub(super) fn document(body: &Body<'_>, manifest: &Manifest, omit: Filled) -> String {
    let mut out = String::with_capacity(768 + body.items.len() * 256);
    text(&mut out, "{\"merchant_nif\":", &body.merchant_nif);
    text(&mut out, ",\"outlet_id\":", &body.outlet_id);
    text(&mut out, ",\"pos_terminal_id\":", &body.pos_terminal_id);
    text(&mut out, ",\"cashier_id\":", &body.cashier_id);
    word(&mut out, ",\"invoice_type\":", body.invoice_type.as_str());
    if !omit.timestamp {
        word(&mut out, ",\"timestamp\":", &body.timestamp.to_string());
    }
    if let Some(original) = &body.original_fiscal_number {
        text(&mut out, ",\"original_fiscal_number\":", original);
    }
    text(&mut out, ",\"client\":{\"name\":", &body.client.name);
    text(&mut out, ",\"nif\":", &body.client.nif);
    word(&mut out, ",\"classification\":", body.client.classification.as_str());
    out.push_str("},\"items\":");
    list(&mut out, &body.items, item);
    if !omit.tax_groups {
        out.push_str(",\"tax_groups\":");
        list(&mut out, &body.tax_groups, |out, total| group(out, total, manifest));
    }
    out.push_str(",\"totals\":");
    if omit.totals {
        word(&mut out, "{\"currency\":", body.totals.currency.as_str());
        out.push('}');
    } else {
        write_totals(&mut out, &body.totals);
    }
    out.push_str(",\"payments\":");
    list(&mut out, &body.payments, payment);
    if let Some(fx) = &body.fx {
        word(&mut out, ",\"fx\":{\"rate\":", &fx.rate.to_string());
        word(&mut out, ",\"reporting_currency\":", fx.reporting_currency.as_str());
        if !omit.fx_tax {
            amount(&mut out, ",\"tax_in_reporting_currency\":", fx.tax);
        }
        out.push('}');
    }
    if body.price_mode == PriceMode::Inclusive {
        word(&mut out, ",\"price_mode\":", body.price_mode.as_str());
    }
    if !omit.tax_manifest_version {
        text(&mut out, ",\"tax_manifest_version\":", manifest.version());
    }
    texts(&mut out, ",\"metadata\":", &body.metadata);
    out.push('}');
    out
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

fn item(out: &mut String, item: &Item<'_>) {
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

fn group(out: &mut String, total: &GroupTotal, manifest: &Manifest) {
    word(out, "{\"code\":", total.code.as_str());
    text(out, ",\"name\":", &manifest.group(total.code).name);
    out.push_str(",\"rate\":\"");
    write_scaled(out, i128::from(total.rate.ten_thousandths()), 4, false);
    out.push('"');
    amount(out, ",\"base_amount\":", total.base);
    amount(out, ",\"tax_amount\":", total.tax);
    out.push('}');
}

fn write_totals(out: &mut String, totals: &Totals) {
    amount(out, "{\"subtotal\":", totals.subtotal);
    amount(out, ",\"total_vat\":", totals.total_vat);
    amount(out, ",\"total\":", totals.total);
    word(out, ",\"currency\":", totals.currency.as_str());
    amount(out, ",\"rounding_adjustment\":", totals.rounding_adjustment);
    out.push('}');
}

fn payment(out: &mut String, payment: &Payment<'_>) {
    word(out, "{\"method\":", payment.method.as_str());
    amount(out, ",\"amount\":", payment.amount);
    word(out, ",\"currency\":", payment.currency.as_str());
    text(out, ",\"instrument_id\":", &payment.instrument_id);
    if let Some(provider) = payment.provider {
        word(out, ",\"provider\":", provider.as_str());
    }
    out.push('}');
}

fn list<T>(out: &mut String, values: &[T], mut write: impl FnMut(&mut String, &T)) {
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
fn texts(out: &mut String, name: &str, entries: &Texts<'_>) {
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

fn text(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    write_string(out, value);
}

/// Text that is known to need no escape.
fn word(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push('"');
    out.push_str(value);
    out.push('"');
}

fn amount(out: &mut String, name: &str, value: Amount) {
    out.push_str(name);
    out.push('"');
    write_scaled(out, value.wide(), 2, false);
    out.push('"');
}
