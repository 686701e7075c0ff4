//! openraft's own tests of a store, over this one on a real disk.

use std::path::Path;
use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::consensus::TypeConfig;
use crate::consensus::log_store::LogStore;
use crate::consensus::state_machine::StateMachine;
use crate::disk::{Disk, RealDisk};
use crate::store::{Replica, ReplicaOptions};
use crate::wal::{LogId, Wal, WalOptions};

#[derive(Debug)]
struct Builder;

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
        let flushed = Arc::new(|| Some(LogId { term: u64::MAX, index: u64::MAX }));
        let machine = StateMachine::new(Arc::new(replica), flushed, Arc::default());
        Ok(((wal, home), LogStore::new(log, 1 << 20, Arc::default()), machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_what_openraft_asks_for() {
    Suite::test_all(Builder).await.expect("every test of the suite");
}
