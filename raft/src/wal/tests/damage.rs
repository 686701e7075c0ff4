//! Flipped bytes: found where they were synced, cut where they were not.

use std::path::Path;

use crate::disk::{Disk, RebootMode, SimulatedDisk};
use crate::wal::{OpenMode, WalError, inspect};

use super::world::{DIR, GROUPS, State, finish, open, options, run};

/// Every frame of the log of a clean life, as inspection shows it.
fn frames(disk: &SimulatedDisk) -> Vec<crate::wal::Inspected> {
    let walk = inspect(disk, Path::new(DIR)).expect("inspect");
    walk.collect::<Result<Vec<_>, _>>().expect("readable")
}

#[test]
fn a_flipped_byte_that_was_synced_is_refused_or_salvaged() {
    let disk = SimulatedDisk::new();
    run(&disk, options(), 21, 80);
    let mut tried = 0;
    for frame in frames(&disk).iter().filter(|frame| frame.kind == "entry") {
        let found = disk.reboot(0, RebootMode::LoseUnsynced);
        let path = Path::new(DIR).join(format!("wal-{:010}.seg", frame.segment));
        found.flip(&path, frame.offset + 20).expect("flip");
        let shown = frames(&found);
        assert!(shown.iter().any(|frame| !frame.crc_ok), "inspection hides it");
        assert_eq!(frames(&found), shown, "inspection changed something");
        match open(&found, options()) {
            Err(WalError::Damaged { segment, offset, .. }) => {
                assert_eq!((segment, offset), (frame.segment, frame.offset));
            }
            other => panic!("damage at {frame:?} gave {other:?}"),
        }
        tried += 1;
        let mut salvage = options();
        salvage.mode = OpenMode::Salvage;
        let wal = open(&found, salvage).expect("salvage");
        let group = frame.group.expect("an entry has a group");
        assert!(wal.group(group).is_damaged());
        (1..=GROUPS).for_each(|group| drop(State::of(&wal, group)));
        drop(wal);
        let wal = open(&found, options()).expect("salvaged once, it opens strictly");
        assert!(wal.group(group).is_damaged(), "the mark is durable");
        finish(&wal, wal.group(group).clear_damage()).expect("clear");
        drop(wal);
        let wal = open(&found, options()).expect("open");
        assert!(!wal.group(group).is_damaged());
    }
    assert!(tried > 10, "only {tried} frames");
}

#[test]
fn any_flipped_byte_of_a_header_or_batch_is_found_or_harmless() {
    let disk = SimulatedDisk::new();
    let model = run(&disk, options(), 22, 60);
    let newest = disk.list(Path::new(DIR)).expect("list");
    for name in newest.iter().filter(|name| name.starts_with("wal-")) {
        for offset in (0..4_096).step_by(13) {
            let found = disk.reboot(0, RebootMode::LoseUnsynced);
            found.flip(&Path::new(DIR).join(name), offset).expect("flip");
            match open(&found, options()) {
                Err(error) => assert_eq!(error.code(), "WAL_DAMAGED", "{name} {offset}"),
                Ok(wal) => model.check(&wal).expect("what it opens with is whole"),
            }
        }
    }
}

#[test]
fn a_flipped_byte_in_the_unsynced_tail_is_cut() {
    for step in 30..140 {
        let disk = SimulatedDisk::new();
        disk.fail_power_at(step);
        let model = run(&disk, options(), 23, 60);
        let kept = disk.reboot(0, RebootMode::KeepUnsynced);
        let lost = disk.reboot(0, RebootMode::LoseUnsynced);
        let durable = frames(&lost);
        let Some(torn) = frames(&kept).into_iter().rfind(|frame| !durable.contains(frame)) else {
            continue;
        };
        let path = Path::new(DIR).join(format!("wal-{:010}.seg", torn.segment));
        kept.flip(&path, torn.offset + 9).expect("flip");
        let wal = open(&kept, options()).expect("a torn tail is cut");
        model.check(&wal).expect("kept");
    }
}
