//! What follows when a replica stops.

use std::path::{Path, PathBuf};

use fiscus_raft::disk::{OpenHow, SimulatedDisk};
use fiscus_raft::store::ReplicaOptions;
use fiscus_raft::wal::LogId;

use super::*;

const DIR: &str = "/data/groups/1";

fn open(disk: &SimulatedDisk) -> Replica {
    // Without a cache every page is read from the disk again.
    let options = ReplicaOptions::new("kin", 1, 0);
    Replica::open(Arc::new(disk.clone()), Path::new(DIR), options).expect("it opens")
}

/// Applies an entry and makes it durable.
fn go_on(replica: &Replica, index: u64) -> Result<bool, StoreError> {
    let id = LogId { term: 1, index };
    replica.apply_internal(id, None)?;
    replica.flush(Some(id))
}

#[test]
fn what_damage_has_stopped_is_built_again_and_what_an_error_has_stopped_is_opened_as_it_is() {
    let disk = SimulatedDisk::new();
    disk.create_dir_all(Path::new("/data")).expect("it is made");
    let replica = open(&disk);
    assert!(go_on(&replica, 1).expect("it is sound"));
    assert_eq!(remedy(&replica), None, "nothing has stopped it");
    let index = PathBuf::from(DIR).join("state-1/index.redb");
    let bytes = disk.open(&index, OpenHow::Read).expect("it is there").size().expect("a size");
    for page in 2..bytes / 4_096 {
        disk.flip(&index, page * 4_096 + 100).expect("it has that byte");
    }
    let error = go_on(&replica, 2).expect_err("the index is damaged");
    let (step, why) = remedy(&replica).expect("opened as it is, it would stop again");
    assert_eq!((step, &why), (Step::Reindex, &error.to_string()));
    drop(replica);
    let recovery = Recovery { step, vote: None, why };
    recovery.write(&disk, Path::new(DIR)).expect("it is noted");
    let replica = open(&disk);
    assert!(go_on(&replica, 1).expect("the log is replayed"));
    disk.fail_sync_at(disk.steps());
    go_on(&replica, 2).expect_err("the sync fails");
    assert_eq!(remedy(&replica), None, "what is stored is sound");
}

#[test]
fn a_snapshot_is_made_when_it_shortens_the_log() {
    const MIB: u64 = 1 << 20;
    let log = |fresh, pinned, copied| LogLength { fresh, pinned, copied };
    type Case = (LogLength, u64, bool);
    let rows: [Case; 9] = [
        (log(127 * MIB, 0, false), 0, false),
        (log(128 * MIB, 0, false), 0, true),
        // What is kept behind a snapshot pins the log, but another snapshot would not help.
        (log(MIB, 900 * MIB, true), 0, false),
        (log(8 * MIB, 144 * MIB, false), 0, true),
        // Many rows are not written again for little log,
        (log(128 * MIB, 0, false), 600 * MIB, false),
        (log(599 * MIB, 0, false), 600 * MIB, false),
        (log(600 * MIB, 0, false), 600 * MIB, true),
        // but the log is bounded.
        (log(1_023 * MIB, 0, false), u64::MAX, false),
        (log(1_024 * MIB, 0, false), u64::MAX, true),
    ];
    for (length, row_bytes, wanted) in rows {
        assert_eq!(wants_snapshot(length, 128 * MIB, || row_bytes), wanted, "{length:?}");
    }
}
