//! The A report: every line of every invoice.

use super::fold::{FoldError, invoice_of};
use crate::manifest::Manifest;
use crate::payload::Object;
use crate::record::Record;

/// One line of one invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArticleLine {
    /// The line as canonical JSON.
    pub json: String,
}

/// The lines of one record; none when it is not an invoice. Reports stream record by record.
pub fn article_lines(
    record: &Record<'_>,
    manifests: &[&Manifest],
) -> Result<Vec<ArticleLine>, FoldError> {
    if record.kind.invoice_type().is_none() {
        return Ok(Vec::new());
    }
    let invoice = invoice_of(record, manifests)?;
    let currency = invoice.totals().currency;
    let lines = (1_u64..).zip(invoice.items()).map(|(line, item)| {
        let object = Object::new()
            .text("fiscal_number", record.fiscal_number)
            .count("position", record.position)
            .text("timestamp", &record.timestamp.to_string())
            .text("kind", record.kind.as_str())
            .count("line", line)
            .text("code", &item.code)
            .text("description", &item.description)
            .text("quantity", &item.quantity.to_string())
            .text("taxable_unit", &item.taxable_unit)
            .text("unit_price", &item.unit_price.to_string())
            .text("discount", &item.discount.to_string())
            .text("tax_group", item.tax_group.as_str())
            .text("base", &item.base.to_string())
            .text("tax", &item.tax.to_string())
            .text("currency", currency.as_str());
        ArticleLine { json: object.finish() }
    });
    Ok(lines.collect())
}
