//! Makes the lines of a credit note fit what is left of the original, to the cent.

use fiscus_ledger::invoice::{GroupCode, PriceMode};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::money::{Amount, Rate};
use fiscus_ledger::state::rows::SealedInvoice;

use super::plan::{Line, left};
use super::split::Share;

/// Pieces that one line is divided into at most.
const PIECES_MAX: usize = 200;
/// Cents of tax that are left uncredited rather than more than there are.
const CENTS_LEFT_MAX: i128 = 5;

/// Divides lines where their taxes are not what is left. Where that cannot be, the lines stay as they are, and the
/// ledger says why they do not fit.
pub(super) fn fit(
    lines: Vec<Line>,
    row: &SealedInvoice,
    mode: PriceMode,
    manifest: &Manifest,
) -> Vec<Line> {
    row.groups.iter().fold(lines, |lines, group| {
        let fitted = fit_group(&lines, group.code, left(group), mode, manifest);
        fitted.unwrap_or(lines)
    })
}

/// The lines with those of one group divided; none where nothing is to be divided, or nothing can be.
fn fit_group(
    lines: &[Line],
    code: GroupCode,
    (base_left, tax_left): (i128, i128),
    mode: PriceMode,
    manifest: &Manifest,
) -> Option<Vec<Line>> {
    let (mut base, mut tax) = (0, 0);
    let mut largest: Option<(usize, i128)> = None;
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.tax_group == code) {
        let (line_base, line_tax) = line.amounts(mode, manifest)?;
        base += line_base;
        tax += line_tax;
        let net = line.net()?;
        if largest.is_none_or(|(_, known)| net > known) {
            largest = Some((at, net));
        }
    }
    let (at, net) = largest?;
    let (now, goals) = goals((base, tax), (base_left, tax_left), mode)?;
    if goals.first() == Some(&now) {
        return None;
    }
    let share = share(manifest.group(code).rate, mode);
    let of_line = share.of(net);
    goals.into_iter().find_map(|goal| {
        let pieces = share.split(net, of_line + goal - now, PIECES_MAX)?;
        let pieces = pieces.into_iter().map(Amount::from_wide).collect::<Option<Vec<_>>>()?;
        let pieces = pieces.into_iter().map(|piece| lines[at].piece(piece));
        let mut divided = lines[..at].to_vec();
        divided.extend(pieces);
        divided.extend_from_slice(&lines[at + 1..]);
        Some(divided)
    })
}

/// What of a net amount is rounded: the tax on a base, or the base in a gross amount.
fn share(rate: Rate, mode: PriceMode) -> Share {
    let rate = i128::from(rate.ten_thousandths());
    let one = i128::from(Rate::ONE);
    match mode {
        PriceMode::Exclusive => Share { numerator: rate, denominator: one },
        PriceMode::Inclusive => Share { numerator: one, denominator: one + rate },
    }
}

/// The rounded figure as it is, and as it should be, best first; none when the lines are over what is left anyway.
///
/// The last credit note takes all that is left; every other one takes no more than that.
fn goals(
    (base, tax): (i128, i128),
    (base_left, tax_left): (i128, i128),
    mode: PriceMode,
) -> Option<(i128, Vec<i128>)> {
    match mode {
        PriceMode::Exclusive => {
            let best = if base == base_left { tax_left } else { tax.min(tax_left) };
            let lower = (0..=CENTS_LEFT_MAX).map(|less| best - less);
            (base <= base_left).then(|| (tax, lower.filter(|goal| *goal >= 0).collect()))
        }
        PriceMode::Inclusive => {
            let gross = base + tax;
            let fits = gross <= base_left + tax_left;
            fits.then(|| (base, vec![base.clamp(gross - tax_left, base_left)]))
        }
    }
}
