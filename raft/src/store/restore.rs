//! Makes of a group's backup the same group in another cluster.
//!
//! ```text
//! backup/group-{g}/rows     ──► groups/{g}/state-1/index.redb   cluster, members and holds replaced
//! backup/group-{g}/journal… ──► groups/{g}/state-1/journal/…    copied, with the new cluster's header
//! ```
//!
//! Invariants: the backup is only read; what was recorded stays as it is, byte for byte; every outlet is
//! held, and so will be each that the group hears of later, so that no number is given away before its
//! last one was shown; the log begins behind the backup's
//! last entry, in a term in which nobody leads. The old cluster's files and nodes fit the new one
//! nowhere.
//!
//! Non-goals: checking the backup, which is [`SnapshotDir::check`]'s, and knowing what was forgotten.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fiscus_ledger::codec::DecodeError;
use fiscus_ledger::facts::OutletFact;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::group::Group;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_proto::peer::{Membership, SnapshotFile};
use fiscus_proto::stored;
use prost::Message;

use crate::disk::{Disk, OpenHow};
use crate::index::{BulkLoad, Index, RedbOptions};
use crate::store::decided::DECIDED_TABLE;
use crate::store::journal::run_identity;
use crate::store::replica::{APPLIED_KEY, INDEX_FILE};
use crate::store::series::{HEADER_BYTES, header_of};
use crate::store::snapshot::rows::RowFiles;
use crate::store::snapshot::{
    SnapshotDir, SnapshotError, copy_file, io_error, make_parent, sync_dirs,
};
use crate::store::state::write_current;
use crate::store::versions::{PART_TABLE, VERSION_TABLE};
use crate::wal::{GroupLog, LogId, Vote, WalError};

/// The state in use of a group that was restored.
const STATE: &str = "state-1";
const CACHE_BYTES: usize = 64 << 20;
/// Rows that speak of the log under its former name.
const OF_THE_OLD_LOG: [u8; 3] = [VERSION_TABLE, PART_TABLE, DECIDED_TABLE];

/// What is different in the new cluster.
#[derive(Debug, Clone)]
pub struct Restoration {
    /// Its name.
    pub cluster: String,
    /// Its first members, all voters.
    pub membership: Membership,
    /// Outlets that the directory has given to this group. Those that the group had not heard of when it
    /// was backed up may have sold since: they are held as well.
    pub registered: Vec<OutletFact>,
}

/// What was restored of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The last entry.
    pub at: LogId,
    /// Outlets that are held now.
    pub held: u64,
}

impl SnapshotDir {
    /// Makes the directory of the group in the new cluster.
    pub fn restore(
        &self,
        disk: &Arc<dyn Disk>,
        dir: &Path,
        to: &Restoration,
    ) -> Result<Restored, SnapshotError> {
        let at = self.log_id().ok_or_else(|| self.wrong("it is of no entry".to_owned()))?;
        let state = dir.join(STATE);
        disk.create_dir_all(&state).map_err(io_error("make", &state))?;
        for file in self.manifest.files.iter().filter(|file| !file.name.starts_with("rows/")) {
            self.restore_file(disk, file, &state, &to.cluster)?;
        }
        let held = self.restore_rows(disk, &state, to)?;
        sync_dirs(&**disk, &state, &self.manifest)?;
        write_current(&**disk, dir, STATE)
            .map_err(|error| SnapshotError::Store(Box::new(error)))?;
        Ok(Restored { at, held })
    }

    /// Copies a file of a run; its header names the new cluster.
    fn restore_file(
        &self,
        disk: &Arc<dyn Disk>,
        file: &SnapshotFile,
        state: &Path,
        cluster: &str,
    ) -> Result<(), SnapshotError> {
        let (run, start) = file.name.split_once('/').expect("a manifest's names have one folder");
        let start = u64::from_str_radix(start, 16)
            .map_err(|_| self.wrong(format!("{} is not the name of a piece", file.name)))?;
        if file.bytes < HEADER_BYTES {
            return Err(self.wrong(format!("{} is shorter than its header", file.name)));
        }
        let to = state.join(&file.name);
        make_parent(&**disk, &to)?;
        copy_file(&**disk, &self.path.join(&file.name), &to, file.bytes)?;
        let identity = run_identity(run, cluster, self.manifest.group);
        let copy = disk.open(&to, OpenHow::Write).map_err(io_error("open", &to))?;
        copy.write_all_at(&header_of(&identity, start), 0).map_err(io_error("write", &to))?;
        copy.sync_data().map_err(io_error("sync", &to))
    }

    fn restore_rows(
        &self,
        disk: &Arc<dyn Disk>,
        state: &Path,
        to: &Restoration,
    ) -> Result<u64, SnapshotError> {
        let redb = RedbOptions { cache_bytes: CACHE_BYTES, ..RedbOptions::default() };
        let mut load = BulkLoad::start(disk.clone(), state.join(INDEX_FILE), redb)?;
        let mut unheard = to.unheard();
        let mut held = 0;
        for row in RowFiles::new(self, &**disk) {
            let (key, value) = row?;
            // The new log has another name, and its heads begin anew: the old ones are the old log's.
            if key.first().is_some_and(|table| OF_THE_OLD_LOG.contains(table)) {
                continue;
            }
            // A row of the backup comes before or in the place of a registration of the same outlet.
            while let Some(first) = unheard.first_entry().filter(|first| *first.key() <= key) {
                let (added, outlet) = first.remove_entry();
                if added != key {
                    load.push(added, outlet.stored_row())?;
                    held += 1;
                }
            }
            let unreadable = |error: DecodeError| self.wrong(error.to_string());
            let value = match key.first().copied() {
                Some(Outlet::TABLE) => {
                    let mut outlet = Outlet::from_stored(&value).map_err(unreadable)?;
                    outlet.held = true;
                    held += 1;
                    outlet.stored_row()
                }
                _ if key == Group::stored_key() => {
                    let mut group = Group::from_stored(&value, []).map_err(unreadable)?;
                    group.cluster = Id::from(&*to.cluster);
                    group.restored = true;
                    group.stored_row()
                }
                _ if key == APPLIED_KEY => self.applied_row(&value, to)?,
                _ => value,
            };
            load.push(key, value)?;
        }
        for (key, outlet) in unheard {
            load.push(key, outlet.stored_row())?;
            held += 1;
        }
        load.finish()?.flush()?;
        Ok(held)
    }

    /// The same place in the log, with the new members.
    fn applied_row(&self, row: &[u8], to: &Restoration) -> Result<Vec<u8>, SnapshotError> {
        let mut applied = stored::AppliedState::decode(row)
            .map_err(|error| self.wrong(format!("the applied row: {error}")))?;
        applied.membership_log_id = applied.applied;
        applied.membership = Some(to.membership.clone());
        Ok(applied.encode_to_vec())
    }
}

impl Restoration {
    /// The rows of all registered outlets, as if the group had not heard of them. Version 0 is older than
    /// any of the directory's, which therefore tells the group of them again.
    fn unheard(&self) -> BTreeMap<Vec<u8>, Outlet> {
        let rows = self.registered.iter().map(|fact| {
            let mut outlet = Outlet::new(fact.clone(), 0);
            outlet.held = true;
            (Outlet::stored_key(&fact.outlet_id), outlet)
        });
        rows.collect()
    }
}

/// Begins a group's log behind its restored state: everything up to there is applied and gone, and the
/// node has voted for itself in a term that nobody leads, so that the term of the backup is over.
pub async fn restore_log(log: &GroupLog, at: LogId, node: u64) -> Result<(), WalError> {
    log.purge(at).await?;
    log.save_committed(Some(at)).await?;
    log.save_vote(Vote { term: at.term + 1, node, committed: false }).await
}
