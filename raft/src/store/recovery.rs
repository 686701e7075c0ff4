//! What a group's directory says about a replica that may have forgotten something.
//!
//! ```text
//! groups/{g}/RECOVERY     step, the vote to keep, why; written before anything is set aside
//! groups/{g}/lost-{n}/    what was set aside: the state, its snapshots, CURRENT
//! ```
//!
//! Invariants: while the file is there, the replica neither votes nor leads; a vote outlives the log
//! that it stood in. Non-goal: deciding that a replica has caught up, which takes its peers.

use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::store::note;
use crate::store::replica::{StoreError, io_error};
use crate::wal::Vote;

const FILE: &str = "RECOVERY";
/// More than it has with the longest reason.
const BYTES_MAX: u64 = 4_096;
const VERSION: &str = "fiscus-recovery 1";
/// Directories of what was set aside.
const LOST: &str = "lost-";
/// So many of them are kept. The first is what was there when the recovery began; a later one holds only
/// what came in since.
const LOST_MAX: u32 = 2;
/// A reason longer than this is cut; the log has all of it.
const WHY_BYTES_MAX: usize = 1_024;

/// What is to be done when the group is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Build the state again from the local snapshot and the log.
    Reindex,
    /// Set everything aside but the vote, and take all of it from the peers.
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
    /// The vote as it was before anything was set aside.
    pub vote: Option<Vote>,
    /// For people.
    pub why: String,
}

impl Recovery {
    /// Reads the file of a group's directory.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, StoreError> {
        let Some(bytes) = note::read(disk, dir, FILE, BYTES_MAX)? else { return Ok(None) };
        match Self::parse(&bytes) {
            Some(found) => Ok(Some(found)),
            None => Err(StoreError::Io {
                doing: "understand",
                path: dir.join(FILE),
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
        note::write(disk, dir, FILE, &self.to_bytes())
    }

    /// The replica is a full member again.
    pub fn clear(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        note::clear(disk, dir, FILE)
    }

    /// Sets aside what the group's directory holds, but for this file. It stays until the recovery has
    /// ended. `CURRENT` goes last: where it is missing, setting aside was interrupted and goes on there.
    pub(crate) fn set_aside(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        let names = disk.list(dir).map_err(io_error("list", dir))?;
        for name in names.iter().filter(|name| *name == "incoming" || *name == "CURRENT.new") {
            remove(disk, &dir.join(name))?;
        }
        let held = |name: &&String| name.starts_with("state-") || *name == "snapshots";
        let mut held: Vec<&String> = names.iter().filter(held).collect();
        held.extend(names.iter().filter(|name| *name == "CURRENT"));
        let to = lost_dir(disk, dir)?;
        for name in held {
            let from = dir.join(name);
            match &to {
                Some(to) => {
                    disk.create_dir_all(to).map_err(io_error("make", to))?;
                    let to = to.join(name);
                    disk.rename(&from, &to).map_err(io_error("set aside as", &to))?;
                }
                // All of it came from the peers since this recovery began.
                None => remove(disk, &from)?,
            }
        }
        if let Some(to) = to.filter(|to| disk.exists(to).unwrap_or(false)) {
            disk.sync_dir(&to).map_err(io_error("sync", &to))?;
        }
        disk.sync_dir(dir).map_err(io_error("sync", dir))
    }

    /// Removes what was set aside: the replica has everything again.
    pub(crate) fn forget_lost(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        for number in lost_numbers(disk, dir)? {
            let path = dir.join(format!("{LOST}{number}"));
            tracing::info!(path = %path.display(), "what was set aside is not needed any more");
            remove(disk, &path)?;
        }
        Ok(())
    }
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    let is_file =
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("CURRENT"));
    let gone = if is_file { disk.remove_file(path) } else { disk.remove_dir_all(path) };
    gone.map_err(io_error("remove", path))
}

fn lost_numbers(disk: &dyn Disk, dir: &Path) -> Result<Vec<u32>, StoreError> {
    let names = disk.list(dir).map_err(io_error("list", dir))?;
    let mut numbers: Vec<u32> =
        names.iter().filter_map(|name| name.strip_prefix(LOST)?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Where to set things aside; `None` when enough is kept already.
fn lost_dir(disk: &dyn Disk, dir: &Path) -> Result<Option<PathBuf>, StoreError> {
    let last = lost_numbers(disk, dir)?.last().copied().unwrap_or(0);
    let unfinished = dir.join(format!("{LOST}{last}"));
    let mark = unfinished.join("CURRENT");
    if last > 0 && !disk.exists(&mark).map_err(io_error("look for", &mark))? {
        return Ok(Some(unfinished));
    }
    Ok((last < LOST_MAX).then(|| dir.join(format!("{LOST}{}", last + 1))))
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
    fn what_is_set_aside_is_kept_until_the_recovery_has_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let (dir, disk) = (dir.path(), RealDisk::new());
        let fill = |what: &str| {
            for place in ["state-3", "snapshots/0000000000000007", "incoming/x"] {
                std::fs::create_dir_all(dir.join(place)).expect("it is made");
            }
            std::fs::write(dir.join("state-3/index.redb"), what).expect("it is written");
            std::fs::write(dir.join("CURRENT"), "state-3\n").expect("it is written");
            std::fs::write(dir.join("RECOVERY"), "stays").expect("it is written");
        };
        let index = |place: &str| std::fs::read_to_string(dir.join(place).join("index.redb"));
        fill("first");
        // A crash that came after the first of the names.
        std::fs::create_dir(dir.join("lost-1")).expect("it is made");
        std::fs::rename(dir.join("state-3"), dir.join("lost-1/state-3")).expect("it moves");
        for what in ["", "second", "third"] {
            if !what.is_empty() {
                fill(what);
            }
            Recovery::set_aside(&disk, dir).expect("it is set aside");
            let left: Vec<String> = disk.list(dir).expect("it is listed");
            let left: Vec<&String> = left.iter().filter(|n| !n.starts_with(LOST)).collect();
            assert_eq!(left, ["RECOVERY"], "{what}");
        }
        assert_eq!(index("lost-1/state-3").expect("the first stays"), "first");
        assert_eq!(index("lost-2/state-3").expect("so does the second"), "second");
        assert!(dir.join("lost-1/snapshots/0000000000000007").exists());
        assert_eq!(lost_numbers(&disk, dir).expect("they are listed"), [1, 2]);
        Recovery::forget_lost(&disk, dir).expect("they go");
        assert_eq!(disk.list(dir).expect("it is listed"), ["RECOVERY"]);
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
