//! Doing to the disk what the machine asks for.
//!
//! Invariant: exactly the step that was asked for, no retries. Non-goal: deciding anything.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

#[cfg(feature = "planted-bugs")]
use fiscus_ledger::planted::{Bug, is_planted};

use crate::disk::{Disk, DiskFile, OpenHow};

use super::LogEntry;
use super::error::WalError;
use super::frame::{ENTRY_OVERHEAD, Frame, Salt};
use super::group::Slot;
use super::machine::{Outcome, Step};
use super::scan::segment_name;
use super::votes::VOTES_FILE;

/// The files of the stream. Readers share the handles, so a segment that is removed while it is
/// read stays readable.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) identity: u128,
    open: Mutex<BTreeMap<u32, Arc<dyn DiskFile>>>,
}

impl Files {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: PathBuf, identity: u128) -> Self {
        Self { disk, dir, identity, open: Mutex::new(BTreeMap::new()) }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<dyn DiskFile>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path(&self, segment: u32) -> PathBuf {
        self.dir.join(segment_name(segment))
    }

    pub(super) fn add(&self, segment: u32, file: Box<dyn DiskFile>) {
        self.open().insert(segment, Arc::from(file));
    }

    /// The file of a segment, if it was opened; take it before the index is let go.
    pub(super) fn get(&self, segment: u32) -> Option<Arc<dyn DiskFile>> {
        self.open().get(&segment).map(Arc::clone)
    }

    /// Reads one entry back and checks that it is the one that was written.
    pub(super) fn read(&self, group: u64, index: u64, slot: Slot) -> Result<LogEntry, WalError> {
        let file = self.get(slot.segment).ok_or(WalError::Hole { group, index })?;
        self.read_from(file.as_ref(), group, index, slot)
    }

    pub(super) fn read_from(
        &self,
        file: &dyn DiskFile,
        group: u64,
        index: u64,
        slot: Slot,
    ) -> Result<LogEntry, WalError> {
        let len = ENTRY_OVERHEAD + usize::try_from(slot.len).expect("a segment fits in memory");
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, u64::from(slot.offset))
            .map_err(|e| WalError::io("read", &self.path(slot.segment), e))?;
        let salt = Salt { identity: self.identity, segment: slot.segment };
        let damaged = |what: &str| WalError::Damaged {
            segment: slot.segment,
            offset: u64::from(slot.offset),
            group: Some(group),
            what: format!("entry {index}: {what}"),
        };
        match Frame::decode(&bytes, salt, u64::from(slot.offset)) {
            Ok((
                Frame::Entry { group: of, id, bytes } | Frame::Copied { group: of, id, bytes },
                _,
            )) if of == group && id.index == index && id.term == slot.term => {
                Ok(LogEntry { id, bytes })
            }
            Ok(_) => Err(damaged("another frame stands in its place")),
            Err(why) => Err(damaged(why.what())),
        }
    }
}

/// Does the steps.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) files: Arc<Files>,
    pub(super) votes: Box<dyn DiskFile>,
    /// The planted bug; always false in a product.
    pub(super) skip_sync: bool,
}

/// What a step cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) sync_us: Option<u64>,
    pub(super) bytes: u64,
}

impl Driver {
    pub(super) fn perform(&self, step: &Step, cost: &mut Cost) -> Result<Outcome, WalError> {
        match step {
            Step::Prepare { segment, from, to, total } => {
                let prepared = self.prepare(*segment, *from, *to, *total);
                if let Err(error) = &prepared
                    && error.is_no_space()
                {
                    self.give_up(*segment)?;
                }
                prepared?;
            }
            Step::Write { segment, offset, bytes } => {
                let file = self.file(*segment)?;
                cost.bytes = bytes.len() as u64;
                file.write_all_at(bytes, *offset)
                    .map_err(|e| WalError::io("write", &self.files.path(*segment), e))?;
            }
            Step::Sync { segment } => {
                let start = Instant::now();
                self.sync(self.file(*segment)?.as_ref(), *segment)?;
                cost.sync_us = Some(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            Step::Votes { offset, bytes } => self.write_votes(*offset, bytes)?,
            Step::Read { group, slots } => {
                let read = |(index, slot): &(u64, Slot)| self.files.read(*group, *index, *slot);
                let entries: Result<Vec<_>, _> = slots.iter().map(read).collect();
                return Ok(Outcome::Entries(entries?));
            }
            Step::Remove { segment } => self.remove(*segment)?,
        }
        Ok(Outcome::Done)
    }

    fn file(&self, segment: u32) -> Result<Arc<dyn DiskFile>, WalError> {
        self.files.get(segment).ok_or_else(|| {
            WalError::io("find", &self.files.path(segment), std::io::ErrorKind::NotFound.into())
        })
    }

    fn sync(&self, file: &dyn DiskFile, segment: u32) -> Result<(), WalError> {
        if self.skip_sync {
            return Ok(());
        }
        file.sync_data().map_err(|e| WalError::io("sync", &self.files.path(segment), e))
    }

    fn prepare(&self, segment: u32, from: u64, to: u64, total: u64) -> Result<(), WalError> {
        let path = self.files.path(segment);
        let disk = &self.files.disk;
        if from == 0 {
            let space =
                disk.space(&self.files.dir).map_err(|e| WalError::io("measure", &path, e))?;
            if space.free < total {
                return Err(WalError::Full { wanted: total });
            }
            let file =
                disk.open(&path, OpenHow::Create).map_err(|e| WalError::io("create", &path, e))?;
            self.files.add(segment, file);
        }
        let file = self.file(segment)?;
        let len = usize::try_from(to - from).expect("a piece of a segment");
        file.write_all_at(&vec![0; len], from)
            .map_err(|e| WalError::io("write zeros to", &path, e))?;
        self.sync(file.as_ref(), segment)?;
        if to == total {
            disk.sync_dir(&self.files.dir).map_err(|e| WalError::io("sync", &self.files.dir, e))?;
        }
        Ok(())
    }

    /// Removes a segment for which there was no room.
    fn give_up(&self, segment: u32) -> Result<(), WalError> {
        let path = self.files.path(segment);
        let there =
            self.files.disk.exists(&path).map_err(|e| WalError::io("look for", &path, e))?;
        if there { self.remove(segment) } else { Ok(()) }
    }

    fn remove(&self, segment: u32) -> Result<(), WalError> {
        self.files.open().remove(&segment);
        let path = self.files.path(segment);
        self.files.disk.remove_file(&path).map_err(|e| WalError::io("remove", &path, e))
    }

    fn write_votes(&self, offset: u64, bytes: &[u8]) -> Result<(), WalError> {
        let path = self.files.dir.join(VOTES_FILE);
        self.votes.write_all_at(bytes, offset).map_err(|e| WalError::io("write", &path, e))?;
        #[cfg(feature = "planted-bugs")]
        if is_planted(Bug::VoteNotSynced) {
            return Ok(());
        }
        if self.skip_sync {
            return Ok(());
        }
        self.votes.sync_data().map_err(|e| WalError::io("sync", &path, e))
    }
}
