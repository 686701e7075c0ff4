//! What the simulated disk keeps and what it forgets.

use std::path::Path;

use super::{RebootMode, SimulatedDisk};
use crate::disk::{Disk, OpenHow, RealDisk};

fn read(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenHow::Read).expect("open");
    let mut bytes = vec![0; usize::try_from(file.size().expect("size")).expect("small")];
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

/// A file with one synced byte and one that is not.
fn half_synced() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    disk.create_dir_all(Path::new("/d")).expect("dir");
    disk.sync_dir(Path::new("/")).expect("sync");
    let file = disk.open(Path::new("/d/f"), OpenHow::Create).expect("create");
    file.write_all_at(b"a", 0).expect("write");
    file.sync_data().expect("sync");
    disk.sync_dir(Path::new("/d")).expect("sync");
    file.write_all_at(b"b", 1).expect("write");
    disk.hard_link(Path::new("/d/f"), Path::new("/d/g")).expect("link");
    disk
}

#[test]
fn only_what_was_synced_survives_for_sure() {
    let lost = half_synced().reboot(1, RebootMode::LoseUnsynced);
    assert_eq!(read(&lost, Path::new("/d/f")), b"a");
    assert_eq!(lost.list(Path::new("/d")).expect("list"), ["f"]);
    let kept = half_synced().reboot(1, RebootMode::KeepUnsynced);
    assert_eq!(read(&kept, Path::new("/d/g")), b"ab");
    assert_eq!(kept.list(Path::new("/d")).expect("list"), ["f", "g"]);
}

#[test]
fn a_torn_reboot_is_the_same_for_the_same_seed_and_tears_at_sectors() {
    let disk = half_synced();
    let file = disk.open(Path::new("/d/f"), OpenHow::Write).expect("open");
    file.write_all_at(&[7; 4_096], 0).expect("write");
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let torn = read(&disk.reboot(seed, RebootMode::Torn), Path::new("/d/f"));
        assert_eq!(torn, read(&disk.reboot(seed, RebootMode::Torn), Path::new("/d/f")));
        let whole = |sector: &[u8]| sector[2..].iter().all(|byte| *byte == sector[2]);
        assert!(torn.len() < 3 || torn.chunks(512).all(whole), "torn inside a sector");
        seen.insert(torn);
    }
    assert!(seen.len() > 8, "only {} outcomes", seen.len());
}

#[test]
fn the_power_fails_where_it_was_told_to() {
    let disk = half_synced();
    let at = disk.steps() + 1;
    disk.fail_power_at(at);
    let file = disk.open(Path::new("/d/f"), OpenHow::Write).expect("opening is no step");
    assert!(file.sync_data().is_err());
    assert!(disk.is_off());
    assert!(disk.list(Path::new("/d")).is_err());
    assert_eq!(disk.steps(), at);
    assert_eq!(read(&disk.reboot(0, RebootMode::LoseUnsynced), Path::new("/d/f")), b"a");
}

#[test]
fn a_failed_sync_loses_its_writes_although_the_next_succeeds() {
    let disk = half_synced();
    let file = disk.open(Path::new("/d/f"), OpenHow::Write).expect("open");
    disk.fail_sync_at(disk.steps());
    assert!(file.sync_data().is_err());
    file.sync_data().expect("the next one succeeds");
    assert_eq!(read(&disk, Path::new("/d/f")), b"ab");
    assert_eq!(read(&disk.reboot(0, RebootMode::KeepUnsynced), Path::new("/d/f")), b"a");
}

#[test]
fn a_full_disk_takes_nothing_and_says_so() {
    let disk = half_synced();
    let file = disk.open(Path::new("/d/f"), OpenHow::Write).expect("open");
    disk.limit_free(Some(2));
    assert_eq!(disk.space(Path::new("/d")).expect("space").free, 2);
    let error = file.write_all_at(b"xyz", 2).expect_err("full");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(read(&disk, Path::new("/d/f")), b"ab");
    file.write_all_at(b"xy", 2).expect("it fits");
}

/// The same calls give the same answers on a real directory.
#[test]
fn both_disks_behave_alike() {
    let dir = tempfile::tempdir().expect("a directory");
    let simulated = SimulatedDisk::new();
    simulated.create_dir_all(dir.path()).expect("dir");
    let disks: [&dyn Disk; 2] = [&RealDisk::new(), &simulated];
    let answers = disks.map(|disk| {
        let at = |name: &str| dir.path().join(name);
        let mut answers = Vec::new();
        disk.create_dir_all(&at("x/y")).expect("dirs");
        let file = disk.open(&at("x/f"), OpenHow::Create).expect("create");
        file.write_all_at(b"hello", 3).expect("write");
        file.sync_data().expect("sync");
        file.set_len(6).expect("cut");
        answers.push(format!("{:?}", read(disk, &at("x/f"))));
        answers.push(format!("{:?}", file.read_exact_at(&mut [0; 9], 0).map_err(|e| e.kind())));
        let again = disk.open(&at("x/f"), OpenHow::Create).map(drop);
        answers.push(format!("{:?}", again.map_err(|e| e.kind())));
        let none = disk.open(&at("x/none"), OpenHow::Write).map(drop);
        answers.push(format!("{:?}", none.map_err(|e| e.kind())));
        disk.hard_link(&at("x/f"), &at("x/g")).expect("link");
        disk.rename(&at("x/g"), &at("x/y/h")).expect("rename");
        disk.remove_file(&at("x/f")).expect("remove");
        answers.push(format!("{:?}", read(disk, &at("x/y/h"))));
        disk.rename(&at("x/y"), &at("x/z")).expect("rename a directory");
        answers.push(format!("{:?} {:?}", disk.list(&at("x")), disk.list(&at("x/z"))));
        answers.push(format!("{:?}", disk.exists(&at("x/y")).expect("exists")));
        disk.sync_dir(&at("x")).expect("sync");
        disk.remove_dir_all(&at("x")).expect("remove all");
        answers.push(format!("{:?}", disk.exists(&at("x")).expect("exists")));
        answers
    });
    assert_eq!(answers[0], answers[1]);
}
