//! Fixes the tree's size and root, and the state's hash, at one place of the log. Nothing is signed
//! yet: that takes a decision.

use super::Context;
use crate::heads::heads_leaf;
use crate::outcome::Outcome;
use crate::state::group::{CheckpointTuple, UNDECIDED_CUTS_MAX};

/// A heads leaf is due this long after the last one, when something is new.
pub const HEADS_LEAF_INTERVAL_MS: u64 = 60_000;

/// Cuts. With `demand_heads`, a heads leaf is appended whenever something is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointCut {
    /// Whether somebody waits for a heads proof.
    pub demand_heads: bool,
}

impl CheckpointCut {
    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Outcome {
        let group = &mut cx.state.group;
        let size = group.tree.size();
        let nothing_new = size == group.heads_leaf_end;
        let last = group.cuts.last().or(group.decided.as_ref());
        // One cut an entry, because a decision names its cut by the entry.
        let cut_already = last.is_some_and(|tuple| tuple.log_index == group.log_index);
        let unchanged = last.is_some_and(|tuple| tuple.size == size);
        let due = group.time.get() >= group.heads_leaf_time.get() + HEADS_LEAF_INTERVAL_MS;
        let wanted = !nothing_new && (due || self.demand_heads);
        if cut_already || (unchanged && !wanted) {
            return Outcome::Unchanged;
        }
        group.fold_heads();
        group.heads_root = group.heads.root();
        if wanted {
            let leaf = heads_leaf(&group.cluster, group.number, size, &group.heads_root);
            cx.journal.push_leaf(&mut group.tree, leaf, None);
            group.heads_leaf_end = group.tree.size();
            group.heads_leaf_time = group.time;
        }
        if group.cuts.len() == UNDECIDED_CUTS_MAX {
            group.cuts.remove(0);
        }
        group.cuts.push(CheckpointTuple {
            log_index: group.log_index,
            size: group.tree.size(),
            root: group.tree.root(),
            state_hash: group.state_hash(),
        });
        Outcome::Done
    }
}
