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
}
