//! Totals are the sums of the invoices, since the first and since the last closure; nothing is credited twice.

use std::collections::{BTreeMap, HashMap};

use super::{Outlet, named};
use crate::finding::{Findings, Kind};
use crate::history::{History, Invoice};
use crate::line::Sums;
use crate::names::Name;

#[derive(Default)]
struct Sum {
    invoices: u64,
    amounts: BTreeMap<Name, i128>,
}

impl Sum {
    fn add(&mut self, invoice: &Invoice) {
        self.invoices += 1;
        *self.amounts.entry(invoice.currency).or_default() += i128::from(invoice.total);
    }

    fn is(&self, history: &History, said: &Sums<'_>) -> bool {
        // A report lists its own currency though nothing was sold in it.
        let zero = |amount: &i128| *amount == 0;
        let own: BTreeMap<&str, i128> = self
            .amounts
            .iter()
            .filter(|(_, amount)| !zero(amount))
            .map(|(currency, amount)| (history.text(*currency), *amount))
            .collect();
        let said_amounts = said.amounts.iter().filter(|(_, amount)| !zero(amount));
        let said_amounts: BTreeMap<&str, i128> =
            said_amounts.map(|(currency, amount)| (&**currency, *amount)).collect();
        self.invoices == said.invoices && own == said_amounts
    }
}

pub(super) fn check(history: &History, findings: &mut Findings) {
    let mut sums: HashMap<Outlet, (Sum, Sum)> = HashMap::new();
    let mut originals: HashMap<(Outlet, u64), i128> = HashMap::new();
    for entry in &history.entries {
        let (all, since) = sums.entry(entry.outlet).or_default();
        if let Some(invoice) = &entry.invoice {
            all.add(invoice);
            since.add(invoice);
            let of = invoice.credits.unwrap_or(invoice.number);
            let left = originals.entry((entry.outlet, of)).or_default();
            *left += i128::from(invoice.total);
            if *left < 0 {
                findings.add(Kind::Totals, || {
                    let outlet = named(history, entry.outlet);
                    format!("{outlet}: number {} credits more of {of} than is left", invoice.number)
                });
            }
        }
        if let Some(said) = entry.rare.as_ref().and_then(|rare| rare.closes.as_ref()) {
            if !since.is(history, said) {
                findings.add(Kind::Totals, || {
                    let outlet = named(history, entry.outlet);
                    format!("{outlet}: the closure at position {} is not the sum", entry.position)
                });
            }
            *since = Sum::default();
        }
    }
    for (outlet, totals) in &history.totals {
        let empty = Sum::default();
        let sum = sums.get(outlet).map_or(&empty, |(all, _)| all);
        if !sum.is(history, &totals.perpetual) {
            findings.add(Kind::Totals, || {
                format!(
                    "{}: the perpetual totals are not the sum of the invoices",
                    named(history, *outlet)
                )
            });
        }
    }
}
