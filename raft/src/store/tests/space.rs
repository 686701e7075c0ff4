//! A disk that is full at any moment of a replica's life.

use std::path::Path;

use super::crash::{live, snapshot};
use super::life::{last, log, open, options, replay};
use super::picture::{Claims, Steady, names, recovers};
use crate::disk::{Disk, RebootMode, SimulatedDisk};

fn used(disk: &SimulatedDisk) -> u64 {
    let space = disk.space(Path::new("/")).expect("space");
    space.total - space.free
}

#[test]
fn a_full_disk_leaves_nothing_half_done() {
    let steady = Steady::of(log());
    let whole = SimulatedDisk::new();
    live(&whole, &steady.log, options(), &mut Claims::default()).expect("live");
    let room = used(&whole);
    let mut failed = 0;
    for at in 0..100 {
        let disk = SimulatedDisk::new();
        disk.limit_free(Some(room * at / 100));
        let mut claims = Claims::default();
        failed += u32::from(live(&disk, &steady.log, options(), &mut claims).is_err());
        disk.limit_free(None);
        for mode in [RebootMode::LoseUnsynced, RebootMode::KeepUnsynced, RebootMode::Torn] {
            recovers(&disk.reboot(at, mode), &steady, claims)
                .unwrap_or_else(|what| panic!("room for {at} %, {mode:?}: {what}"));
        }
    }
    assert!(failed > 50, "only {failed} were full");
}

#[test]
fn a_snapshot_without_room_gives_back_what_it_took() {
    let steady = Steady::of(log());
    let disk = SimulatedDisk::new();
    let replica = open(&disk, options()).expect("open");
    replay(&replica, &steady.log, 8).expect("apply");
    replica.flush(last(&steady.log)).expect("flush");
    let before = used(&disk);
    for free in [0, 100, 5_000, 20_000] {
        disk.limit_free(Some(free));
        let mut claims = Claims::default();
        let full = snapshot(&replica, &steady.log, &mut claims).expect_err("there is no room");
        assert!(full.contains("no space left"), "{full}");
        assert_eq!(names(&disk, "snapshots").expect("list"), Vec::<String>::new());
        assert_eq!(used(&disk), before);
    }
    disk.limit_free(None);
    snapshot(&replica, &steady.log, &mut Claims::default()).expect("there is room again");
    steady.finishes(&replica).expect("it goes on");
}
