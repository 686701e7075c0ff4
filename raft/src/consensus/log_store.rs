//! openraft's log over this node's write-ahead log.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::time::Instant;

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};

use crate::consensus::convert::{
    entry_from_bytes, entry_to_wal, log_id_from_wal, log_id_to_wal, vote_from_wal, vote_to_wal,
};
use crate::consensus::{RaftEntry, RaftLogId, RaftVote, TypeConfig};
use crate::latency::Stages;
use crate::wal::{GroupLog, WalError};

/// The log of one group.
#[derive(Debug, Clone)]
pub(crate) struct LogStore {
    log: GroupLog,
    /// One message to a follower carries at most this many bytes of entries.
    read_bytes_max: usize,
    stages: Arc<Stages>,
}

impl LogStore {
    pub(crate) fn new(log: GroupLog, read_bytes_max: usize, stages: Arc<Stages>) -> Self {
        Self { log, read_bytes_max, stages }
    }

    fn read(&self, range: impl RangeBounds<u64>, bytes_max: usize) -> io::Result<Vec<RaftEntry>> {
        let entries = self.log.read(range, bytes_max).map_err(failed)?;
        entries.into_iter().map(|entry| entry_from_bytes(entry.bytes)).collect()
    }
}

fn failed(error: WalError) -> io::Error {
    io::Error::other(error)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        self.read(range, usize::MAX)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        // A leader that begins to send what it has meanwhile purged would wait for it for ever, or send what follows it as if
        // nothing were missing. Told that it cannot be read, it stops; the group is opened anew, and a snapshot is sent.
        if let Some(purged) = self.log.purged().filter(|purged| start <= purged.index) {
            let index = purged.index;
            let what = format!(
                "the entries from {start} are asked for, and those up to {index} are purged"
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        self.read(start..end, self.read_bytes_max)
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, io::Error> {
        Ok(self.log.vote().map(vote_from_wal))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        Ok(LogState {
            last_purged_log_id: self.log.purged().map(log_id_from_wal),
            last_log_id: self.log.last().map(log_id_from_wal),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), io::Error> {
        self.log.save_vote(vote_to_wal(vote)).await.map_err(failed)
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> Result<(), io::Error> {
        let committed = committed.as_ref().map(log_id_to_wal);
        self.log.save_committed(committed).await.map_err(failed)
    }

    async fn read_committed(&mut self) -> Result<Option<RaftLogId>, io::Error> {
        Ok(self.log.committed().map(log_id_from_wal))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(|entry| entry_to_wal(&entry)).collect();
        let (stages, began) = (self.stages.clone(), Instant::now());
        let done = Box::new(move |result: Result<(), WalError>| {
            stages.append.observe(began.elapsed());
            callback.io_completed(result.map_err(failed));
        });
        self.log.append(entries, done).await.map_err(failed)
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> Result<(), io::Error> {
        self.log.truncate_after(last.as_ref().map(log_id_to_wal)).await.map_err(failed)
    }

    async fn purge(&mut self, upto: RaftLogId) -> Result<(), io::Error> {
        self.log.purge(log_id_to_wal(&upto)).await.map_err(failed)
    }
}
