//! What the nodes have signed, and whether they might.
//!
//! Invariants checked here: a record that was signed is in the journal, whatever became of whoever signed it; a
//! checkpoint is signed by nobody who does not know that it is decided. Non-goal: the signatures, which clients compare.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use fiscus_ledger::checkpoint::{Checkpoint, origin};
use fiscus_ledger::hash::{Hash32, hex};
use fiscus_node::signer::{HeldKey, SignError, Signable, Signer};
use fiscus_raft::store::Replica;

use crate::world::{CLUSTER, Shared};

/// A checkpoint that a node has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cut {
    machine: u64,
    start: u64,
    group: u64,
    size: u64,
    root: Hash32,
}

/// Everything that was signed.
#[derive(Debug, Default)]
pub(crate) struct Signed {
    records: BTreeSet<Hash32>,
    /// Checkpoints that were not looked at yet.
    fresh: Vec<Cut>,
}

/// A node's signer, which notes what it signs.
#[derive(Debug)]
pub(crate) struct NotingSigner {
    pub(crate) inner: Arc<dyn Signer>,
    pub(crate) signed: Arc<Mutex<Signed>>,
    pub(crate) machine: u64,
    pub(crate) start: u64,
}

impl NotingSigner {
    fn note(&self, what: &Signable<'_>) {
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            Signable::EntryHash(hash) => {
                signed.records.insert(*hash);
            }
            Signable::CheckpointNote(text) => {
                let text = std::str::from_utf8(text).unwrap_or_default();
                let Ok(checkpoint) = Checkpoint::parse(text) else { return };
                let group = (0..2).find(|group| checkpoint.origin() == origin(CLUSTER, *group));
                signed.fresh.push(Cut {
                    machine: self.machine,
                    start: self.start,
                    group: group.unwrap_or(u64::MAX),
                    size: checkpoint.size(),
                    root: *checkpoint.root(),
                });
            }
            _ => {}
        }
    }
}

impl Signer for NotingSigner {
    fn keys(&self) -> Vec<HeldKey> {
        self.inner.keys()
    }

    fn sign(&self, public_key: &Hash32, what: &Signable<'_>) -> Result<[u8; 64], SignError> {
        self.note(what);
        self.inner.sign(public_key, what)
    }

    fn sign_many(
        &self,
        public_key: &Hash32,
        entry_hashes: &[Hash32],
    ) -> Result<Vec<[u8; 64]>, SignError> {
        for hash in entry_hashes {
            self.note(&Signable::EntryHash(*hash));
        }
        self.inner.sign_many(public_key, entry_hashes)
    }
}

fn is_decided(replica: &Replica, cut: &Cut) -> bool {
    let decided = replica.progress().borrow().decided.clone();
    if decided.is_some_and(|known| (known.size, known.root) == (cut.size, cut.root)) {
        return true;
    }
    // Something later may have been decided since.
    let Ok(reading) = replica.inspect() else { return true };
    let known = reading.decided_checkpoints(cut.size + 1, 1).unwrap_or_default();
    known.first().is_some_and(|known| (known.size, known.root) == (cut.size, cut.root))
}

impl Signed {
    /// Looks at the checkpoints that were signed since the last look. Whoever is dead is not asked.
    pub(crate) fn look(&mut self, shared: &Shared) -> Vec<String> {
        let mut wrong = Vec::new();
        for cut in self.fresh.drain(..) {
            let machine = shared.machines.get(&cut.machine);
            let machine = machine.filter(|machine| machine.starts == cut.start);
            let groups = machine.and_then(|machine| machine.groups.upgrade());
            let Some(hosted) = groups.and_then(|groups| groups.get(cut.group)) else { continue };
            if !is_decided(hosted.handle.replica(), &cut) {
                wrong.push(format!(
                    "n{} signed a checkpoint of group {} with {} leaves, which is not decided",
                    cut.machine, cut.group, cut.size
                ));
            }
        }
        wrong
    }

    /// Whether all records that were signed are among the leaves of the final logs.
    pub(crate) fn judge(&self, leaves: &BTreeSet<Hash32>) -> Vec<String> {
        let lost: Vec<&Hash32> = self.records.difference(leaves).collect();
        let Some(first) = lost.first() else { return Vec::new() };
        vec![format!(
            "{} records were signed and are in no log, among them {}",
            lost.len(),
            hex(*first)
        )]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_must_be_in_a_log() {
        let signed = Signed { records: [[1; 32], [2; 32]].into(), fresh: Vec::new() };
        assert_eq!(signed.judge(&[[1; 32], [2; 32], [3; 32]].into()), Vec::<String>::new());
        let wrong = signed.judge(&[[1; 32]].into());
        assert!(wrong[0].starts_with("1 records were signed and are in no log"), "{wrong:?}");
    }
}
