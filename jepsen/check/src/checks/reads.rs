//! Linearizable reads of an outlet: each sees at least what every operation that had ended before it began has seen or
//! made, and nothing that nobody has begun.

use std::collections::HashMap;

use super::{Index, Outlet, named};
use crate::finding::{Findings, Kind};
use crate::history::{History, Operation};
use crate::line::Outcome;

pub(super) fn check(history: &History, index: &Index<'_>, findings: &mut Findings) {
    let mut outlets: HashMap<Outlet, Seen<'_>> = HashMap::new();
    for op in &history.ops {
        let (Outcome::Ok, Some(position), Some(end)) = (op.outcome, op.position, op.end) else {
            continue;
        };
        let seen = outlets.entry(op.outlet).or_default();
        seen.ended.push((end, position, op.number.unwrap_or(0)));
        if history.text(op.f) == "read" {
            seen.reads.push(op);
        }
    }
    let begun = begun(index);
    let mut outlets: Vec<_> = outlets.into_iter().collect();
    outlets.sort_unstable_by_key(|(outlet, _)| *outlet);
    for (outlet, seen) in outlets {
        let empty = Vec::new();
        seen.check(history, outlet, begun.get(&outlet).unwrap_or(&empty), findings);
    }
}

/// What is known of an outlet's reads.
#[derive(Default)]
struct Seen<'h> {
    reads: Vec<&'h Operation>,
    /// When something ended, and the position and the number that it had seen.
    ended: Vec<(u64, u64, u64)>,
}

impl Seen<'_> {
    fn check(
        mut self,
        history: &History,
        outlet: Outlet,
        begun: &[(u64, u64)],
        findings: &mut Findings,
    ) {
        self.ended.sort_unstable();
        self.reads.sort_unstable_by_key(|op| op.start);
        let mut ended = self.ended.iter().peekable();
        let (mut position, mut number) = (0, 0);
        for read in self.reads {
            while let Some((_, had, numbered)) = ended.next_if(|(end, ..)| *end < read.start) {
                (position, number) = (position.max(*had), number.max(*numbered));
            }
            let (saw, counted) = (read.position.unwrap_or(0), read.number.unwrap_or(0));
            if saw < position || counted < number {
                findings.add(Kind::Reads, || {
                    let outlet = named(history, outlet);
                    let at = read.start;
                    format!(
                        "{outlet}: a read that began at {at} ns saw position {saw} and number {counted}; {position} \
                         and {number} had been acknowledged or read"
                    )
                });
            }
            let future = begun.partition_point(|(at, _)| *at <= saw);
            // Positions that nobody submitted, as those of closed blocks, say nothing.
            let last = begun[..future].last().filter(|(at, _)| *at == saw);
            if let (Some((_, began)), Some(end)) = (last, read.end)
                && *began > end
            {
                findings.add(Kind::Reads, || {
                    let outlet = named(history, outlet);
                    format!("{outlet}: a read saw position {saw}, which nobody had begun to submit")
                });
            }
        }
    }
}

/// By outlet, positions and when they were first submitted, in the order of positions.
fn begun(index: &Index<'_>) -> HashMap<Outlet, Vec<(u64, u64)>> {
    let mut begun: HashMap<Outlet, Vec<(u64, u64)>> = HashMap::new();
    for ((outlet, _, _), attempts) in &index.submissions {
        let (Some(entry), Some(at)) = (attempts.entries.first(), attempts.began()) else {
            continue;
        };
        begun.entry(*outlet).or_default().push((entry.position, at));
    }
    begun.values_mut().for_each(|positions| positions.sort_unstable());
    begun
}
