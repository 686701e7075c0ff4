//! All signed states that anybody ever saw are states of one log, which is that of the journal; replicas at one entry
//! have one state; proofs verify.

use crate::finding::{Findings, Kind};
use crate::history::History;
use crate::line::{Digest, Outcome};
use crate::tree::Growing;

pub(super) fn check(history: &History, findings: &mut Findings) {
    check_states(history, findings);
    check_checkpoints(history, findings);
    for op in &history.ops {
        if history.text(op.f) == "audit" && op.outcome == Outcome::Fail {
            findings.add(Kind::Proofs, || {
                let why = op.error.map_or("no reason", |error| history.text(error));
                format!("a proof of group {} does not verify: {why}", op.outlet.0)
            });
        }
    }
}

fn check_states(history: &History, findings: &mut Findings) {
    let mut states = history.states.clone();
    states.sort_unstable();
    for pair in states.windows(2) {
        let [(group, index, one, first), (next, at, other, second)] = pair else { continue };
        if (group, index) == (next, at) && one != other {
            findings.add(Kind::States, || {
                let (first, second) = (history.text(*first), history.text(*second));
                format!("group {group}: after entry {index}, {first} and {second} are in different states")
            });
        }
    }
}

fn check_checkpoints(history: &History, findings: &mut Findings) {
    let mut checkpoints = history.checkpoints.clone();
    checkpoints.sort_unstable();
    let mut growing: Option<(u64, Growing)> = None;
    for (group, size, root, source) in checkpoints {
        let known = growing.take().filter(|(grown, _)| *grown == group);
        let (_, mut tree) = known.unwrap_or_else(|| (group, Growing::default()));
        let leaves: &[(u64, Digest)] = history.leaves.get(&group).map_or(&[], |leaves| leaves);
        let from = usize::try_from(tree.size()).unwrap_or(usize::MAX);
        for (_, data) in leaves.iter().skip(from).take_while(|(leaf, _)| *leaf < size) {
            tree.push(data);
        }
        if tree.size() < size {
            findings.add(Kind::Log, || {
                let source = history.text(source);
                format!(
                    "group {group}: {source} shows a log of {size} leaves, and there are {}",
                    tree.size()
                )
            });
        } else if tree.root() != root {
            findings.add(Kind::Log, || {
                let source = history.text(source);
                format!("group {group}: {source} shows another root for {size} leaves than the journal has")
            });
        }
        growing = Some((group, tree));
    }
}
