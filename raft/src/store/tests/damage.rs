//! An index that is damaged or gone: built again from the local snapshot and the log, or told.

use std::path::{Path, PathBuf};

use super::crash::{live, snapshot};
use super::life::{DIR, Log, applied, last, log, log_of, open, options, replay};
use super::picture::{Claims, Picture, Steady, no_strays, told};
use crate::disk::{Disk, OpenHow, RebootMode, SimulatedDisk};
use crate::store::replica::INDEX_FILE;
use crate::store::state::read_current;
use crate::store::{ReplicaOptions, StoreError};

pub(super) fn index_file(disk: &SimulatedDisk) -> PathBuf {
    let current = read_current(disk, Path::new(DIR)).expect("read").expect("there is a state");
    Path::new(DIR).join(current).join(INDEX_FILE)
}

fn size(disk: &SimulatedDisk, path: &Path) -> u64 {
    disk.open(path, OpenHow::Read).expect("open").size().expect("measure")
}

/// A disk after a life with snapshots and an orderly end.
fn lived(log: &Log) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    live(&disk, log, options(), &mut Claims::default()).expect("live");
    disk
}

fn copy(disk: &SimulatedDisk) -> SimulatedDisk {
    // The copied one stays off, and is copied again all the same.
    disk.reboot(0, RebootMode::KeepUnsynced)
}

#[test]
fn a_damaged_index_is_built_again_or_told_and_never_wrong() {
    let steady = Steady::of(log());
    let template = lived(&steady.log);
    let probe = copy(&template);
    let (mut rebuilt, mut told_later) = (0, 0);
    let bytes = size(&probe, &index_file(&probe));
    for at in (0..bytes).step_by(usize::try_from(bytes / 150).expect("small") + 1) {
        let disk = copy(&template);
        let index = index_file(&disk);
        disk.flip(&index, at).expect("flip");
        let replica = open(&disk, options()).unwrap_or_else(|error| panic!("byte {at}: {error}"));
        rebuilt += u32::from(index_file(&disk) != index);
        let finished = steady.finishes(&replica);
        drop(replica);
        if let Err(what) = finished {
            assert!(what.contains("is damaged"), "byte {at}: {what}");
            told_later += 1;
            // As the error advises.
            disk.remove_file(&index_file(&disk)).expect("remove");
            let replica = open(&disk, options()).expect("rebuild");
            assert_eq!(applied(&replica), 10, "byte {at}");
            steady.finishes(&replica).unwrap_or_else(|what| panic!("byte {at}: {what}"));
        }
        // Once more, so that what was set aside is gone.
        let replica = open(&disk, options()).expect("open");
        let current = read_current(&disk, Path::new(DIR)).expect("read").expect("a state");
        no_strays(&disk, &current, applied(&replica)).unwrap_or_else(|what| panic!("{what}"));
        steady.finishes(&replica).unwrap_or_else(|what| panic!("byte {at}, later: {what}"));
    }
    assert!(rebuilt + told_later > 5, "{rebuilt} were rebuilt, {told_later} told later");
}

/// The first of `options`' refusals when the index is gone.
#[test]
fn a_damaged_name_of_the_state_in_use_loses_nothing() {
    let steady = Steady::of(log());
    let template = lived(&steady.log);
    let current = Path::new(DIR).join("CURRENT");
    for at in 0..size(&copy(&template), &current) {
        let disk = copy(&template);
        let before = index_file(&disk);
        disk.flip(&current, at).expect("flip");
        let replica = open(&disk, options()).unwrap_or_else(|error| panic!("byte {at}: {error}"));
        assert_eq!(index_file(&disk), before, "byte {at}");
        steady.finishes(&replica).unwrap_or_else(|what| panic!("byte {at}: {what}"));
        drop(replica);
        // With another state beside it nobody knows which of them it was.
        disk.flip(&current, at).expect("flip");
        disk.create_dir_all(&Path::new(DIR).join("state-77")).expect("a directory");
        let told = open(&disk, options()).expect_err("either of them");
        assert!(matches!(told, StoreError::Lost { .. }), "byte {at}: {told}");
    }
}

fn refused(disk: &SimulatedDisk, log_purged: u64) -> StoreError {
    let refused = open(disk, ReplicaOptions { log_purged, ..options() });
    refused.expect_err("there is nothing to build it from")
}

#[test]
fn without_a_usable_snapshot_the_log_must_be_whole() {
    let steady = Steady::of(log());
    let disk = SimulatedDisk::new();
    let replica = open(&disk, options()).expect("open");
    replay(&replica, &steady.log, 9).expect("apply");
    replica.flush(last(&steady.log)).expect("flush");
    drop(replica);
    disk.remove_file(&index_file(&disk)).expect("remove");

    let error = refused(&disk, 4);
    assert!(matches!(error, StoreError::Lost { .. }), "{error}");
    assert!(told(&error).contains("no local snapshot is usable"), "{error}");
    let state = Path::new(DIR).join("state-1/journal");
    assert!(!disk.list(&state).expect("list").is_empty(), "the journal is still there");

    let replica = open(&disk, options()).expect("from the log");
    assert_eq!(applied(&replica), 0);
    steady.finishes(&replica).expect("the same end");
}

#[test]
fn a_snapshot_that_the_log_does_not_reach_is_of_no_use() {
    let steady = Steady::of(log());
    let disk = lived(&steady.log);
    disk.remove_file(&index_file(&disk)).expect("remove");
    let error = refused(&disk, 11);
    assert!(told(&error).contains("begins only after 11"), "{error}");
    let replica = open(&disk, ReplicaOptions { log_purged: 10, ..options() }).expect("rebuild");
    steady.finishes(&replica).expect("the same end");
}

#[test]
fn an_older_snapshot_helps_when_the_newest_is_damaged() {
    let steady = Steady::of(log());
    let disk = lived(&steady.log);
    disk.remove_file(&index_file(&disk)).expect("remove");
    let newest = Path::new(DIR).join("snapshots/000000000000000a");
    disk.flip(&newest.join("rows/000000"), 100).expect("flip");
    let replica = open(&disk, options()).expect("rebuild");
    assert_eq!(applied(&replica), 8);
    steady.finishes(&replica).expect("the same end");
}

/// Everything that is read from the journal is right or an error, whichever byte is wrong.
#[test]
fn no_flipped_byte_of_the_journal_changes_an_answer() {
    let log = log_of(3);
    let disk = SimulatedDisk::new();
    let replica = open(&disk, options()).expect("open");
    replay(&replica, &log, u64::MAX).expect("apply");
    let noticed = flip_each(&disk, &replica, &["journal", "leaves", "signatures"]);
    assert!(noticed > 8_000, "{noticed} bytes were noticed");
}

#[test]
fn no_flipped_byte_of_a_tree_node_changes_an_answer() {
    let disk = SimulatedDisk::new();
    let replica = open(&disk, options()).expect("open");
    replay(&replica, &log(), u64::MAX).expect("apply");
    assert_eq!(flip_each(&disk, &replica, &["tree-08"]), 36);
}

fn flip_each(disk: &SimulatedDisk, replica: &crate::store::Replica, runs: &[&str]) -> u32 {
    let right = Picture::of(replica).expect("picture");
    let mut noticed = 0;
    for run in runs {
        let folder = Path::new(DIR).join("state-1").join(run);
        for name in disk.list(&folder).expect("list") {
            let path = folder.join(name);
            for at in 64..size(disk, &path) {
                disk.flip(&path, at).expect("flip");
                match Picture::of(replica) {
                    Ok(picture) => assert_eq!(picture, right, "{} byte {at}", path.display()),
                    Err(what) => {
                        assert!(what.contains("is damaged"), "{what}");
                        noticed += 1;
                    }
                }
                disk.flip(&path, at).expect("flip back");
            }
        }
    }
    assert_eq!(Picture::of(replica).as_ref(), Ok(&right));
    noticed
}

#[test]
fn snapshots_survive_what_happens_to_the_state() {
    let steady = Steady::of(log());
    let disk = SimulatedDisk::new();
    let replica = open(&disk, options()).expect("open");
    let mut claims = Claims::default();
    replay(&replica, &steady.log, 9).expect("apply");
    snapshot(&replica, &steady.log, &mut claims).expect("snapshot");
    replay(&replica, &steady.log, u64::MAX).expect("apply");
    let made = replica.newest_snapshot().expect("look").expect("it was made");
    made.verify(&disk).expect("the tails were copied");
    let target = Path::new("/backup");
    replica.export(&made, target).expect("export");
    assert!(replica.export(&made, target).is_err(), "there is something already");
}
