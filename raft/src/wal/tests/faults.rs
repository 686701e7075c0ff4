//! A disk that is full, and one that fails.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::disk::{RebootMode, SimulatedDisk};
use crate::wal::{LogEntry, LogId, Vote, WalError};

use super::world::{State, finish, open, options};

fn entry(index: u64) -> LogEntry {
    LogEntry { id: LogId { term: 1, index }, bytes: Bytes::from(vec![7; 600]) }
}

#[test]
fn a_failed_sync_poisons_until_restart() {
    let disk = SimulatedDisk::new();
    let called = Arc::new(Mutex::new(0));
    let mut options = options();
    let counter = Arc::clone(&called);
    options.on_poison = Some(Arc::new(move |_| *counter.lock().expect("lock") += 1));
    let wal = open(&disk, options.clone()).expect("open");
    let log = wal.group(1);
    let told = Arc::new(Mutex::new(Vec::new()));
    let append = |index: u64| {
        let told = Arc::clone(&told);
        let done = Box::new(move |result: Result<(), WalError>| {
            told.lock().expect("lock").push((index, result.map_err(|error| error.code())));
        });
        finish(&wal, log.append(vec![entry(index)], done))
    };
    append(1).expect("append");
    wal.drive();
    disk.fail_sync_at(disk.steps());
    append(2).expect("accepted");
    append(3).expect("accepted");
    wal.drive();
    assert_eq!(append(4).expect_err("poisoned").code(), "WAL_POISONED");
    let vote = Vote { term: 1, node: 1, committed: false };
    assert_eq!(finish(&wal, log.save_vote(vote)).expect_err("poisoned").code(), "WAL_POISONED");
    let poisoned = Err("WAL_POISONED");
    let expected = [(1, Ok(())), (2, poisoned), (3, poisoned), (4, poisoned)];
    assert_eq!(*told.lock().expect("lock"), expected);
    assert_eq!(*called.lock().expect("lock"), 1);
    assert_eq!(log.flushed(), Some(LogId { term: 1, index: 1 }));
    let found = disk.reboot(0, RebootMode::KeepUnsynced);
    let wal = open(&found, options).expect("open");
    assert!(State::of(&wal, 1).entries.contains_key(&1));
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = SimulatedDisk::new();
    let wal = open(&disk, options()).expect("open");
    let log = wal.group(1);
    wal.drive();
    disk.limit_free(Some(5_000));
    let mut last = 0;
    let refused = loop {
        let told = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&told);
        let done = Box::new(move |result| *tell.lock().expect("lock") = Some(result));
        match finish(&wal, log.append(vec![entry(last + 1)], done)) {
            Ok(()) => {
                wal.drive();
                assert!(matches!(*told.lock().expect("lock"), Some(Ok(()))));
                last += 1;
            }
            Err(error) => {
                assert!(matches!(*told.lock().expect("lock"), Some(Err(_))));
                break error;
            }
        }
        assert!(last < 100, "it never gets full");
    };
    assert_eq!(refused.code(), "WAL_FULL");
    assert!(last > 5);
    assert_eq!(log.last(), Some(LogId { term: 1, index: last }), "nothing of it is visible");
    let vote = Vote { term: 2, node: 1, committed: false };
    finish(&wal, log.save_vote(vote)).expect("there is room kept for votes");
    finish(&wal, log.purge(LogId { term: 1, index: last })).expect("and for purges");
    wal.drive_idle();
    finish(&wal, log.append(vec![entry(last + 1)], Box::new(|_| {}))).expect("room came back");
    disk.limit_free(None);
    for index in last + 2..last + 20 {
        finish(&wal, log.append(vec![entry(index)], Box::new(|_| {}))).expect("append");
    }
    wal.shutdown();
    let wal = open(&disk.reboot(1, RebootMode::LoseUnsynced), options()).expect("open");
    assert_eq!(wal.group(1).last(), Some(LogId { term: 1, index: last + 19 }));
    assert_eq!(wal.group(1).vote(), Some(vote));
}

#[test]
fn a_stuck_group_is_copied_forward_or_reported() {
    for copy in [true, false] {
        let disk = SimulatedDisk::new();
        let mut options = options();
        options.copy_entries_max = if copy { 100 } else { 0 };
        let wal = open(&disk, options.clone()).expect("open");
        let stuck: Vec<LogEntry> = (1..=3).map(entry).collect();
        finish(&wal, wal.group(1).append(stuck.clone(), Box::new(|_| {}))).expect("append");
        for index in 1..200 {
            let log = wal.group(2);
            finish(&wal, log.append(vec![entry(index)], Box::new(|_| {}))).expect("append");
            finish(&wal, log.purge(LogId { term: 1, index })).expect("purge");
            wal.drive();
        }
        assert_eq!(wal.lagging().is_empty(), copy, "{:?}", wal.lagging());
        assert_eq!(wal.bytes_on_disk() < 8 * options.segment_bytes, copy);
        assert_eq!(wal.group(1).read(.., usize::MAX).expect("read"), stuck);
        drop(wal);
        let wal = open(&disk.reboot(1, RebootMode::LoseUnsynced), options).expect("open");
        assert_eq!(wal.group(1).read(.., usize::MAX).expect("read"), stuck);
    }
}

#[test]
fn a_removed_group_stays_removed() {
    let disk = SimulatedDisk::new();
    let wal = open(&disk, options()).expect("open");
    let vote = Vote { term: 2, node: 1, committed: false };
    finish(&wal, wal.group(1).save_vote(vote)).expect("vote");
    finish(&wal, wal.group(2).save_vote(vote)).expect("vote");
    finish(&wal, wal.remove_group(1)).expect("remove");
    assert_eq!(wal.groups(), [2]);
    let wal = open(&disk.reboot(1, RebootMode::LoseUnsynced), options()).expect("open");
    assert_eq!(wal.groups(), [2]);
    assert_eq!(wal.group(1).vote(), None);
}
