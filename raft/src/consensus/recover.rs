//! Opens a replica that may have forgotten something so that it cannot do harm.
//!
//! | found | done |
//! |---|---|
//! | the state cannot be read | built again from a local snapshot; the log after it is replayed |
//! | the disk fails or is full meanwhile | nothing: the group stays closed and is tried again |
//! | nothing here leads back to the state, and a leader elsewhere has it | state and snapshots are set aside, the log is emptied, the vote is kept |
//! | the same, and nobody is known to have it | nothing: the group stays closed |
//! | the log lost synced bytes | its entries are dropped: the leader has them, the state has the others |
//! | the log ends before a state that was being put into use, or has other entries | it is purged up to the state |
//! | the log ends before the state does otherwise | it is followed until everything is here again |
//! | there is no log, and no vote | quarantine: what it promised is not known |
//! | quarantine | nothing is touched |
//!
//! Invariants: in all cases but the first, the replica neither votes nor leads until it has caught up;
//! the vote is durable elsewhere before the log that holds it is removed; what is set aside is removed
//! only when the replica has everything again. A node that led does not
//! resume, whether it forgot something or not: its vote becomes one for nobody, a term later.

use std::path::Path;

use crate::consensus::elsewhere::check_elsewhere;
use crate::consensus::errors::OpenError;
use crate::consensus::peers::PeerPool;
use crate::disk::Disk;
use crate::store::{Recovery, Replica, Step, StoreError, installing, known_members};
use crate::wal::{GroupLog, LogId, Vote, Wal, WalError};

/// The vote of nobody: no node has this id.
const NOBODY: u64 = 0;

/// Opens the replica; says why it is no full member, if it is none.
pub(super) async fn recover(
    disk: &dyn Disk,
    dir: &Path,
    wal: &Wal,
    pool: &PeerPool,
    group: u64,
    open: impl Fn() -> Result<Replica, StoreError>,
) -> Result<(Replica, Option<Recovery>), OpenError> {
    let log = wal.group(group);
    // What is queued from before a group was closed is durable before anybody counts on it.
    if let Some(vote) = log.vote()
        && log.flushed() != log.last()
    {
        log.save_vote(vote).await?;
    }
    let mut asked = Recovery::read(disk, dir)?;
    if let Some(refetch) = asked.as_ref().filter(|asked| asked.step == Step::Refetch) {
        asked = Some(empty(disk, dir, wal, group, refetch.clone()).await?);
    }
    let mut replica = match open() {
        Err(lost @ StoreError::Lost { .. }) => {
            check_elsewhere(disk, dir, pool, group, &lost.to_string()).await?;
            let why = format!("{lost}: all of it is taken from the peers");
            tracing::error!(group, why, "the replica's state is lost");
            let refetch = Recovery { step: Step::Refetch, vote: log.vote(), why };
            asked = Some(empty(disk, dir, wal, group, refetch).await?);
            open()?
        }
        opened => opened?,
    };
    if let Some(purged) = log.purged()
        && replica.durable().map_or(0, |id| id.index) < purged.index
    {
        let why =
            format!("its state ends before entry {} and the log begins after it", purged.index);
        drop(replica);
        check_elsewhere(disk, dir, pool, group, &why).await?;
        let why = format!("{why}: all of it is taken from the peers");
        tracing::error!(group, why, "the replica's state is lost");
        let refetch = Recovery { step: Step::Refetch, vote: log.vote(), why };
        asked = Some(empty(disk, dir, wal, group, refetch).await?);
        replica = open()?;
    }
    if asked.as_ref().is_some_and(|asked| asked.step == Step::Reindex) {
        // Snapshot and log were whole: nothing is forgotten.
        Recovery::clear(disk, dir)?;
        asked = None;
    }
    if asked.is_none() {
        Recovery::forget_lost(disk, dir)?;
    }
    let durable = replica.durable();
    end_install(disk, dir, &log, durable).await?;
    let had_members = known_members(disk, dir)?.is_some();
    if let Some(why) = forgotten(&log, durable, had_members) {
        let step = if log.vote().is_some() { Step::CatchUp } else { Step::Quarantine };
        let kept = asked.take().unwrap_or(Recovery { step, vote: None, why });
        forget_entries(disk, dir, &log, durable, &kept).await?;
        asked = Some(kept);
    }
    settle(&log, pool.identity().node).await?;
    Ok((replica, asked))
}

/// Sets the state aside and empties the log, but for the vote.
async fn empty(
    disk: &dyn Disk,
    dir: &Path,
    wal: &Wal,
    group: u64,
    asked: Recovery,
) -> Result<Recovery, OpenError> {
    let kept = Recovery::read(disk, dir)?.and_then(|known| known.vote);
    let vote = latest(wal.group(group).vote(), latest(asked.vote, kept));
    let refetch = Recovery { step: Step::Refetch, vote, why: asked.why.clone() };
    refetch.write(disk, dir)?;
    Recovery::set_aside(disk, dir)?;
    wal.remove_group(group).await?;
    if let Some(vote) = vote {
        wal.group(group).save_vote(vote).await?;
    }
    let next = Recovery { step: Step::CatchUp, vote, why: asked.why };
    next.clone().write(disk, dir)?;
    Ok(next)
}

/// Purges the log up to a state that was being put into use when the node ended. What it has in place of the state's
/// entries was superseded by them, and so was what follows.
async fn end_install(
    disk: &dyn Disk,
    dir: &Path,
    log: &GroupLog,
    durable: Option<LogId>,
) -> Result<(), OpenError> {
    let installed = installing::read(disk, dir)?.filter(|id| Some(*id) == durable);
    if let Some(id) = installed
        && !log.is_damaged()
        && log.vote().is_some()
        && log.term_at(id.index) != Some(id.term)
    {
        tracing::info!(group = log.group(), index = id.index, "the log is purged up to its state");
        log.truncate_after(log.purged()).await?;
        log.purge_durably(id).await?;
    }
    installing::clear(disk, dir).map_err(OpenError::from)
}

/// Says what the log has lost, if it has lost anything.
fn forgotten(log: &GroupLog, durable: Option<LogId>, had_members: bool) -> Option<String> {
    if log.is_damaged() {
        return Some("the write-ahead log lost entries that were durable".to_owned());
    }
    if had_members && durable.is_none() && log.last().is_none() {
        return Some("the group had members, and neither its state nor its log is left".to_owned());
    }
    // A state never passes its log.
    let durable = durable?;
    let lost = log.last().is_none_or(|last| last.index < durable.index) || log.vote().is_none();
    lost.then(|| format!("the log has lost its end: the state has entry {}", durable.index))
}

/// What is left of a damaged log may have been superseded by what is missing of it: nobody takes an entry
/// from it again. What the state has stays.
async fn forget_entries(
    disk: &dyn Disk,
    dir: &Path,
    log: &GroupLog,
    durable: Option<LogId>,
    kept: &Recovery,
) -> Result<(), OpenError> {
    Recovery { vote: log.vote(), ..kept.clone() }.write(disk, dir)?;
    log.truncate_after(log.purged()).await?;
    if let Some(durable) = durable
        && log.purged().is_none_or(|purged| purged.index < durable.index)
    {
        log.purge(durable).await?;
    }
    log.save_committed(durable).await?;
    Ok(())
}

fn latest(one: Option<Vote>, other: Option<Vote>) -> Option<Vote> {
    let order = |vote: &Option<Vote>| vote.map(|vote| (vote.term, vote.committed));
    if order(&one) >= order(&other) { one } else { other }
}

/// Lets Raft start from what is left of the log, as a follower. A node that led does not resume its term: it
/// may have sent entries that its own log never got to keep, and would write others in their place, with the
/// same term and index.
async fn settle(log: &GroupLog, node: u64) -> Result<(), WalError> {
    if log.committed() > log.last() {
        log.save_committed(log.last()).await?;
    }
    match log.vote() {
        Some(vote) if vote.node == node && vote.committed => {
            let nobody = Vote { term: vote.term + 1, node: NOBODY, committed: false };
            log.save_vote(nobody).await
        }
        _ => Ok(()),
    }
}
