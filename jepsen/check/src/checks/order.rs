//! Among online seals of a series: what was acknowledged before something else began has the lower number.
//!
//! From the highest number down, the earliest acknowledgement of all higher numbers is kept: no lower number may have
//! begun after it.

use std::collections::HashMap;

use super::{Index, Outlet, named};
use crate::finding::{Findings, Kind};
use crate::history::History;
use crate::line::Source;
use crate::names::Name;

struct Seal {
    number: u64,
    began: u64,
    acknowledged: Option<u64>,
}

pub(super) fn check(history: &History, index: &Index<'_>, findings: &mut Findings) {
    let mut series: HashMap<(Outlet, Name), Vec<Seal>> = HashMap::new();
    for ((outlet, _, _), attempts) in &index.submissions {
        let Some(invoice) = attempts.entries.first().and_then(|entry| entry.invoice) else {
            continue;
        };
        let (Source::Online, Some(began)) = (invoice.source, attempts.began()) else { continue };
        let acknowledged = attempts.acknowledged();
        let seal = Seal { number: invoice.number, began, acknowledged };
        series.entry((*outlet, invoice.series)).or_default().push(seal);
    }
    let mut series: Vec<_> = series.into_iter().collect();
    series.sort_unstable_by_key(|(name, _)| *name);
    for ((outlet, _), mut seals) in series {
        seals.sort_unstable_by_key(|seal| std::cmp::Reverse(seal.number));
        let mut earliest: Option<(u64, u64)> = None;
        for seal in seals {
            if let Some((ended, number)) = earliest
                && ended < seal.began
            {
                findings.add(Kind::Order, || {
                    let outlet = named(history, outlet);
                    format!(
                        "{outlet}: number {} began after number {number} was acknowledged",
                        seal.number
                    )
                });
            }
            let own = seal.acknowledged.map(|ended| (ended, seal.number));
            earliest = match (earliest, own) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
    }
}
