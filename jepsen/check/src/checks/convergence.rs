//! Once all is healed every replica comes to the same place, and everybody is answered.

use std::collections::HashMap;

use super::{Outlet, Submission, named};
use crate::finding::{Findings, Kind};
use crate::history::History;
use crate::line::{End, Outcome};

pub(super) fn check(history: &History, findings: &mut Findings) {
    let mut ends: Vec<&End> = history.ends.iter().collect();
    ends.sort_unstable_by_key(|end| (end.group, end.node));
    for pair in ends.windows(2) {
        let [one, other] = pair else { continue };
        let differs = one.leaves != other.leaves || one.applied != other.applied;
        if one.group == other.group && differs {
            findings.add(Kind::Convergence, || {
                format!(
                    "group {}: node {} has {} leaves after entry {}, node {} has {} after entry {}",
                    one.group,
                    one.node,
                    one.leaves,
                    one.applied,
                    other.node,
                    other.leaves,
                    other.applied
                )
            });
        }
    }
    for end in ends {
        let leaves = history.leaves.get(&end.group).map_or(0, Vec::len);
        if end.leaves != leaves as u64 {
            findings.add(Kind::Convergence, || {
                let End { group, node, .. } = end;
                format!(
                    "group {group}: node {node} has {} leaves, and the journal {leaves}",
                    end.leaves
                )
            });
        }
    }
    let Some(healed) = history.healed else { return };
    let cleared = cleared(history);
    for op in history.ops.iter().filter(|op| op.start >= healed) {
        let submission = op.key.map(|key| (op.outlet, op.f, key));
        let clear = submission.and_then(|submission| cleared.get(&submission));
        let is_clear = clear.is_some_and(|end| *end >= op.end.unwrap_or(op.start));
        if op.outcome == Outcome::Unknown && !is_clear {
            findings.add(Kind::Convergence, || {
                let why = op.error.map_or("it never ended", |error| history.text(error));
                let outlet = named(history, op.outlet);
                format!(
                    "{outlet}: all is healed, and a {} is not answered: {why}",
                    history.text(op.f)
                )
            });
        }
    }
    check_positions(history, findings);
}

/// When the last attempt at a submission ended of which it is known what became.
fn cleared(history: &History) -> HashMap<Submission, u64> {
    let mut cleared: HashMap<Submission, u64> = HashMap::new();
    for op in history.ops.iter().filter(|op| op.outcome != Outcome::Unknown) {
        if let (Some(key), Some(end)) = (op.key, op.end) {
            let last = cleared.entry((op.outlet, op.f, key)).or_default();
            *last = end.max(*last);
        }
    }
    cleared
}

/// An outlet's row in the end says where its chain ends.
fn check_positions(history: &History, findings: &mut Findings) {
    let mut last: HashMap<Outlet, u64> = HashMap::new();
    for entry in &history.entries {
        last.insert(entry.outlet, entry.position);
    }
    for (outlet, totals) in &history.totals {
        let last = last.get(outlet).copied().unwrap_or(0);
        if totals.position != last {
            findings.add(Kind::Convergence, || {
                let outlet = named(history, *outlet);
                format!(
                    "{outlet}: the last position is said to be {}, and is {last}",
                    totals.position
                )
            });
        }
    }
}
