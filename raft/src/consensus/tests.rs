//! openraft's own tests of a store, over this one on a real disk; and what openraft counts on in a connection.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::AppendEntriesRequest;
use openraft::storage::RaftStateMachine as _;
use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, RaftLogReader as _, RaftSnapshotBuilder as _, StorageError};
use tempfile::TempDir;

use crate::consensus::convert::log_id_from_wal;
use crate::consensus::log_store::LogStore;
use crate::consensus::network::Network;
use crate::consensus::peers::{Identity, PeerPool};
use crate::consensus::recover::recover;
use crate::consensus::state_machine::{LogEnds, StateMachine};
use crate::consensus::{Member, RaftEntry, RaftVote, TypeConfig};
use crate::disk::{Disk, RealDisk};
use crate::store::{Replica, ReplicaOptions, installing};
use crate::wal::{LogEntry, LogId, Vote, Wal, WalOptions};

#[derive(Debug)]
struct Builder;

/// A log that is on disk, and of which this much is gone.
fn all_flushed(purged: Option<u64>) -> LogEnds {
    LogEnds {
        flushed: Arc::new(|| Some(LogId { term: u64::MAX, index: u64::MAX })),
        purged: Arc::new(move || purged.map(|index| LogId { term: 1, index })),
        purge: Arc::new(|_upto| Box::pin(async { Ok(()) })),
    }
}

/// Peers that are never asked.
fn nobody() -> PeerPool {
    let identity =
        Identity { cluster: "test".to_owned(), node: 1, incarnation: "first".to_owned() };
    PeerPool::new(identity, None)
}

/// The log stops, then its directory goes.
type Guard = (Wal, TempDir);

impl StoreBuilder<TypeConfig, LogStore, StateMachine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, StateMachine), StorageError<TypeConfig>> {
        let home = tempfile::tempdir().expect("a directory");
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        let path: &Path = home.path();
        let wal = Wal::open(disk.clone(), &path.join("wal"), WalOptions::new(1)).expect("open");
        let log = wal.group(1);
        let options = ReplicaOptions::new("suite", 1, 1 << 20);
        let replica = Replica::open(disk, &path.join("groups/1"), options).expect("open");
        // The suite applies entries that it never appends, so that the log cannot say what is on disk.
        let machine = StateMachine::new(Arc::new(replica), all_flushed(None), Arc::default());
        Ok(((wal, home), LogStore::new(log, 1 << 20, Arc::default()), machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_what_openraft_asks_for() {
    Suite::test_all(Builder).await.expect("every test of the suite");
}

/// openraft waits for a peer that is down inside the stream of requests: a connection that fails before it
/// takes the first one is tried again at once, without end.
#[tokio::test]
async fn a_peer_that_is_down_costs_the_wait_of_the_first_request() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let rpc = closed.local_addr().expect("its address").to_string();
    drop(closed);
    let mut network = Network {
        group: 1,
        pool: nobody(),
        disk: Arc::new(RealDisk::new()),
        options: Default::default(),
        stages: Arc::default(),
    };
    let mut connection = network.new_client(2, &Member { rpc, ..Member::default() }).await;
    let asked = Arc::new(AtomicBool::new(false));
    let noted = asked.clone();
    let requests = futures_util::stream::once(async move {
        noted.store(true, Ordering::SeqCst);
        AppendEntriesRequest {
            vote: RaftVote::new_committed(1, 1),
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        }
    });
    let option = RPCOption::new(Duration::from_secs(10));
    let answers = connection.stream_append(Box::pin(requests), option).await;
    assert!(answers.is_err(), "nobody listens");
    assert!(asked.load(Ordering::SeqCst), "the first request was taken");
}

/// A snapshot is a copy: one that is damaged is made anew when the group begins, and keeps nobody from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_keeps_no_group_from_beginning() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("groups/1");
    let options = ReplicaOptions::new("suite", 1, 1 << 20);
    let replica = Replica::open(Arc::new(RealDisk::new()), &dir, options).expect("open");
    replica.apply_internal(LogId { term: 1, index: 7 }, None).expect("apply");
    let mut machine = StateMachine::new(Arc::new(replica), all_flushed(None), Arc::default());
    let mut builder = machine.get_snapshot_builder().await;
    let made = builder.build_snapshot().await.expect("a snapshot");
    let manifest = made.snapshot.dir.path.join("MANIFEST");
    let mut bytes = std::fs::read(&manifest).expect("it is there");
    bytes[10] ^= 0xff;
    std::fs::write(&manifest, bytes).expect("write");
    let found = machine.get_current_snapshot().await.expect("it is no error");
    assert!(found.is_none(), "a damaged snapshot is given out");
    let mut builder = machine.get_snapshot_builder().await;
    builder.build_snapshot().await.expect("another snapshot");
    let found = machine.get_current_snapshot().await.expect("look");
    assert_eq!(found.map(|found| found.meta.last_log_id), Some(made.meta.last_log_id));
}

/// A node that lost its log has its state and an older snapshot, and the entries between the two are gone: the snapshot is
/// given to nobody, and another one is made when the group begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_from_before_the_log_begins_is_not_given_out() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("groups/1");
    let options = ReplicaOptions::new("suite", 1, 1 << 20);
    let replica = Arc::new(Replica::open(Arc::new(RealDisk::new()), &dir, options).expect("open"));
    replica.apply_internal(LogId { term: 1, index: 7 }, None).expect("apply");
    let mut machine = StateMachine::new(replica.clone(), all_flushed(Some(9)), Arc::default());
    machine.get_snapshot_builder().await.build_snapshot().await.expect("a snapshot");
    assert!(machine.get_current_snapshot().await.expect("look").is_none(), "8 and 9 are nowhere");
    for index in 8..=9 {
        replica.apply_internal(LogId { term: 1, index }, None).expect("apply");
    }
    machine.get_snapshot_builder().await.build_snapshot().await.expect("a snapshot");
    let found =
        machine.get_current_snapshot().await.expect("look").expect("it has all that is gone");
    assert_eq!(found.meta.last_log_id.map(|id| id.index), Some(9));
}

/// A leader that has purged what a follower lacks sends a snapshot. Entries that are gone are no empty answer, which openraft
/// would ask for again without end, and no answer that begins later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_purged_cannot_be_sent() {
    let (_guard, mut store, _machine) = Builder.build().await.expect("a store");
    let entry = |index| RaftEntry {
        log_id: log_id_from_wal(LogId { term: 1, index }),
        payload: EntryPayload::Blank,
    };
    store.blocking_append((0..20).map(entry)).await.expect("append");
    store.purge(log_id_from_wal(LogId { term: 1, index: 9 })).await.expect("purge");
    for (start, end) in [(3, 6), (3, 15), (9, 15)] {
        assert!(store.limited_get_log_entries(start, end).await.is_err(), "{start} to {end}");
    }
    let left = store.limited_get_log_entries(10, 15).await.expect("they are there");
    assert_eq!(
        left.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>(),
        [10, 11, 12, 13, 14]
    );
}

/// State and log of a replica that takes a snapshot change one after the other. After a crash between the two its log is short,
/// or has entries that were superseded, and it goes on with the state; without the note of it, it has lost its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_a_state_that_is_taken_and_its_log_is_no_loss() {
    let state = LogId { term: 2, index: 7 };
    let other = LogId { term: 2, index: 6 };
    for (noted, entries, is_sound) in
        [(Some(state), 3, true), (Some(state), 9, true), (Some(other), 3, false), (None, 3, false)]
    {
        let home = tempfile::tempdir().expect("a directory");
        let (disk, dir) = (Arc::new(RealDisk::new()), home.path().join("groups/1"));
        let wal = Wal::open(disk.clone(), &home.path().join("wal"), WalOptions::new(1));
        let wal = wal.expect("open");
        let log = wal.group(1);
        log.save_vote(Vote { term: 2, node: 3, committed: true }).await.expect("vote");
        let entry = |index| LogEntry { id: LogId { term: 1, index }, bytes: vec![7].into() };
        log.append((1..=entries).map(entry).collect(), Box::new(|_| {})).await.expect("append");
        let open = || {
            let options = ReplicaOptions::new("suite", 1, 1 << 20);
            Replica::open(disk.clone(), &dir, options)
        };
        let replica = open().expect("open");
        replica.apply_internal(state, None).expect("apply");
        assert!(replica.flush(Some(state)).expect("flush"));
        drop(replica);
        if let Some(noted) = noted {
            installing::write(&*disk, &dir, noted).expect("note");
        }
        let opened = recover(&*disk, &dir, &wal, &nobody(), 1, open).await;
        let (replica, recovering) = opened.expect("open again");
        assert_eq!(recovering.is_none(), is_sound, "{noted:?}, {entries}: {recovering:?}");
        assert_eq!(
            (replica.durable(), log.last(), log.first_index()),
            (Some(state), Some(state), None)
        );
        assert_eq!(log.vote(), Some(Vote { term: 2, node: 3, committed: true }));
        assert_eq!(installing::read(&*disk, &dir).expect("look"), None);
    }
}
