//! A disk that fails, and bytes that are wrong: neither is taken for the other, and neither travels.

use std::io;
use std::path::Path;

use super::crash::{live, snapshot};
use super::damage::index_file;
use super::install::Shipment;
use super::life::{DIR, applied, apply, last, log, open, options, replay};
use super::picture::{Claims, Steady, told};
use crate::disk::{Disk, OpenHow, RebootMode, SimulatedDisk};
use crate::index::IndexError;
use crate::store::state::read_current;
use crate::store::{
    IncomingError, Recovery, ReplicaOptions, SnapshotError, Step, StoreError, drop_index,
    known_members, remains,
};

/// A disk after a life with snapshots, whose log does not go back to the beginning.
fn lived(steady: &Steady) -> (SimulatedDisk, ReplicaOptions) {
    let disk = SimulatedDisk::new();
    live(&disk, &steady.log, options(), &mut Claims::default()).expect("live");
    (disk, ReplicaOptions { log_purged: 5, ..options() })
}

#[test]
fn a_disk_without_room_makes_no_state_lost() {
    let steady = Steady::of(log());
    let (disk, options) = lived(&steady);
    disk.remove_file(&index_file(&disk)).expect("remove");
    let journal = Path::new(DIR).join(read_current(&disk, Path::new(DIR)).expect("r").expect("s"));
    for free in [0, 4_096, 20_000, 60_000] {
        disk.limit_free(Some(free));
        let error = open(&disk, options.clone()).expect_err("there is no room");
        let full = match &error {
            StoreError::Index(IndexError::Full { .. }) => true,
            StoreError::Index(IndexError::Io { source, .. }) | StoreError::Io { source, .. } => {
                source.kind() == io::ErrorKind::StorageFull
            }
            _ => false,
        };
        assert!(full, "{free}: {error:?}");
        assert!(!disk.list(&journal.join("journal")).expect("list").is_empty(), "it is untouched");
    }
    disk.limit_free(None);
    let replica = open(&disk, options).expect("rebuild");
    assert_eq!(applied(&replica), 10);
    steady.finishes(&replica).expect("the same end");
}

#[test]
fn what_is_left_of_a_lost_state_is_said_precisely() {
    let steady = Steady::of(log());
    let (disk, options) = lived(&steady);
    disk.remove_file(&index_file(&disk)).expect("remove");
    disk.remove_dir_all(&Path::new(DIR).join("snapshots")).expect("remove");
    let error = open(&disk, options).expect_err("nothing leads back");
    assert!(matches!(error, StoreError::Lost { .. }), "{error}");
    let left = remains(&disk, Path::new(DIR));
    assert!(left.contains("whole records") && left.contains("whole leaves"), "{left}");
    assert!(left.contains("0 snapshots") && !left.contains("damaged"), "{left}");
    let members = known_members(&disk, Path::new(DIR)).expect("read").expect("they were noted");
    assert_eq!(members.configs[0].voters, [1, 2, 3]);
    let state = read_current(&disk, Path::new(DIR)).expect("read").expect("a state");
    let first = Path::new(DIR).join(state).join("journal").join(format!("{:016x}", 0));
    disk.flip(&first, 64 + 20).expect("flip");
    let left = remains(&disk, Path::new(DIR));
    assert!(left.contains("damaged at byte 64"), "{left}");
}

#[test]
fn a_page_that_is_damaged_while_the_replica_runs_is_named_and_rebuilt() {
    let steady = Steady::of(log());
    let disk = SimulatedDisk::new();
    let tiny = ReplicaOptions { index_cache_bytes: 0, ..options() };
    let replica = open(&disk, tiny.clone()).expect("open");
    replay(&replica, &steady.log, 9).expect("apply");
    snapshot(&replica, &steady.log, &mut Claims::default()).expect("snapshot");
    let index = index_file(&disk);
    let bytes = disk.open(&index, OpenHow::Read).expect("open").size().expect("size");
    for page in 2..bytes / 4_096 {
        disk.flip(&index, page * 4_096 + 100).expect("flip");
    }
    // Nothing is served wrong, and apply stops with its reason.
    let read = replica.read().and_then(|reading| reading.outlet("o1"));
    assert!(read.as_ref().is_err_and(StoreError::is_damage), "{read:?}");
    assert!(replica.harm().met() > 0 && replica.harm().stopped_by().is_none());
    let after = steady.log.iter().filter(|(id, _)| id.index > 9);
    let failed = after.map(|(id, item)| apply(&replica, *id, item)).find_map(Result::err);
    let failed = failed.expect("some row has to be read");
    assert!(failed.is_damage(), "{failed}");
    let named = replica.harm().stopped_by().expect("a rebuild would help");
    assert!(named.contains("index.redb"), "{named}");
    drop(replica);
    // What the node does then: note it, and open anew; during a recovery, take the index away.
    let noted = disk.reboot(0, RebootMode::KeepUnsynced);
    let asked = Recovery { step: Step::Reindex, vote: None, why: named };
    asked.write(&noted, Path::new(DIR)).expect("it is noted");
    let dropped = disk.reboot(0, RebootMode::KeepUnsynced);
    drop_index(&dropped, Path::new(DIR)).expect("it goes");
    for disk in [noted, dropped] {
        let replica = open(&disk, tiny.clone()).expect("rebuild");
        assert_ne!(index_file(&disk), index, "it is another one");
        steady.finishes(&replica).expect("the same end");
    }
}

#[test]
fn a_damaged_journal_gives_no_snapshot() {
    let steady = Steady::of(log());
    for run in ["journal", "leaves", "signatures"] {
        let disk = SimulatedDisk::new();
        let replica = open(&disk, options()).expect("open");
        replay(&replica, &steady.log, 9).expect("apply");
        let first = Path::new(DIR).join("state-1").join(run).join(format!("{:016x}", 0));
        disk.flip(&first, 64 + 30).expect("flip");
        let build = replica.begin_snapshot().expect("begin");
        assert!(replica.flush(last(&steady.log)).expect("flush"));
        let error = replica.write_snapshot(build).expect_err("damage must not travel");
        let damage = matches!(&error, SnapshotError::Store(error) if error.is_damage());
        assert!(damage && told(&error).contains(run), "{error}");
        assert!(replica.newest_snapshot().expect("look").is_none(), "{run}");
        disk.flip(&first, 64 + 30).expect("flip back");
        snapshot(&replica, &steady.log, &mut Claims::default()).expect("it was only that");
    }
}

/// The sender's bytes were damaged before it hashed them: the manifest fits, the tree does not.
#[test]
fn damaged_bytes_with_a_hash_that_fits_are_not_taken_in() {
    let steady = Steady::of(log());
    let [_, sound] = Shipment::two(&steady);
    for run in ["journal/", "leaves/", "signatures/", "tree-08/"] {
        let mut damaged = sound.clone();
        damaged.harm(run, 64 + 30);
        let disk = SimulatedDisk::new();
        let receiver = open(&disk, options()).expect("open");
        replay(&receiver, &steady.log, 4).expect("apply");
        let refused = damaged.receive(&receiver).expect_err("the content is wrong");
        let unusable = matches!(
            &refused,
            IncomingError::Snapshot(SnapshotError::Unusable { what, .. }) if what.contains("leaf")
        );
        assert!(unusable, "{run}: {refused}");
        assert_eq!(applied(&receiver), 4, "{run}: the old state goes on");
        let received = sound.receive(&receiver).expect("another attempt, with sound bytes");
        let name = receiver.prepare_install(&received).expect("prepare");
        receiver.install(&name, &received).expect("install");
        steady.finishes(&receiver).expect("the same end");
    }
}

#[test]
fn a_prepared_state_goes_unless_it_is_in_use() {
    let steady = Steady::of(log());
    let [_, sound] = Shipment::two(&steady);
    let disk = SimulatedDisk::new();
    let replica = open(&disk, options()).expect("open");
    let received = sound.receive(&replica).expect("receive");
    let refused = replica.prepare_install(&received).expect("prepare");
    let states = || {
        let names = disk.list(Path::new(DIR)).expect("list");
        names.into_iter().filter(|name| name.starts_with("state-")).collect::<Vec<_>>()
    };
    assert_eq!(states(), ["state-1", refused.as_str()]);
    replica.forget_prepared(&refused);
    assert_eq!(states(), ["state-1"]);
    let used = replica.prepare_install(&received).expect("prepare");
    replica.install(&used, &received).expect("install");
    replica.forget_prepared(&used);
    assert_eq!(states(), [used]);
    steady.finishes(&replica).expect("the same end");
}

#[test]
fn a_state_that_was_taken_is_known_as_a_copy_over_restarts() {
    let steady = Steady::of(log());
    let [_, sound] = Shipment::two(&steady);
    let disk = SimulatedDisk::new();
    let replica = open(&disk, options()).expect("open");
    assert!(!replica.progress().borrow().copied);
    let received = sound.receive(&replica).expect("receive");
    let name = replica.prepare_install(&received).expect("prepare");
    replica.install(&name, &received).expect("install");
    assert!(replica.progress().borrow().copied);
    drop(replica);
    let replica = open(&disk, options()).expect("open again");
    assert!(replica.progress().borrow().copied);
    drop(replica);
    // A note that cannot be read keeps no group closed; all that is applied counts as taken then.
    disk.flip(&Path::new(DIR).join("TAKEN"), 0).expect("it is there");
    let replica = open(&disk, options()).expect("it is made anew");
    assert!(replica.progress().borrow().copied);
    drop(replica);
    assert!(open(&disk, options()).expect("once more").progress().borrow().copied);
}
