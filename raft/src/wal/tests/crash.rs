//! The power is cut at every step of random workloads.

use crate::disk::{RebootMode, SimulatedDisk};

use super::world::{Model, State, open, options, run};

const MODES: [(u64, RebootMode); 5] = [
    (0, RebootMode::LoseUnsynced),
    (0, RebootMode::KeepUnsynced),
    (1, RebootMode::Torn),
    (2, RebootMode::Torn),
    (3, RebootMode::Torn),
];

fn reopen(model: &Model, disk: &SimulatedDisk) -> Result<(), String> {
    let wal = open(disk, options()).map_err(|error| format!("does not open: {error}"))?;
    model.check(&wal)?;
    let groups = wal.groups();
    let states: Vec<State> = groups.iter().map(|group| State::of(&wal, *group)).collect();
    drop(wal);
    let again = disk.reboot(9, RebootMode::LoseUnsynced);
    let wal = open(&again, options()).map_err(|error| format!("does not open again: {error}"))?;
    let stable = groups.iter().map(|group| State::of(&wal, *group)).eq(states.iter().cloned());
    if wal.groups() == groups && stable { Ok(()) } else { Err("reopening changed it".into()) }
}

/// Cuts at every step; says what went wrong first.
fn cut_everywhere(seed: u64, ops: u32, skip_sync: bool) -> Result<u64, String> {
    let mut options = options();
    options.skip_sync = skip_sync;
    let whole = SimulatedDisk::new();
    run(&whole, options.clone(), seed, ops);
    for step in 1..=whole.steps() {
        let disk = SimulatedDisk::new();
        disk.fail_power_at(step);
        let model = run(&disk, options.clone(), seed, ops);
        for (dice, mode) in MODES {
            let found = disk.reboot(dice + step, mode);
            let place = || format!("seed {seed}, step {step}, {mode:?}");
            reopen(&model, &found).map_err(|what| format!("{}: {what}", place()))?;
        }
    }
    Ok(whole.steps())
}

#[test]
fn nothing_acknowledged_is_lost_whenever_the_power_fails() {
    let steps: u64 = (1..=6).map(|seed| cut_everywhere(seed, 60, false).expect("kept")).sum();
    assert!(steps > 600, "only {steps} steps were cut");
}

#[test]
fn the_crash_tests_find_a_missing_sync() {
    assert!(cut_everywhere(1, 60, true).is_err());
}

/// Cuts the power again while the log opens after a cut.
#[test]
fn opening_may_be_cut_too() {
    for step in (5..150).step_by(7) {
        let disk = SimulatedDisk::new();
        disk.fail_power_at(step);
        let model = run(&disk, options(), 5, 60);
        for again in 1..14 {
            let found = disk.reboot(step, RebootMode::Torn);
            found.fail_power_at(again);
            let opened = open(&found, options());
            drop(opened);
            let found = found.reboot(again, RebootMode::Torn);
            reopen(&model, &found).unwrap_or_else(|what| panic!("{step}, {again}: {what}"));
        }
    }
}

#[test]
fn a_long_life_keeps_the_log_small() {
    let mut options = options();
    options.segment_bytes = 16 << 10;
    for seed in 10..14 {
        let disk = SimulatedDisk::new();
        let model = run(&disk, options.clone(), seed, 3_000);
        let found = disk.reboot(seed, RebootMode::Torn);
        let wal = open(&found, options.clone()).expect("open");
        model.check(&wal).expect("kept");
        let live = wal.groups().into_iter().flat_map(|group| State::of(&wal, group).entries);
        let live: usize = live.map(|(_, (_, bytes))| bytes.len()).sum();
        let bound = 4 * live as u64 + 10 * options.segment_bytes;
        assert!(wal.bytes_on_disk() < bound, "{} of {bound} bytes", wal.bytes_on_disk());
    }
}
