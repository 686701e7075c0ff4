//! What a group's directory says about a replica that may have forgotten something.
//!
//! ```text
//! groups/{g}/RECOVERY     step, the vote to keep, why; written before anything is thrown away
//! ```
//!
//! Invariants: while the file is there, the replica neither votes nor leads; a vote outlives the log
//! that it stood in. Non-goal: deciding that a replica has caught up, which takes its peers.

use std::path::Path;

use crate::disk::{Disk, OpenHow};
use crate::store::replica::{StoreError, io_error};
use crate::wal::Vote;

const FILE: &str = "RECOVERY";
const FRESH: &str = "RECOVERY.new";
const VERSION: &str = "fiscus-recovery 1";
/// A reason longer than this is cut; the log has all of it.
const WHY_BYTES_MAX: usize = 1_024;

/// What is to be done when the group is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Build the state again from the local snapshot and the log.
    Reindex,
    /// Throw everything away but the vote, and take all of it from the peers.
    Refetch,
    /// Follow until everything is here again.
    CatchUp,
    /// Serve nothing until an operator has looked.
    Quarantine,
}

const STEPS: [(Step, &str); 4] = [
    (Step::Reindex, "reindex"),
    (Step::Refetch, "refetch"),
    (Step::CatchUp, "catch-up"),
    (Step::Quarantine, "quarantine"),
];

/// Why a replica is not a full member, and what it must not forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// What is to be done.
    pub step: Step,
    /// The vote as it was before anything was thrown away.
    pub vote: Option<Vote>,
    /// For people.
    pub why: String,
}

impl Recovery {
    /// Reads the file of a group's directory.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(FILE);
        if !disk.exists(&path).map_err(io_error("look for", &path))? {
            return Ok(None);
        }
        let file = disk.open(&path, OpenHow::Read).map_err(io_error("open", &path))?;
        let size = file.size().map_err(io_error("measure", &path))?;
        let mut bytes = vec![0; usize::try_from(size.min(4_096)).expect("4096 fits")];
        file.read_exact_at(&mut bytes, 0).map_err(io_error("read", &path))?;
        match Self::parse(&bytes) {
            Some(found) => Ok(Some(found)),
            None => Err(StoreError::Io {
                doing: "understand",
                path,
                source: std::io::Error::other(
                    "the file is damaged, and with it the vote; replace the replica",
                ),
            }),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        (crc32c::crc32c(body) == u32::from_le_bytes(*crc)).then_some(())?;
        let mut lines = std::str::from_utf8(body).ok()?.splitn(4, '\n');
        (lines.next()? == VERSION).then_some(())?;
        let name = lines.next()?;
        let step = STEPS.iter().find_map(|(step, known)| (*known == name).then_some(*step))?;
        let vote = lines.next()?;
        let vote = if vote == "-" { None } else { Some(parse_vote(vote)?) };
        Some(Self { step, vote, why: lines.next()?.to_owned() })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let name = STEPS.iter().find_map(|(step, name)| (*step == self.step).then_some(*name));
        let name = name.expect("every step is in the table");
        let vote = self.vote.map_or_else(
            || "-".to_owned(),
            |vote| format!("{} {} {}", vote.term, vote.node, u8::from(vote.committed)),
        );
        let mut why = self.why.as_str();
        while why.len() > WHY_BYTES_MAX {
            let end = why.char_indices().next_back().map_or(0, |(at, _)| at);
            why = &why[..end];
        }
        let mut bytes = format!("{VERSION}\n{name}\n{vote}\n{why}").into_bytes();
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Makes it durable. A vote that the file holds already is kept when this has none.
    pub fn write(mut self, disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        disk.create_dir_all(dir).map_err(io_error("make", dir))?;
        if self.vote.is_none() {
            self.vote = Self::read(disk, dir)?.and_then(|known| known.vote);
        }
        let (path, fresh) = (dir.join(FILE), dir.join(FRESH));
        if disk.exists(&fresh).map_err(io_error("look for", &fresh))? {
            disk.remove_file(&fresh).map_err(io_error("remove", &fresh))?;
        }
        let file = disk.open(&fresh, OpenHow::Create).map_err(io_error("make", &fresh))?;
        file.write_all_at(&self.to_bytes(), 0).map_err(io_error("write", &fresh))?;
        file.sync_data().map_err(io_error("sync", &fresh))?;
        disk.rename(&fresh, &path).map_err(io_error("rename to", &path))?;
        disk.sync_dir(dir).map_err(io_error("sync", dir))
    }

    /// The replica is a full member again.
    pub fn clear(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(FILE);
        if disk.exists(&path).map_err(io_error("look for", &path))? {
            disk.remove_file(&path).map_err(io_error("remove", &path))?;
            disk.sync_dir(dir).map_err(io_error("sync", dir))?;
        }
        Ok(())
    }

    /// Throws away what the group's directory holds, but for this file.
    pub(crate) fn discard(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        for name in disk.list(dir).map_err(io_error("list", dir))? {
            let path = dir.join(&name);
            if name == "CURRENT" || name == "CURRENT.new" {
                disk.remove_file(&path).map_err(io_error("remove", &path))?;
            } else if name.starts_with("state-") || name == "snapshots" || name == "incoming" {
                disk.remove_dir_all(&path).map_err(io_error("remove", &path))?;
            }
        }
        disk.sync_dir(dir).map_err(io_error("sync", dir))
    }
}

fn parse_vote(text: &str) -> Option<Vote> {
    let mut parts = text.split(' ').map(str::parse::<u64>);
    let mut next = || parts.next()?.ok();
    let (term, node, committed) = (next()?, next()?, next()?);
    Some(Vote { term, node, committed: committed == 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn what_is_written_is_read_and_every_flipped_bit_is_noticed() {
        let vote = Some(Vote { term: 7, node: 3, committed: true });
        for (step, _) in STEPS {
            for vote in [None, vote] {
                let wanted = Recovery { step, vote, why: "two\nlines".to_owned() };
                let bytes = wanted.to_bytes();
                assert_eq!(Recovery::parse(&bytes), Some(wanted));
                for at in 0..bytes.len() {
                    let mut flipped = bytes.clone();
                    flipped[at] ^= 1;
                    assert_eq!(Recovery::parse(&flipped), None, "byte {at}");
                }
            }
        }
    }

    #[test]
    fn a_vote_outlives_later_steps() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = RealDisk::new();
        let vote = Some(Vote { term: 4, node: 2, committed: false });
        let refetch = Recovery { step: Step::Refetch, vote, why: "lost".to_owned() };
        refetch.write(&disk, dir.path()).expect("it is written");
        let next = Recovery { step: Step::CatchUp, vote: None, why: "lost".to_owned() };
        next.write(&disk, dir.path()).expect("it is written");
        let found = Recovery::read(&disk, dir.path()).expect("it is read").expect("it is there");
        assert_eq!((found.step, found.vote), (Step::CatchUp, vote));
        Recovery::clear(&disk, dir.path()).expect("it goes");
        assert_eq!(Recovery::read(&disk, dir.path()).expect("it is read"), None);
    }
}
