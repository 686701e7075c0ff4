//! A run of bytes, cut, spread over files, and damaged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{HEADER_BYTES, Series, SeriesError, SeriesKind};
use crate::disk::{Disk, OpenHow, RebootMode, SimulatedDisk};

const FILE_BYTES: u64 = 100;

fn kind(identity: u8) -> SeriesKind {
    SeriesKind { name: "run", file_bytes: FILE_BYTES, identity: [identity; 32] }
}

fn open(disk: &SimulatedDisk, identity: u8, end: u64) -> Result<Series, SeriesError> {
    Series::open(Arc::new(disk.clone()), Path::new("/g"), kind(identity), end)
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at * 7 % 251).expect("below 251")).collect()
}

/// A disk with 250 bytes in three files of 100, 100 and 50, synced.
fn three_files() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let series = open(&disk, 1, 0).expect("open");
    for part in content(250).chunks(50) {
        series.append(part).expect("append");
    }
    series.sync().expect("sync");
    disk.sync_dir(Path::new("/g")).expect("sync");
    disk.sync_dir(Path::new("/")).expect("sync");
    disk
}

fn piece(start: u64) -> PathBuf {
    PathBuf::from(format!("/g/run/{start:016x}"))
}

#[test]
fn bytes_come_back_over_files_and_after_a_power_cut() {
    let disk = three_files().reboot(0, RebootMode::LoseUnsynced);
    let series = open(&disk, 1, 250).expect("open");
    let files: Vec<_> = series.pieces().into_iter().map(|p| (p.bytes, p.sealed)).collect();
    assert_eq!(files, [(164, true), (164, true), (114, false)]);
    for (offset, bytes) in [(0, 250), (0, 0), (99, 2), (100, 100), (249, 1), (50, 170)] {
        let wanted = content(250)[offset..offset + bytes].to_vec();
        assert_eq!(series.read(offset as u64, bytes).expect("read"), Some(wanted), "{offset}");
    }
    for (offset, bytes) in [(250, 1), (249, 2), (0, 251), (u64::MAX, 1)] {
        assert_eq!(series.read(offset, bytes).expect("read"), None, "{offset}");
    }
}

#[test]
fn opening_cuts_to_any_end_and_goes_on_from_there() {
    for end in 0..=250 {
        let disk = three_files();
        let series = open(&disk, 1, end).expect("open");
        assert_eq!(series.end(), end);
        assert_eq!(series.append(b"next").expect("append"), end);
        series.sync().expect("sync");
        let again = disk.reboot(0, RebootMode::LoseUnsynced);
        let series = open(&again, 1, end + 4).expect("open again");
        let mut wanted = content(usize::try_from(end).expect("small"));
        wanted.extend_from_slice(b"next");
        let bytes = wanted.len();
        assert_eq!(series.read(0, bytes).expect("read"), Some(wanted), "cut at {end}");
        assert_eq!(series.read(0, bytes + 1).expect("read"), None);
    }
}

#[test]
fn what_is_not_this_run_is_refused() {
    type Harm = fn(&SimulatedDisk);
    let cases: [(&str, u8, u64, Harm); 8] = [
        ("another identity", 2, 250, |_| {}),
        ("a longer end than there is", 1, 251, |_| {}),
        ("a flipped header of a sealed file", 1, 250, |disk| {
            disk.flip(&piece(100), 20).expect("flip");
        }),
        ("a flipped header of the tail", 1, 250, |disk| {
            disk.flip(&piece(200), 63).expect("flip");
        }),
        ("a short sealed file", 1, 250, |disk| {
            let file = disk.open(&piece(0), OpenHow::Write).expect("open");
            file.set_len(HEADER_BYTES + 99).expect("cut");
        }),
        ("a file that is not there", 1, 250, |disk| {
            disk.remove_file(&piece(100)).expect("remove");
        }),
        ("no first file", 1, 250, |disk| disk.remove_file(&piece(0)).expect("remove")),
        ("a foreign name", 1, 250, |disk| {
            disk.open(Path::new("/g/run/lost"), OpenHow::Create).expect("make");
        }),
    ];
    for (what, identity, end, harm) in cases {
        let disk = three_files();
        harm(&disk);
        let refused = open(&disk, identity, end).expect_err(what);
        assert!(matches!(refused, SeriesError::Damaged { .. }), "{what}: {refused}");
    }
}

#[test]
fn every_flipped_header_byte_is_noticed() {
    for at in 0..HEADER_BYTES {
        let disk = three_files();
        disk.flip(&piece(100), at).expect("flip");
        let refused = open(&disk, 1, 250).expect_err("a damaged header");
        assert!(matches!(refused, SeriesError::Damaged { .. }), "byte {at}: {refused}");
    }
}

#[test]
fn mended_bytes_are_durable() {
    let disk = three_files();
    disk.flip(&piece(100), HEADER_BYTES + 30).expect("flip");
    let series = open(&disk, 1, 250).expect("open");
    let right = content(250)[130..131].to_vec();
    assert_ne!(series.read(130, 1).expect("read"), Some(right.clone()));
    series.mend(130, &right).expect("mend");
    let again = disk.reboot(0, RebootMode::LoseUnsynced);
    assert_eq!(open(&again, 1, 250).expect("open").read(0, 250).expect("read"), Some(content(250)));
}

proptest! {
    /// Whatever is appended and wherever the power fails, what was synced comes back.
    #[test]
    fn synced_bytes_survive_any_power_cut(
        parts in vec((vec(any::<u8>(), 0..90), any::<bool>()), 1..12),
        step in 1_u64..60,
        seed in any::<u64>(),
    ) {
        let disk = SimulatedDisk::new();
        disk.create_dir_all(Path::new("/g/run")).expect("make");
        disk.sync_dir(Path::new("/")).expect("sync");
        disk.sync_dir(Path::new("/g")).expect("sync");
        disk.fail_power_at(disk.steps() + step);
        let mut written = Vec::new();
        let mut durable = 0;
        if let Ok(series) = open(&disk, 1, 0) {
            for (part, sync) in &parts {
                if series.append(part).is_err() {
                    break;
                }
                written.extend_from_slice(part);
                if *sync && series.sync().is_ok() {
                    durable = written.len();
                }
            }
        }
        let disk = disk.reboot(seed, RebootMode::Torn);
        let series = open(&disk, 1, durable as u64).expect("what was synced is there");
        prop_assert_eq!(series.read(0, durable).expect("read"), Some(written[..durable].to_vec()));
    }
}
