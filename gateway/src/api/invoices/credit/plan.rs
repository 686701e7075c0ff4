//! Which lines a credit note has before their taxes are looked at.

use axum::http::StatusCode;
use fiscus_ledger::invoice::{CanonicalInvoice, GroupCode, Item, PriceMode};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::money::{Amount, Quantity};
use fiscus_ledger::state::rows::{GroupAmounts, SealedInvoice};

use crate::http::Problem;

/// A line of a credit note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) code: String,
    pub(super) description: String,
    pub(super) quantity: Quantity,
    pub(super) unit_price: Amount,
    pub(super) discount: Amount,
    pub(super) tax_group: GroupCode,
    pub(super) taxable_unit: String,
    pub(super) references: Vec<(String, String)>,
}

impl Line {
    pub(super) fn of(item: &Item<'_>) -> Self {
        let texts = item.references.iter();
        Self {
            code: item.code.clone().into_owned(),
            description: item.description.clone().into_owned(),
            quantity: item.quantity,
            unit_price: item.unit_price,
            discount: item.discount,
            tax_group: item.tax_group,
            taxable_unit: item.taxable_unit.clone().into_owned(),
            references: texts
                .map(|(k, v)| (k.clone().into_owned(), v.clone().into_owned()))
                .collect(),
        }
    }

    /// One piece of an amount, with the texts of this line.
    pub(super) fn piece(&self, amount: Amount) -> Self {
        Self { quantity: one(), unit_price: amount, discount: Amount::ZERO, ..self.clone() }
    }

    /// What the line comes to before tax is looked at; none over the limits.
    pub(super) fn net(&self) -> Option<i128> {
        Some(self.quantity.times(self.unit_price)?.wide() - self.discount.wide())
    }

    /// Base and tax, as the ledger computes them.
    pub(super) fn amounts(&self, mode: PriceMode, manifest: &Manifest) -> Option<(i128, i128)> {
        let rate = manifest.group(self.tax_group).rate;
        let net = Amount::from_wide(self.net()?)?;
        match mode {
            PriceMode::Exclusive => Some((net.wide(), rate.of(net)?.wide())),
            PriceMode::Inclusive => {
                let base = rate.base_in(net)?.wide();
                Some((base, net.wide() - base))
            }
        }
    }
}

fn one() -> Quantity {
    Quantity::from_thousandths(1_000).expect("one is a quantity")
}

/// What credit notes have left of a group: base and tax.
pub(super) fn left(group: &GroupAmounts) -> (i128, i128) {
    let left = |whole: Amount, credited: Amount| whole.wide() - credited.wide();
    (left(group.base, group.credited_base), left(group.tax, group.credited_tax))
}

/// Everything that is left: the very lines where nothing was credited, and otherwise one line for each group.
pub(super) fn remainder(
    original: &CanonicalInvoice<'_>,
    row: &SealedInvoice,
    has_credits: bool,
    number: &str,
) -> Vec<Line> {
    if !has_credits {
        return original.items().iter().map(Line::of).collect();
    }
    let mut lines = Vec::new();
    for group in &row.groups {
        let (base, tax) = left(group);
        let amount = match original.price_mode() {
            PriceMode::Exclusive => base,
            PriceMode::Inclusive => base + tax,
        };
        // A tax alone cannot be credited: no line has one without a base.
        if let Some(amount) = Amount::from_wide(amount).filter(|_| base > 0)
            && let Some(line) =
                of_group(original, group.code, amount, &format!("Solde de {number}"))
        {
            lines.push(line);
        }
    }
    lines
}

/// A line of an amount in a group, with the references that the original's lines in it carry.
pub(super) fn of_group(
    original: &CanonicalInvoice<'_>,
    group: GroupCode,
    amount: Amount,
    description: &str,
) -> Option<Line> {
    let first = original.items().iter().find(|item| item.tax_group == group)?;
    let line = Line::of(first).piece(amount);
    let (code, description) = (String::new(), description.to_owned());
    Some(Line { code, description, taxable_unit: String::new(), ..line })
}

/// A part of one of the original's lines.
pub(super) fn part_of(item: &Item<'_>, quantity: Quantity, pointer: &str) -> Result<Line, Problem> {
    let (part, whole) =
        (i128::from(quantity.thousandths()), i128::from(item.quantity.thousandths()));
    if part > whole {
        let detail = format!("the line has {} only", item.quantity);
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(Problem::at(status, "CREDIT_EXCEEDS_ORIGINAL", pointer, detail));
    }
    // The discount is shared by quantity, rounded half-up as everything is.
    let discount = (2 * item.discount.wide() * part + whole) / (2 * whole);
    let discount = Amount::from_wide(discount).unwrap_or(item.discount);
    let line = Line { quantity, discount, ..Line::of(item) };
    let gross = line.quantity.times(line.unit_price).unwrap_or(Amount::ZERO);
    let discount = line.discount.min(gross);
    Ok(Line { discount, ..line })
}
