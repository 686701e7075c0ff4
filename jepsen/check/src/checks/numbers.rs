//! Numbers of a series: 1 to the last, each once. Online numbers follow each other, past those that were lent and those
//! that a restore skipped; a lent number is sealed, said to be missing, or still out. What is missing may be sealed late.

use std::collections::{BTreeMap, HashMap};

use super::{Outlet, named};
use crate::finding::{Findings, Kind};
use crate::history::{Entry, History, Invoice};
use crate::line::Source;
use crate::names::Name;

/// The main series of an outlet.
#[derive(Default)]
struct Main {
    series: Option<Name>,
    last: u64,
    /// Numbers that are lent and not back.
    out: Ranges,
    /// Numbers that are said to be missing. An offline seal of one may still be delivered.
    missing: Ranges,
}

/// Numbers as ranges that do not overlap, by their first.
#[derive(Default)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    fn put(&mut self, (first, last): (u64, u64)) {
        if first <= last {
            self.0.insert(first, last);
        }
    }

    /// Takes numbers out; the first one that is not in them.
    fn take(&mut self, (mut from, to): (u64, u64)) -> Option<u64> {
        while from <= to {
            let found = self.0.range(..=from).next_back().map(|(first, last)| (*first, *last));
            let Some((first, last)) = found.filter(|(_, last)| *last >= from) else {
                return Some(from);
            };
            self.0.remove(&first);
            if first < from {
                self.0.insert(first, from - 1);
            }
            if last > to {
                self.0.insert(to + 1, last);
            }
            from = last.checked_add(1)?;
        }
        None
    }
}

pub(super) fn check(history: &History, findings: &mut Findings) {
    let mut mains: HashMap<Outlet, Main> = HashMap::new();
    let mut devices: HashMap<(Outlet, Name), u64> = HashMap::new();
    for entry in &history.entries {
        let main = mains.entry(entry.outlet).or_default();
        if let Some(invoice) = &entry.invoice {
            match invoice.source {
                Source::Device => {
                    let last = devices.entry((entry.outlet, invoice.series)).or_default();
                    follows(history, entry, invoice, last, findings);
                }
                source => of_main(history, entry, (source, invoice), main, findings),
            }
        }
        if let Some(rare) = &entry.rare {
            for range in rare.lent.iter().chain(&rare.skipped) {
                reserved(history, entry, *range, main, findings);
            }
            if let Some(range) = rare.lent {
                main.out.put(range);
            }
            for range in &rare.missing {
                match main.out.take(*range) {
                    None => main.missing.put(*range),
                    Some(number) => findings.add(Kind::Numbers, || {
                        let outlet = named(history, entry.outlet);
                        format!("{outlet}: number {number} is said to be missing and is not out")
                    }),
                }
            }
        }
    }
    for (outlet, totals) in &history.totals {
        let last = mains.get(outlet).map_or(0, |main| main.last);
        if totals.last != last {
            findings.add(Kind::Numbers, || {
                let outlet = named(history, *outlet);
                format!("{outlet}: the last number is said to be {}, and is {last}", totals.last)
            });
        }
    }
}

fn of_main(
    history: &History,
    entry: &Entry,
    (source, invoice): (Source, &Invoice),
    main: &mut Main,
    findings: &mut Findings,
) {
    let series = *main.series.get_or_insert(invoice.series);
    if series != invoice.series {
        findings.add(Kind::Numbers, || {
            let (one, other) = (history.text(series), history.text(invoice.series));
            format!("{}: two main series, {one} and {other}", named(history, entry.outlet))
        });
    }
    let own = (invoice.number, invoice.number);
    if source == Source::Online {
        follows(history, entry, invoice, &mut main.last, findings);
    } else if main.out.take(own).is_some() && main.missing.take(own).is_some() {
        findings.add(Kind::Numbers, || {
            let outlet = named(history, entry.outlet);
            let number = invoice.number;
            format!("{outlet}: number {number} was sealed offline and is neither out nor missing")
        });
    }
}

/// A number that the cluster gives is the one after the last.
fn follows(
    history: &History,
    entry: &Entry,
    invoice: &Invoice,
    last: &mut u64,
    findings: &mut Findings,
) {
    if invoice.number != last.saturating_add(1) {
        let before = *last;
        findings.add(Kind::Numbers, || {
            let outlet = named(history, entry.outlet);
            format!(
                "{outlet}: number {} at position {} follows {before}",
                invoice.number, entry.position
            )
        });
    }
    *last = invoice.number.max(*last);
}

fn reserved(
    history: &History,
    entry: &Entry,
    (first, last): (u64, u64),
    main: &mut Main,
    findings: &mut Findings,
) {
    if first != main.last.saturating_add(1) || last < first {
        let before = main.last;
        findings.add(Kind::Numbers, || {
            let outlet = named(history, entry.outlet);
            format!("{outlet}: numbers {first} to {last} are set aside after {before}")
        });
    }
    main.last = last.max(main.last);
}
