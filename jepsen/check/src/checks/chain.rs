//! Every outlet's chain is dense, linked, and goes forward in time; the tree has every leaf once.

use std::collections::HashMap;

use super::{Outlet, named};
use crate::finding::{Findings, Kind};
use crate::history::History;
use crate::line::Digest;

struct Chain {
    position: u64,
    head: Digest,
}

pub(super) fn check(history: &History, findings: &mut Findings) {
    for (group, leaves) in &history.leaves {
        for (expected, (leaf, _)) in (0..).zip(leaves) {
            if *leaf != expected {
                findings.add(Kind::Chain, || {
                    format!("group {group}: leaf {leaf} is where leaf {expected} belongs")
                });
                break;
            }
        }
    }
    let mut chains: HashMap<Outlet, Chain> = HashMap::new();
    let mut time: HashMap<u64, u64> = HashMap::new();
    for entry in &history.entries {
        let begun = Chain { position: 0, head: Digest::default() };
        let chain = chains.entry(entry.outlet).or_insert(begun);
        let outlet = || named(history, entry.outlet);
        if entry.position != chain.position.saturating_add(1) {
            let before = chain.position;
            findings.add(Kind::Chain, || {
                format!("{}: position {} follows position {before}", outlet(), entry.position)
            });
        }
        if entry.prev != chain.head {
            findings.add(Kind::Chain, || {
                format!(
                    "{}: position {} is not linked to what is before it",
                    outlet(),
                    entry.position
                )
            });
        }
        (chain.position, chain.head) = (entry.position, entry.entry);
        let last = time.entry(entry.outlet.0).or_default();
        if entry.time_ms < *last {
            findings.add(Kind::Chain, || {
                format!("{}: position {} goes back in time", outlet(), entry.position)
            });
        }
        *last = entry.time_ms;
    }
}
