//! Writes a credit note as a document, which the ledger then reads as any other.

use fiscus_ledger::invoice::{CanonicalInvoice, InvoiceType, Payment, PriceMode};
use fiscus_ledger::money::Amount;
use fiscus_ledger::payload::{Object, array};

use super::plan::Line;

/// The metadata that explains why a tax rule does not hold: it held for the original.
const OVERRIDE: &str = "tax_override_reason";
/// The metadata that says why something is credited.
const REASON: &str = "credit_reason";

/// What a credit note has beside its lines.
#[derive(Debug)]
pub(super) struct Head<'d> {
    pub(super) original: &'d CanonicalInvoice<'d>,
    pub(super) number: &'d str,
    pub(super) reason: &'d str,
    pub(super) terminal_id: Option<&'d str>,
    pub(super) cashier_id: Option<&'d str>,
    pub(super) price_mode: PriceMode,
}

/// The type of the credit note of an invoice; none for what cannot be credited.
pub(super) fn credit_type(original: InvoiceType) -> Option<InvoiceType> {
    match original {
        InvoiceType::Sale | InvoiceType::Advance => Some(InvoiceType::CreditNote),
        InvoiceType::Export => Some(InvoiceType::ExportCredit),
        InvoiceType::CreditNote | InvoiceType::ExportCredit => None,
    }
}

/// The document with items and payments that are JSON already.
pub(super) fn document(head: &Head<'_>, kind: InvoiceType, items: &str, payments: &str) -> String {
    let original = head.original;
    let client = original.client();
    let client = Object::new()
        .text("name", &client.name)
        .text("nif", &client.nif)
        .text("classification", client.classification.as_str());
    let overridden = original.metadata().iter().find(|(key, _)| key == OVERRIDE);
    let metadata = Object::new()
        .text(REASON, head.reason)
        .optional(OVERRIDE, overridden.map(|(_, value)| &**value));
    let mut note = Object::new()
        .text("merchant_nif", original.merchant_nif())
        .text("outlet_id", original.outlet_id())
        .text("pos_terminal_id", head.terminal_id.unwrap_or(original.pos_terminal_id()))
        .text("cashier_id", head.cashier_id.unwrap_or(""))
        .text("invoice_type", kind.as_str())
        .text("original_fiscal_number", head.number)
        .json("client", &client.finish())
        .json("items", items)
        .json("payments", payments)
        .text("currency", original.totals().currency.as_str())
        .text("price_mode", head.price_mode.as_str());
    // At the original's rate, so that what is reported is taken back as it was reported.
    if let Some(fx) = original.fx() {
        note = note.json("fx", &Object::new().text("rate", &fx.rate.to_string()).finish());
    }
    note.json("metadata", &metadata.finish()).finish()
}

/// Lines as JSON.
pub(super) fn items(lines: &[Line]) -> String {
    array(lines.iter().map(|line| {
        let references = line.references.iter();
        let references =
            references.fold(Object::new(), |object, (name, value)| object.text(name, value));
        Object::new()
            .text("code", &line.code)
            .text("description", &line.description)
            .text("quantity", &line.quantity.to_string())
            .text("unit_price", &line.unit_price.to_string())
            .text("discount", &line.discount.to_string())
            .text("tax_group", line.tax_group.as_str())
            .text("taxable_unit", &line.taxable_unit)
            .json("references", &references.finish())
            .finish()
    }))
}

/// How the money goes back, when nobody says otherwise: as it came, up to the credit's total.
pub(super) fn payments_back(original: &CanonicalInvoice<'_>, total: Amount) -> String {
    let currency = original.totals().currency;
    let mut left = total.wide();
    let mut back = Vec::new();
    for payment in original.payments().iter().filter(|payment| payment.currency == currency) {
        let Some(part) = Amount::from_wide(left.min(payment.amount.wide())) else { break };
        if part.wide() > 0 {
            back.push(payment_back(payment, part));
            left -= part.wide();
        }
    }
    array(back)
}

fn payment_back(payment: &Payment<'_>, amount: Amount) -> String {
    let provider = payment.provider.map(|provider| provider.as_str());
    Object::new()
        .text("method", payment.method.as_str())
        .text("amount", &amount.to_string())
        .text("currency", payment.currency.as_str())
        .text("instrument_id", &payment.instrument_id)
        .optional("provider", provider)
        .finish()
}

/// How the money goes back, as the request says.
pub(super) fn payment_stated(
    method: &str,
    provider: Option<&str>,
    reference: &str,
    total: Amount,
) -> String {
    let payment = Object::new()
        .text("method", method)
        .text("amount", &total.to_string())
        .text("instrument_id", reference)
        .optional("provider", provider);
    array([payment.finish()])
}
