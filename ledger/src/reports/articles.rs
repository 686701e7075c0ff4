//! The A report: every line of every invoice.

use super::fold::{FoldError, invoice_of};
use crate::hash::Hash32;
use crate::manifest::Manifest;
use crate::payload::Object;
use crate::record::Record;
use crate::state::outlet::Outlet;
use crate::time::UnixMs;

/// The tag of the digest.
const TAG: &str = "fiscus/article-report/v1";

/// What an A report covers.
#[derive(Debug)]
pub struct ArticleRange<'a> {
    /// Whose it is.
    pub outlet: &'a Outlet,
    /// The key that will sign its digest.
    pub authority_id: &'a str,
    /// The group time.
    pub generated_at: UnixMs,
    /// The first record, and the hash of the one before it.
    pub from: (u64, Hash32),
    /// The last record and its hash.
    pub to: (u64, Hash32),
    /// The numbers of the first and the last invoice between them, when there are any.
    pub numbers: Option<(&'a str, &'a str)>,
    /// The versions of the manifests that were in force between them.
    pub manifests: &'a [&'a str],
}

/// An A report in the making: the digest of what was written of it. It grows with nothing.
#[derive(Debug)]
pub struct ArticleReport {
    hasher: blake3::Hasher,
    lines: u64,
}

impl ArticleReport {
    /// Begins a report; the text is its header.
    #[must_use]
    pub fn begin(range: &ArticleRange<'_>) -> (Self, String) {
        let fact = &range.outlet.fact;
        let header = Object::new()
            .text("report", "a")
            .text("outlet_id", &fact.outlet_id)
            .text("merchant_nif", &fact.merchant_nif)
            .text("environment", fact.environment.as_str())
            .text("fiscal_authority_id", range.authority_id)
            .count("from_position", range.from.0)
            .bytes("opening_hash", &range.from.1)
            .count("to_position", range.to.0)
            .bytes("closing_hash", &range.to.1)
            .optional("first_fiscal_number", range.numbers.map(|(first, _)| first))
            .optional("last_fiscal_number", range.numbers.map(|(_, last)| last))
            .text("generated_at", &range.generated_at.to_string())
            .texts("tax_manifest_versions", range.manifests.iter().copied())
            .finish();
        let mut report = Self { hasher: blake3::Hasher::new(), lines: 0 };
        report.hash(TAG);
        report.hash(&header);
        (report, header)
    }

    /// Adds the next line.
    pub fn add(&mut self, line: &ArticleLine) {
        self.hash(&line.json);
        self.lines += 1;
    }

    /// The digest of the header, the lines and how many there are.
    #[must_use]
    pub fn digest(mut self) -> Hash32 {
        self.hasher.update(&self.lines.to_le_bytes());
        *self.hasher.finalize().as_bytes()
    }

    /// A tagged hash that keeps nothing of what went in.
    fn hash(&mut self, text: &str) {
        let length = u32::try_from(text.len()).expect("a line is shorter than its invoice");
        self.hasher.update(&length.to_le_bytes()).update(text.as_bytes());
    }
}

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
