//! openraft's state machine over the replica of a group.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fiscus_proto::peer::SnapshotManifest;
use futures_util::future::BoxFuture;
use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot, SnapshotMeta};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use crate::consensus::convert::{
    log_id_from_proto, log_id_to_wal, membership_to_proto, stored_membership,
};
use crate::consensus::{RaftLogId, StoredMembership, TypeConfig};
use crate::latency::Stages;
use crate::store::{ApplyReply, Replica, SnapshotBuild, SnapshotDir, SnapshotError};
use crate::threads::{aside, blocking, blocking_unless};
use crate::wal::{LogId, WalError};

type RaftSnapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;
type RaftSnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;

/// An entry of at most so many bytes, which are a few seals, is applied without making room for others.
const BRIEF_ENTRY_BYTES: usize = 16 << 10;
/// How often a snapshot looks whether the log has caught up with what was applied.
const FLUSH_POLL: Duration = Duration::from_millis(2);
/// How often it looks at most: a log that is a minute behind its group will not catch up.
const FLUSH_POLLS: u32 = 30_000;

/// Tells a place in the log of this node.
pub(crate) type LogPlace = Arc<dyn Fn() -> Option<LogId> + Send + Sync>;

/// Purges the log of this node up to an entry; durable when it resolves.
pub(crate) type PurgeLog =
    Arc<dyn Fn(LogId) -> BoxFuture<'static, Result<(), WalError>> + Send + Sync>;

/// What the state machine asks of the log.
#[derive(Clone)]
pub(crate) struct LogEnds {
    /// Up to where it is on disk.
    pub(crate) flushed: LogPlace,
    /// Up to where it is gone.
    pub(crate) purged: LogPlace,
    /// Purges it durably.
    pub(crate) purge: PurgeLog,
}

/// A snapshot as it is handed around: a directory, and the state built from it when it came in.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotData {
    /// The directory.
    pub(crate) dir: SnapshotDir,
    /// The state that was built from it, not in use yet.
    pub(crate) prepared: Option<String>,
}

/// The state machine of one group.
#[derive(Clone)]
pub(crate) struct StateMachine {
    replica: Arc<Replica>,
    log: LogEnds,
    stages: Arc<Stages>,
    snapshot_failure: watch::Sender<String>,
}

/// Builds snapshots beside apply.
pub(crate) struct SnapshotBuilder {
    replica: Arc<Replica>,
    flushed: LogPlace,
    failure: watch::Sender<String>,
    /// Taken when it is built.
    begun: Mutex<Option<io::Result<SnapshotBuild>>>,
}

impl SnapshotBuilder {
    async fn build(&mut self) -> io::Result<SnapshotDir> {
        let begun = self.begun.get_mut().expect("no holder panics").take();
        let build =
            begun.unwrap_or_else(|| Err(io::Error::other("this snapshot was built already")))?;
        self.wait_until_durable(build.log_id()).await?;
        let replica = self.replica.clone();
        let built = aside(move || replica.write_snapshot(build)).await;
        let built = built.map_err(io::Error::other)?;
        if let Err(SnapshotError::Store(error)) = &built
            && error.is_damage()
        {
            self.replica.harm().note(error);
        }
        built.map_err(io::Error::other)
    }

    /// A snapshot never shows more than what this node has made durable, its log included: entries are
    /// applied because a majority has them, while this node may still be writing.
    async fn wait_until_durable(&self, id: Option<LogId>) -> io::Result<()> {
        for _ in 0..FLUSH_POLLS {
            blocking(|| self.replica.flush((self.flushed)()))?;
            if self.replica.durable() >= id {
                return Ok(());
            }
            tokio::time::sleep(FLUSH_POLL).await;
        }
        Err(io::Error::other(
            "the log of this node stays behind what was applied; look at the disk of the log",
        ))
    }
}

impl StateMachine {
    pub(crate) fn new(replica: Arc<Replica>, log: LogEnds, stages: Arc<Stages>) -> Self {
        Self { replica, log, stages, snapshot_failure: watch::Sender::default() }
    }

    /// Why a snapshot could not be made; changes whenever one cannot.
    pub(crate) fn snapshot_failure(&self) -> watch::Receiver<String> {
        self.snapshot_failure.subscribe()
    }
}

fn to_snapshot(dir: SnapshotDir) -> io::Result<RaftSnapshot> {
    let manifest = &dir.manifest;
    let meta = SnapshotMeta {
        last_log_id: manifest.log_id.map(log_id_from_proto),
        last_membership: stored_membership(
            manifest.membership_log_id,
            manifest.membership.as_ref(),
        )?,
    };
    Ok(Snapshot { meta, snapshot: SnapshotData { dir, prepared: None } })
}

/// A snapshot of nothing, which is older than every other and changes nothing.
fn nothing() -> RaftSnapshot {
    let dir = SnapshotDir::at(PathBuf::new(), SnapshotManifest::default());
    Snapshot { meta: SnapshotMeta::default(), snapshot: SnapshotData { dir, prepared: None } }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let group = self.replica.group();
        let dir = match self.build().await {
            Ok(dir) => dir,
            // Raft would end the group for it. It goes on with its longer log, and asks again.
            Err(error) => {
                tracing::error!(group, %error, "no snapshot is made; it is tried again");
                self.failure.send_replace(error.to_string());
                return Ok(nothing());
            }
        };
        tracing::info!(
            group,
            index = dir.log_id().map_or(0, |id| id.index),
            bytes = dir.bytes(),
            "a snapshot is complete"
        );
        to_snapshot(dir)
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, StoredMembership), io::Error> {
        let applied = self.replica.applied_state();
        let membership = stored_membership(applied.membership_log_id, applied.membership.as_ref())?;
        Ok((applied.applied.map(log_id_from_proto), membership))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let id = log_id_to_wal(&entry.log_id);
            let began = Instant::now();
            let brief = match &entry.payload {
                EntryPayload::Normal(proposal) => proposal.0.len() <= BRIEF_ENTRY_BYTES,
                EntryPayload::Blank | EntryPayload::Membership(_) => true,
            };
            let reply = blocking_unless(brief, || match &entry.payload {
                EntryPayload::Blank => {
                    self.replica.apply_internal(id, None).map(|()| ApplyReply::Internal)
                }
                EntryPayload::Normal(proposal) => self.replica.apply_normal(id, &proposal.0),
                EntryPayload::Membership(membership) => {
                    let membership = membership_to_proto(membership);
                    self.replica.apply_internal(id, Some(membership)).map(|()| ApplyReply::Internal)
                }
            })?;
            self.stages.apply.observe(began.elapsed());
            if let Some(responder) = responder {
                responder.send(reply);
            }
            if self.replica.is_full() {
                blocking(|| self.replica.flush((self.log.flushed)()))?;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let begun = self.replica.begin_snapshot().map_err(io::Error::from);
        SnapshotBuilder {
            replica: self.replica.clone(),
            flushed: self.log.flushed.clone(),
            failure: self.snapshot_failure.clone(),
            begun: Mutex::new(Some(begun)),
        }
    }

    async fn install_snapshot(
        &mut self,
        _meta: &RaftSnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let replica = &self.replica;
        blocking(|| {
            if let Some(name) = &snapshot.prepared {
                return replica.install(name, &snapshot.dir).map_err(io::Error::from);
            }
            let dir = replica.file_snapshot(&snapshot.dir).map_err(io::Error::other)?;
            let name = replica.prepare_install(&dir).map_err(io::Error::other)?;
            replica.install(&name, &dir).map_err(io::Error::from)
        })?;
        if let Some(id) = snapshot.dir.log_id() {
            (self.log.purge)(id).await.map_err(io::Error::other)?;
        }
        blocking(|| replica.installed()).map_err(io::Error::from)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        match blocking(|| self.replica.newest_snapshot()) {
            // After a log that was lost the entries between an older snapshot and the state are nowhere: a follower that
            // takes it would lack them for ever. Without a snapshot a group that begins makes one.
            Ok(newest) => newest
                .filter(|dir| dir.log_id() >= (self.log.purged)())
                .map(to_snapshot)
                .transpose(),
            // A snapshot is only a copy of the state, which is there: without one a group that begins makes another.
            Err(error) if error.is_unusable() => {
                let group = self.replica.group();
                tracing::warn!(group, %error, "a damaged snapshot is not used; another one is made");
                Ok(None)
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }
}
