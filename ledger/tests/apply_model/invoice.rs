//! Invoices as the model knows them: a few numbers, from which it computes bases and taxes on its own.

use std::collections::BTreeMap;

use fiscus_ledger::invoice::{InvoiceType, PaymentMethod, parse_lenient};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::state::Id;
use fiscus_ledger::time::UnixMs;

/// One line: its group from 0, its quantity, its price and its discount in minor units.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) group: usize,
    pub(crate) quantity: i128,
    pub(crate) price: i128,
    pub(crate) discount: i128,
}

/// What is wrong with an invoice's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    /// They are cut short.
    Form,
    /// They state another subtotal than the lines make.
    Totals,
}

/// An invoice before it is bytes.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) kind: InvoiceType,
    pub(crate) outlet: Id,
    pub(crate) nif: Id,
    pub(crate) terminal: Id,
    pub(crate) currency: &'static str,
    pub(crate) inclusive: bool,
    pub(crate) lines: Vec<Line>,
    /// Methods by their place in `PaymentMethod::ALL`, and amounts.
    pub(crate) payments: Vec<(usize, i128)>,
    pub(crate) original: Option<String>,
    /// The version of the manifest, and its rate of TG02 in ten thousandths.
    pub(crate) manifest: (Id, i128),
    pub(crate) defect: Option<Defect>,
}

fn decimal(minor: i128) -> String {
    format!("{}.{:02}", minor / 100, minor % 100)
}

impl Plan {
    /// The rates as the published table states them.
    fn rate(&self, group: usize) -> i128 {
        match group {
            0 | 6 => 0,
            1 => self.manifest.1,
            3 => 900,
            other => panic!("group {other} is never generated"),
        }
    }

    /// Base and tax by group.
    pub(crate) fn groups(&self) -> BTreeMap<usize, (i128, i128)> {
        let mut groups = BTreeMap::new();
        for line in &self.lines {
            let rate = self.rate(line.group);
            let net = line.quantity * line.price - line.discount;
            let (base, tax) = if self.inclusive {
                let base = (2 * net * 10_000 + 10_000 + rate) / (2 * (10_000 + rate));
                (base, net - base)
            } else {
                (net, (net * rate + 5_000) / 10_000)
            };
            let sum = groups.entry(line.group).or_insert((0, 0));
            *sum = (sum.0 + base, sum.1 + tax);
        }
        groups
    }

    pub(crate) fn total(&self) -> i128 {
        self.groups().values().map(|(base, tax)| base + tax).sum()
    }

    pub(crate) fn total_text(&self) -> String {
        decimal(self.total())
    }

    fn json(&self) -> String {
        let items: Vec<String> = self
            .lines
            .iter()
            .map(|line| {
                let references = match line.group {
                    6 => r#","references":{"export_certificate":"EX-1"}"#,
                    _ => "",
                };
                format!(
                    r#"{{"code":"A","description":"Ciment 50 kg","quantity":{},"unit_price":"{}","discount":"{}","tax_group":"TG{:02}"{references}}}"#,
                    line.quantity,
                    decimal(line.price),
                    decimal(line.discount),
                    line.group + 1,
                )
            })
            .collect();
        let payments: Vec<String> = self
            .payments
            .iter()
            .map(|(method, amount)| {
                let method = PaymentMethod::ALL[*method].as_str();
                format!(r#"{{"method":"{method}","amount":"{}"}}"#, decimal(*amount))
            })
            .collect();
        let original = self
            .original
            .as_ref()
            .map_or(String::new(), |number| format!(r#""original_fiscal_number":"{number}","#));
        let fx = if self.currency == "CDF" { "" } else { r#""fx":{"rate":"2800"},"# };
        let mode = if self.inclusive { r#""price_mode":"inclusive","# } else { "" };
        format!(
            r#"{{"merchant_nif":"{}","outlet_id":"{}","pos_terminal_id":"{}","invoice_type":"{}",{original}{fx}{mode}"currency":"{}","client":{{"classification":"individual"}},"items":[{}],"payments":[{}]}}"#,
            self.nif,
            self.outlet,
            self.terminal,
            self.kind.as_str(),
            self.currency,
            items.join(","),
            payments.join(","),
        )
    }

    /// The bytes, in their defect form if the plan has one.
    pub(crate) fn bytes(&self, manifest: &Manifest, time: UnixMs) -> Vec<u8> {
        let json = self.json();
        let parsed = parse_lenient(json.as_bytes(), manifest, time)
            .unwrap_or_else(|problem| panic!("{problem:?} in {json}"));
        let text = parsed.invoice.canonical_text();
        match self.defect {
            None => text.to_owned(),
            Some(Defect::Form) => text[..text.len() - 1].to_owned(),
            Some(Defect::Totals) => text.replace(r#""subtotal":""#, r#""subtotal":"1"#),
        }
        .into_bytes()
    }

    /// What the ledger says to it under the manifest in force.
    pub(crate) fn problem(&self, in_force: Option<&Id>) -> Option<&'static str> {
        match (in_force, self.defect) {
            (None, _) => Some("NO_MANIFEST"),
            (Some(_), Some(Defect::Form)) => Some("SCHEMA_INVALID"),
            (Some(version), _) if *version != self.manifest.0 => Some("MANIFEST_STALE"),
            (Some(_), Some(Defect::Totals)) => Some("TOTALS_MISMATCH"),
            (Some(_), None) => None,
        }
    }
}
