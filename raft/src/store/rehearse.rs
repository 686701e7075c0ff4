//! What a command would be answered, without doing it.

use fiscus_ledger::apply::{Entry, apply_entry};
use fiscus_ledger::commands::GroupCommand;
use fiscus_ledger::hash::ZERO_HASH;
use fiscus_ledger::outcome::Outcome;

use super::error::StoreError;
use super::read::Reading;

impl Reading {
    /// Applies a command to this moment, and forgets what it did. The group's time is the time.
    pub fn rehearse(&self, command: GroupCommand) -> Result<Outcome, StoreError> {
        let group = self.group()?;
        let log_index = group.log_index + 1;
        let entry = Entry {
            log_index,
            apply_version: group.apply_version,
            stamp: group.time,
            seed: ZERO_HASH,
            commands: vec![command],
        };
        let mut failed = None;
        let applied = apply_entry(&entry, group, |key| match self.get(key) {
            Ok(row) => row,
            Err(error) => {
                failed.get_or_insert(error);
                None
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let number = self.as_of().group;
        let error = |source| StoreError::Apply { group: number, index: log_index, source };
        let mut applied = applied.map_err(error)?;
        Ok(applied.outcomes.pop().expect("one command has one outcome"))
    }

    /// The records that an entry of a data group would make if it were the next one. For a planted bug.
    #[cfg(feature = "planted-bugs")]
    pub fn rehearse_entry(&self, bytes: &[u8]) -> Vec<fiscus_ledger::hash::Hash32> {
        use crate::entry::{GroupEntry, decode_entry};
        let (group, next) = (self.as_of().group, self.as_of().applied + 1);
        let Ok(GroupEntry::Data(entry)) = decode_entry(group, next, bytes) else { return vec![] };
        let Ok(group) = self.group() else { return vec![] };
        let applied = apply_entry(&entry, group, |key| self.get(key).unwrap_or_default());
        let leaves = applied.map(|applied| applied.effects.leaves).unwrap_or_default();
        leaves.iter().filter(|leaf| leaf.record.is_some()).map(|leaf| leaf.hash).collect()
    }
}
