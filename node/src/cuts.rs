//! What the voters say that their cuts came to, and what follows from it. The leader gathers it. No IO.
//!
//! ```text
//! a majority has the same           ─► it can be decided
//! two differ, and no majority yet   ─► nothing is sealed until there is one
//! all have told, and no majority    ─► this replica may be the wrong one: quarantine
//! ```
//!
//! Invariant: what is agreed on has a majority of the voters behind it, and no voter that holds against it a state which
//! it made itself counts as outvoted by copies: a state that was taken from another replica is that one's opinion.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use fiscus_ledger::state::group::CheckpointTuple;
use tokio::sync::watch;

/// Cuts whose reports are kept; older ones will not be decided any more.
const CUTS_KEPT: usize = 16;

/// What one more report leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// More have to tell.
    Open,
    /// A majority has the same.
    Agreed,
    /// Voters differ, and those that have not told yet decide which are right. Whether that is news.
    Disputed { new: bool },
    /// Voters differ, and whoever is right has no majority.
    Split,
}

/// What a voter's cut came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutReport {
    /// The cut.
    pub tuple: CheckpointTuple,
    /// Whether the voter's state was taken from another replica, and no cut was decided since.
    pub copied: bool,
}

/// Gathers the reports of one group.
#[derive(Debug)]
pub(crate) struct CutReports {
    by_cut: Mutex<BTreeMap<u64, BTreeMap<u64, CutReport>>>,
    agreed: watch::Sender<Option<CheckpointTuple>>,
    /// The entry of the last cut that voters differed in; 0 for none.
    disputed: watch::Sender<u64>,
}

/// What the reports have come to, for whoever proposes.
#[derive(Debug, Clone)]
pub(crate) struct Cuts {
    agreed: watch::Receiver<Option<CheckpointTuple>>,
    disputed: watch::Receiver<u64>,
}

impl Default for CutReports {
    fn default() -> Self {
        let (agreed, disputed) = (watch::channel(None).0, watch::channel(0).0);
        Self { by_cut: Mutex::default(), agreed, disputed }
    }
}

impl CutReports {
    /// Follows them.
    pub(crate) fn follow(&self) -> Cuts {
        Cuts { agreed: self.agreed.subscribe(), disputed: self.disputed.subscribe() }
    }

    /// Whether voters differ in a cut that comes after the one that is decided.
    pub(crate) fn is_disputed(&self, decided: Option<&CheckpointTuple>) -> bool {
        is_behind(decided, *self.disputed.borrow())
    }

    /// Notes that a replica has made this cut. Only voters are heard.
    pub(crate) fn note(&self, voters: &BTreeSet<u64>, node: u64, report: CutReport) -> Verdict {
        if !voters.contains(&node) {
            return Verdict::Open;
        }
        let index = report.tuple.log_index;
        if self.agreed.borrow().as_ref().is_some_and(|agreed| agreed.log_index >= index) {
            // Whoever says otherwise now finds out when the decision is applied.
            return Verdict::Agreed;
        }
        let mut by_cut = self.by_cut.lock().expect("no holder panics");
        let of_cut = by_cut.entry(index).or_default();
        of_cut.insert(node, report);
        let told: Vec<&CutReport> = of_cut
            .iter()
            .filter_map(|(node, report)| voters.contains(node).then_some(report))
            .collect();
        let made = |report: &&&CutReport| !report.copied;
        // A copy counts as long as nobody who made the state says otherwise.
        let counts = |one: &&&CutReport| {
            !one.copied || told.iter().filter(made).all(|other| other.tuple == one.tuple)
        };
        let alike = |one: &CutReport| {
            told.iter().filter(counts).filter(|other| other.tuple == one.tuple).count()
        };
        let most = told.iter().max_by_key(|one| alike(one)).map(|one| one.tuple.clone());
        let most_alike = told.iter().map(|one| alike(one)).max().unwrap_or(0);
        let (all, majority) = (told.len() == voters.len(), voters.len() / 2 + 1);
        let differ = told.iter().any(|one| Some(&one.tuple) != most.as_ref());
        while by_cut.len() > CUTS_KEPT {
            by_cut.pop_first();
        }
        drop(by_cut);
        if most_alike >= majority {
            self.agreed.send_if_modified(|agreed| {
                let newer = agreed.as_ref().is_none_or(|known| known.log_index < index);
                if newer {
                    *agreed = most;
                }
                newer
            });
            return Verdict::Agreed;
        }
        if !differ {
            return Verdict::Open;
        }
        let new = self.disputed.send_if_modified(|disputed| {
            let later = *disputed < index;
            *disputed = index.max(*disputed);
            later
        });
        if all { Verdict::Split } else { Verdict::Disputed { new } }
    }
}

impl Cuts {
    /// What can be decided, when that is later than what is.
    pub(crate) fn to_decide(&self, decided: Option<&CheckpointTuple>) -> Option<CheckpointTuple> {
        let agreed = self.agreed.borrow().clone();
        agreed.filter(|agreed| is_behind(decided, agreed.log_index))
    }

    /// Whether voters differ in a cut that comes after the one that is decided.
    pub(crate) fn is_disputed(&self, decided: Option<&CheckpointTuple>) -> bool {
        is_behind(decided, *self.disputed.borrow())
    }
}

fn is_behind(decided: Option<&CheckpointTuple>, index: u64) -> bool {
    decided.map_or(0, |tuple| tuple.log_index) < index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(log_index: u64, state: u8) -> CheckpointTuple {
        CheckpointTuple { log_index, size: log_index, root: [1; 32], state_hash: [state; 32] }
    }

    fn own(log_index: u64, state: u8) -> CutReport {
        CutReport { tuple: tuple(log_index, state), copied: false }
    }

    fn copy(log_index: u64, state: u8) -> CutReport {
        CutReport { copied: true, ..own(log_index, state) }
    }

    fn voters(count: u64) -> BTreeSet<u64> {
        (1..=count).collect()
    }

    #[test]
    fn a_majority_decides_and_whoever_differs_does_not_hold_it_up() {
        let (reports, three) = (CutReports::default(), voters(3));
        let cuts = reports.follow();
        assert_eq!(reports.note(&three, 1, own(7, 1)), Verdict::Open);
        assert_eq!(reports.note(&three, 1, own(7, 1)), Verdict::Open, "one voter has one voice");
        assert_eq!(reports.note(&three, 4, own(7, 1)), Verdict::Open, "it is no voter");
        assert_eq!(cuts.to_decide(None), None);
        assert_eq!(reports.note(&three, 2, own(7, 2)), Verdict::Disputed { new: true });
        assert_eq!(reports.note(&three, 2, own(7, 2)), Verdict::Disputed { new: false });
        assert!(cuts.is_disputed(None) && reports.is_disputed(Some(&tuple(6, 1))));
        assert_eq!(reports.note(&three, 3, own(7, 1)), Verdict::Agreed);
        assert_eq!(cuts.to_decide(None), Some(tuple(7, 1)));
        let decided = tuple(7, 1);
        assert!(!cuts.is_disputed(Some(&decided)) && !reports.is_disputed(Some(&decided)));
        assert_eq!(cuts.to_decide(Some(&decided)), None);
        assert_eq!(reports.note(&three, 2, own(7, 2)), Verdict::Agreed, "it says so again");
        assert_eq!(cuts.to_decide(None), Some(tuple(7, 1)), "and is not believed");
    }

    #[test]
    fn a_later_majority_ends_a_dispute() {
        let (reports, three) = (CutReports::default(), voters(3));
        let cuts = reports.follow();
        reports.note(&three, 1, own(7, 1));
        reports.note(&three, 2, own(7, 2));
        reports.note(&three, 1, own(9, 1));
        assert_eq!(reports.note(&three, 3, own(9, 1)), Verdict::Agreed);
        assert_eq!(cuts.to_decide(None), Some(tuple(9, 1)));
        assert!(!cuts.is_disputed(Some(&tuple(9, 1))));
    }

    #[test]
    fn without_a_majority_it_is_a_split_when_all_have_told() {
        let three = voters(3);
        let reports = CutReports::default();
        reports.note(&three, 1, own(7, 1));
        reports.note(&three, 2, own(7, 2));
        assert_eq!(reports.note(&three, 3, own(7, 3)), Verdict::Split);
        assert!(reports.is_disputed(None));
        // Two against two is no majority either.
        let (reports, four) = (CutReports::default(), voters(4));
        for (node, state) in [(1, 1), (2, 1), (3, 2)] {
            reports.note(&four, node, own(7, state));
        }
        assert_eq!(reports.note(&four, 4, own(7, 2)), Verdict::Split);
        // A voter that was removed is not counted.
        let reports = CutReports::default();
        reports.note(&four, 4, own(7, 2));
        reports.note(&three, 1, own(7, 1));
        assert_eq!(reports.note(&three, 2, own(7, 1)), Verdict::Agreed);
    }

    #[test]
    fn a_copy_does_not_outvote_whoever_made_its_state() {
        let three = voters(3);
        let reports = CutReports::default();
        let cuts = reports.follow();
        reports.note(&three, 1, own(7, 1));
        assert_eq!(reports.note(&three, 2, own(7, 2)), Verdict::Disputed { new: true });
        assert_eq!(reports.note(&three, 3, copy(7, 1)), Verdict::Split, "nobody knows");
        assert_eq!(cuts.to_decide(None), None);
        // Two copies of one state are one opinion.
        let reports = CutReports::default();
        reports.note(&three, 1, copy(7, 1));
        reports.note(&three, 3, copy(7, 1));
        assert_eq!(reports.note(&three, 2, own(7, 2)), Verdict::Agreed, "it was agreed before");
        let reports = CutReports::default();
        reports.note(&three, 2, own(7, 2));
        reports.note(&three, 1, copy(7, 1));
        assert_eq!(reports.note(&three, 3, copy(7, 1)), Verdict::Split);
        // With those who made it themselves a copy counts, and copies alone count, too: otherwise a group that was taken
        // from one replica would never sign again.
        let reports = CutReports::default();
        reports.note(&three, 1, own(7, 1));
        assert_eq!(reports.note(&three, 3, copy(7, 1)), Verdict::Agreed);
        let reports = CutReports::default();
        reports.note(&three, 1, copy(7, 1));
        assert_eq!(reports.note(&three, 3, copy(7, 1)), Verdict::Agreed);
    }

    #[test]
    fn few_cuts_are_kept() {
        let (reports, three) = (CutReports::default(), voters(3));
        for index in 1..100 {
            reports.note(&three, 1, own(index, 1));
        }
        assert_eq!(reports.by_cut.lock().expect("no holder panics").len(), CUTS_KEPT);
    }
}
