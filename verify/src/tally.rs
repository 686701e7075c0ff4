//! Sums over invoices: counts by type and, by currency, bases and taxes by group and payments by method.

use std::collections::BTreeMap;

use crate::decimal::format_minor;
use crate::hash::{Hash, Tagged};
use crate::invoice::{Currency, Invoice, METHODS, Payment};
use crate::manifest::GROUPS;
use crate::qr::TYPES;
use crate::value::Value;

/// What of an invoice enters sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Its place among the types.
    pub(crate) kind: usize,
    pub(crate) is_credit: bool,
    pub(crate) currency: Currency,
    /// Group, base, tax.
    pub(crate) groups: Vec<(usize, i64, i64)>,
    pub(crate) payments: Vec<Payment>,
    pub(crate) total: i64,
}

impl Counted {
    pub(crate) fn of(invoice: &Invoice<'_>) -> Self {
        Self {
            kind: invoice.kind,
            is_credit: invoice.is_credit(),
            currency: invoice.totals.currency,
            groups: invoice.groups.iter().map(|sums| (sums.group, sums.base, sums.tax)).collect(),
            payments: invoice.payments.clone(),
            total: invoice.totals.total,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sums {
    groups: [(i128, i128); GROUPS],
    payments: [i128; METHODS.len()],
}

impl Sums {
    fn base_and_tax(&self) -> (i128, i128) {
        self.groups.iter().fold((0, 0), |(base, tax), group| (base + group.0, tax + group.1))
    }
}

/// Sums over a run of invoices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    counts: [u64; TYPES.len()],
    currencies: BTreeMap<Currency, Sums>,
}

impl Tally {
    pub(crate) fn add(&mut self, counted: &Counted) {
        let sign = if counted.is_credit { -1 } else { 1 };
        self.counts[counted.kind] += 1;
        let sums = self.currencies.entry(counted.currency).or_default();
        for (group, base, tax) in &counted.groups {
            sums.groups[*group].0 += sign * i128::from(*base);
            sums.groups[*group].1 += sign * i128::from(*tax);
        }
        for payment in &counted.payments {
            let sums = self.currencies.entry(payment.currency).or_default();
            sums.payments[payment.method] += sign * i128::from(payment.amount);
        }
    }

    pub(crate) fn invoices(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// By currency: the sum of all bases, of all taxes.
    pub(crate) fn totals(&self) -> impl Iterator<Item = (String, i128, i128)> {
        self.currencies.iter().map(|(currency, sums)| {
            let (base, tax) = sums.base_and_tax();
            (String::from_utf8_lossy(currency).into_owned(), base, tax)
        })
    }

    /// What the heads tree holds of it.
    pub(crate) fn digest(&self) -> Hash {
        let mut hash = Tagged::new("fiscus/perpetual/v1");
        for count in self.counts {
            hash.number(count);
        }
        hash.bytes(&u32::try_from(self.currencies.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (currency, sums) in &self.currencies {
            hash.bytes(currency);
            let groups = (0..).zip(&sums.groups).filter(|(_, sum)| **sum != (0, 0));
            let methods = (0..).zip(&sums.payments).filter(|(_, paid)| **paid != 0);
            let map = groups.clone().fold(0_u16, |map, (at, _)| map | (1 << at));
            hash.bytes(&map.to_le_bytes());
            hash.bytes(&[methods.clone().fold(0_u8, |map, (at, _)| map | (1 << at))]);
            for (_, (base, tax)) in groups {
                hash.bytes(&base.to_le_bytes()).bytes(&tax.to_le_bytes());
            }
            for (_, paid) in methods {
                hash.bytes(&paid.to_le_bytes());
            }
        }
        hash.finish()
    }

    /// Whether a report's `counts` and its number of invoices are these.
    pub(crate) fn counts_are(&self, report: &Value, invoices: &str) -> bool {
        let counts = report.member("counts");
        let each = TYPES.iter().zip(self.counts);
        report.count(invoices) == Some(self.invoices())
            && counts.is_some_and(|counts| {
                each.into_iter().all(|(name, count)| counts.count(name) == Some(count))
            })
    }

    /// Whether a report's list of currencies, with all groups and methods, is this. `always` is listed even when
    /// nothing was sold in it.
    pub(crate) fn currencies_are(&self, listed: Option<&[Value]>, always: &str) -> bool {
        let mut expected: BTreeMap<String, Sums> =
            BTreeMap::from([(always.to_owned(), Sums::default())]);
        for (currency, sums) in &self.currencies {
            expected.insert(String::from_utf8_lossy(currency).into_owned(), sums.clone());
        }
        let Some(listed) = listed.filter(|listed| listed.len() == expected.len()) else {
            return false;
        };
        listed.iter().zip(&expected).all(|(value, (currency, sums))| {
            value.text("currency") == Some(currency)
                && groups_are(value, sums)
                && is_sum_of(value, sums)
        })
    }

    /// Whether what a shift's closing says should be in the drawers is this.
    pub(crate) fn drawers_are(&self, listed: Option<&[Value]>) -> bool {
        let Some(listed) = listed.filter(|listed| listed.len() == self.currencies.len()) else {
            return false;
        };
        listed.iter().zip(&self.currencies).all(|(value, (currency, sums))| {
            value.text("currency").is_some_and(|text| text.as_bytes() == currency)
                && is_sum_of(value, sums)
        })
    }
}

fn is_amount(value: &Value, name: &str, minor: i128) -> bool {
    value.text(name) == Some(&format_minor(minor))
}

fn groups_are(value: &Value, sums: &Sums) -> bool {
    let Some(groups) = value.list("groups").filter(|groups| groups.len() == GROUPS) else {
        return false;
    };
    (1..).zip(groups).zip(&sums.groups).all(|((place, group), (base, tax))| {
        group.text("code") == Some(&format!("TG{place:02}"))
            && is_amount(group, "base", *base)
            && is_amount(group, "tax", *tax)
            && is_amount(group, "total", base + tax)
    })
}

/// Subtotal, tax, total and payments.
fn is_sum_of(value: &Value, sums: &Sums) -> bool {
    let (base, tax) = sums.base_and_tax();
    let Some(payments) = value.member("payments") else { return false };
    is_amount(value, "subtotal", base)
        && is_amount(value, "total_vat", tax)
        && is_amount(value, "total", base + tax)
        && METHODS.iter().zip(sums.payments).all(|(method, paid)| is_amount(payments, method, paid))
}
