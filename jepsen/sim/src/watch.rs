//! What must hold after every step, seen from outside of all nodes at once.
//!
//! Invariants checked here: one leader a term; no log has lost what it had synced, unless its disk was damaged; equal places
//! in the log have equal states; a log has one root for a size, whoever decided it and whenever.

use std::collections::BTreeMap;

use fiscus_ledger::hash::Hash32;
use fiscus_ledger::tree::CompactRange;

use crate::world::Shared;

/// What a machine's replica of a group was last seen to be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    start: u64,
    applied: u64,
    leads: Option<u64>,
}

/// Everything that was ever seen.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seen: BTreeMap<(u64, u64), Seen>,
    leaders: BTreeMap<(u64, u64), u64>,
    states: BTreeMap<(u64, u64), (Hash32, u64)>,
    roots: BTreeMap<(u64, u64), Hash32>,
    pub(crate) wrong: Vec<String>,
}

impl Watch {
    /// Looks at all nodes; tells what has changed to `trace`.
    pub(crate) fn look(
        &mut self,
        shared: &Shared,
        damaged: Option<u64>,
        mut trace: impl FnMut(String),
    ) {
        for (id, machine) in &shared.machines {
            let Some(groups) = machine.groups.upgrade() else { continue };
            for hosted in groups.all() {
                let group = hosted.handle.group();
                let replica = hosted.handle.replica();
                let progress = replica.progress();
                let progress = progress.borrow();
                let applied = progress.applied.map_or(0, |log_id| log_id.index);
                let now = Seen { start: machine.starts, applied, leads: hosted.handle.leading() };
                let before = self.seen.get(&(*id, group));
                if before == Some(&now) || progress.stopped.is_some() {
                    continue;
                }
                // A log that power was cut from is whole when it is opened again.
                let is_new = before.is_none_or(|before| before.start != now.start);
                if is_new
                    && damaged != Some(*id)
                    && let Some(why) = hosted.handle.status().recovering
                {
                    self.wrong.push(format!("nobody damaged n{id}, and group {group}: {why}"));
                }
                if let Some(before) = before.filter(|before| before.start == now.start)
                    && before.applied > applied
                {
                    // A replica that is taken anew from its peers begins again.
                    trace(format!("n{id} group {group} goes back to {applied}"));
                }
                if let Some(term) = now.leads {
                    let first = *self.leaders.entry((group, term)).or_insert(*id);
                    if first != *id {
                        let what = format!("n{first} and n{id} lead group {group} in term {term}");
                        self.wrong.push(what);
                    }
                }
                for cut in progress.last_cut.iter().chain(&progress.decided) {
                    let first = *self.roots.entry((group, cut.size)).or_insert(cut.root);
                    if first != cut.root {
                        let size = cut.size;
                        self.wrong.push(format!("group {group} has two roots for size {size}"));
                    }
                }
                let (index, state) = replica.state_hash();
                let (first, whose) = *self.states.entry((group, index)).or_insert((state, *id));
                if first != state {
                    self.wrong.push(format!(
                        "n{whose} and n{id} have other states of group {group} at {index}"
                    ));
                }
                let digest = u32::from_be_bytes([state[0], state[1], state[2], state[3]]);
                trace(format!(
                    "n{id} group {group} leads {:?} applied {applied} state {index}/{digest:08x} leaves {}",
                    now.leads, progress.leaves
                ));
                self.seen.insert((*id, group), now);
            }
        }
    }

    /// Notes a root that somebody was given.
    pub(crate) fn given(&mut self, group: u64, size: u64, root: Hash32) {
        if *self.roots.entry((group, size)).or_insert(root) != root {
            self.wrong.push(format!("group {group} has two roots for size {size}"));
        }
    }

    /// Changes of the lead of a group.
    pub(crate) fn leader_changes(&self, group: u64) -> u64 {
        let terms = self.leaders.range((group, 0)..(group + 1, 0)).count() as u64;
        terms.saturating_sub(1)
    }

    /// Compares every root that was ever seen with the final journal's leaves.
    pub(crate) fn judge_roots(&self, group: u64, leaves: &[Hash32]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut tree = CompactRange::new();
        for leaf in leaves {
            tree.push(leaf);
            let size = tree.size();
            if self.roots.get(&(group, size)).is_some_and(|root| *root != tree.root()) {
                wrong.push(format!("the log of group {group} does not begin with size {size}"));
            }
        }
        let longest = self.roots.range((group, 0)..(group + 1, 0)).next_back();
        if let Some(((_, size), _)) = longest.filter(|((_, size), _)| *size > tree.size()) {
            wrong.push(format!("the log of group {group} ends before size {size}"));
        }
        wrong
    }
}
