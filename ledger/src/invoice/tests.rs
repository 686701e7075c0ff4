//! Invoices under attack: each row of a table is one document and its one outcome.
//!
//! Most rows are the model invoice with one place changed, read both ways. An outcome is written as
//! clients see it: `ok`, or the code and the pointer.

mod arithmetic;
mod canonical;
mod form;
mod limits;
mod rules;

use super::{CanonicalInvoice, Parsed, parse_lenient, parse_strict};
use crate::manifest::Manifest;
use crate::problem::Problem;
use crate::time::UnixMs;

const NOW: UnixMs = UnixMs::new(1_795_248_000_000);

/// An invoice in its one spelling, with every member that is always there and no other.
const SALE: &str = concat!(
    r#"{"merchant_nif":"A0700001B","outlet_id":"outlet-1","pos_terminal_id":"pos-1","#,
    r#""cashier_id":"c-1","invoice_type":"sale","timestamp":"2026-11-21T08:00:00.000Z","#,
    r#""client":{"name":"Awa","nif":"","classification":"individual"},"#,
    r#""items":[{"code":"P1","description":"Pain","quantity":"2","unit_price":"500.00","#,
    r#""tax_group":"TG02","taxable_unit":"piece"}],"#,
    r#""tax_groups":[{"code":"TG02","name":"Standard VAT, goods","rate":"0.1600","#,
    r#""base_amount":"1000.00","tax_amount":"160.00"}],"#,
    r#""totals":{"subtotal":"1000.00","total_vat":"160.00","total":"1160.00","#,
    r#""currency":"CDF","rounding_adjustment":"0.00"},"#,
    r#""payments":[{"method":"cash","amount":"1160.00","currency":"CDF","instrument_id":"i-1"}],"#,
    r#""tax_manifest_version":"2026-02-01"}"#,
);

/// An invoice in its one spelling, with every member that can be there.
const FULL: &str = concat!(
    r#"{"merchant_nif":"A0700001B","outlet_id":"outlet-1","pos_terminal_id":"pos-1","#,
    r#""cashier_id":"","invoice_type":"credit_note","timestamp":"2026-11-21T08:00:00.000Z","#,
    r#""original_fiscal_number":"KIN-A-7","#,
    r#""client":{"name":"Société Élan","nif":"B0800002C","classification":"company"},"#,
    r#""items":[{"code":"F1","description":"Essence","quantity":"1.5","unit_price":"10.00","#,
    r#""discount":"2.50","tax_group":"TG10","taxable_unit":"l","#,
    r#""references":{"a":"b","excise_certificate":"X-1"}}],"#,
    r#""tax_groups":[{"code":"TG10","name":"Specific tax, fuel","rate":"0.2500","#,
    r#""base_amount":"10.00","tax_amount":"2.50"}],"#,
    r#""totals":{"subtotal":"10.00","total_vat":"2.50","total":"12.50","#,
    r#""currency":"USD","rounding_adjustment":"0.00"},"#,
    r#""payments":[{"method":"mobile_money","amount":"12.50","currency":"USD","#,
    r#""instrument_id":"","provider":"mpesa"}],"#,
    r#""fx":{"rate":"2850.5","reporting_currency":"CDF","tax_in_reporting_currency":"7126.25"},"#,
    r#""price_mode":"inclusive","tax_manifest_version":"2026-02-01","#,
    r#""metadata":{"note":"a","order":"b"}}"#,
);

fn lenient(text: &[u8]) -> Result<Parsed<'_>, Problem> {
    parse_lenient(text, &Manifest::builtin(), NOW)
}

fn strict(text: &[u8]) -> Result<CanonicalInvoice<'_>, Problem> {
    parse_strict(text, &Manifest::builtin())
}

/// An outcome as clients see it.
fn told<T>(result: Result<T, Problem>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(problem) => {
            assert!(!problem.detail.is_empty(), "a problem has a sentence");
            assert!(problem.pointer.len() < 600, "a pointer does not echo the document");
            format!("{} {}", problem.code.as_str(), problem.pointer).trim_end().to_owned()
        }
    }
}

/// The model with its first `from` replaced.
fn edited(model: &str, from: &str, to: &str) -> String {
    assert!(model.contains(from), "the model has no {from}");
    model.replacen(from, to, 1)
}

/// Checks rows of (from, to, leniently, strictly) against the model.
fn check(model: &str, rows: &[(&str, &str, &str, &str)]) {
    for (from, to, leniently, strictly) in rows {
        let text = edited(model, from, to);
        assert_eq!(told(lenient(text.as_bytes())), *leniently, "leniently {from} → {to}");
        assert_eq!(told(strict(text.as_bytes())), *strictly, "strictly {from} → {to}");
    }
}

#[test]
fn the_models_are_canonical() {
    for model in [SALE, FULL] {
        assert_eq!(told(strict(model.as_bytes())), "ok");
        let parsed = lenient(model.as_bytes()).unwrap();
        assert_eq!(parsed.invoice.canonical_text(), model);
        assert_eq!(parsed.filled, super::Filled::default());
    }
}
