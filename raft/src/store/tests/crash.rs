//! A power cut at every step of a replica's life.

use super::life::{ENTRIES, Log, apply, last, log, open, options, replay};
use super::picture::{Claims, Found, Steady, recovers, reopen, told};
use crate::disk::{Disk, RebootMode, SimulatedDisk};
use crate::store::{Replica, ReplicaOptions};
use crate::wal::LogId;

/// A life that flushes and takes snapshots now and then, until something fails.
pub(super) fn live(
    disk: &SimulatedDisk,
    log: &Log,
    options: ReplicaOptions,
    claims: &mut Claims,
) -> Found<()> {
    let replica = open(disk, options).map_err(told)?;
    let lived = go_on(&replica, log, claims);
    if lived.is_err() && replica.flush(last(log)).is_ok() {
        // Whoever asks again after a failure must not be told more than the truth.
        claims.note(&replica);
    }
    lived
}

fn go_on(replica: &Replica, log: &Log, claims: &mut Claims) -> Found<()> {
    for (id, item) in log {
        apply(replica, *id, item).map_err(told)?;
        if [2, 3, 4, 7, 9, 11].contains(&id.index) {
            replica.flush(last(log)).map_err(told)?;
            claims.note(replica);
        }
        if [5, 8, 10].contains(&id.index) {
            snapshot(replica, log, claims)?;
        }
    }
    Ok(())
}

pub(super) fn snapshot(replica: &Replica, log: &Log, claims: &mut Claims) -> Found<()> {
    let build = replica.begin_snapshot().map_err(told)?;
    replica.flush(last(log)).map_err(told)?;
    claims.note(replica);
    let made = replica.write_snapshot(build).map_err(told)?;
    claims.snapshot = made.log_id().map_or(0, |id| id.index);
    Ok(())
}

/// Cuts the power at the steps `from, from + every, …` of a life, and looks what is left.
fn cut_power(options: &ReplicaOptions, from: u64, every: u64) -> Found<u64> {
    let steady = Steady::of(log());
    let whole = SimulatedDisk::new();
    live(&whole, &steady.log, options.clone(), &mut Claims::default())?;
    let steps = whole.steps();
    // One more than there are: the power fails after an orderly end.
    for step in (from..=steps + 1).step_by(usize::try_from(every).expect("small")) {
        let disk = SimulatedDisk::new();
        disk.fail_power_at(step);
        let mut claims = Claims::default();
        let lived = live(&disk, &steady.log, options.clone(), &mut claims);
        if lived.is_ok() && step < steps - 20 {
            return Err(format!("nothing failed at step {step}"));
        }
        let modes = [
            RebootMode::LoseUnsynced,
            RebootMode::KeepUnsynced,
            RebootMode::Torn,
            RebootMode::Torn,
        ];
        for (seed, mode) in (step..).zip(modes) {
            let mut left = disk.reboot(seed, mode);
            if seed % 3 == 0 {
                // It fails once more while it recovers.
                left.fail_power_at(1 + seed % 41);
                let _interrupted = reopen(&left, &steady, claims, options.clone());
                left = left.reboot(seed + 1, mode);
            }
            recovers(&left, &steady, claims)
                .map_err(|what| format!("step {step}, seed {seed}, {mode:?}: {what}"))?;
        }
    }
    Ok(steps)
}

#[test]
fn a_power_cut_at_any_odd_step_loses_nothing_that_was_durable() {
    cut_power(&options(), 1, 2).unwrap_or_else(|what| panic!("{what}"));
}

#[test]
fn a_power_cut_at_any_even_step_loses_nothing_that_was_durable() {
    cut_power(&options(), 2, 2).unwrap_or_else(|what| panic!("{what}"));
}

/// The suite sees the bug that it is there for.
#[test]
fn a_journal_that_is_not_synced_is_noticed() {
    let planted = ReplicaOptions { without_journal_sync: true, ..options() };
    let noticed = cut_power(&planted, 1, 1).expect_err("the planted bug");
    assert!(noticed.contains("step"), "{noticed}");
}

#[test]
fn a_failed_sync_at_any_step_is_never_taken_for_a_success() {
    let steady = Steady::of(log());
    let whole = SimulatedDisk::new();
    live(&whole, &steady.log, options(), &mut Claims::default()).expect("live");
    for step in 1..=whole.steps() {
        let disk = SimulatedDisk::new();
        disk.fail_sync_at(step);
        let mut claims = Claims::default();
        let _failed = live(&disk, &steady.log, options(), &mut claims);
        for mode in [RebootMode::LoseUnsynced, RebootMode::Torn] {
            recovers(&disk.reboot(step, mode), &steady, claims)
                .unwrap_or_else(|what| panic!("sync at {step}, {mode:?}: {what}"));
        }
    }
}

#[test]
fn nothing_becomes_durable_before_the_log() {
    let steady = Steady::of(log());
    let disk = SimulatedDisk::new();
    let replica = open(&disk, options()).expect("open");
    replay(&replica, &steady.log, 7).expect("apply");
    for behind in [None, Some(LogId { term: 1, index: 6 })] {
        assert!(!replica.flush(behind).expect("flush"));
        let build = replica.begin_snapshot().expect("begin");
        assert!(replica.write_snapshot(build).is_err());
        assert_eq!(replica.durable(), None);
    }
    assert!(replica.flush(Some(LogId { term: 1, index: 7 })).expect("flush"));
    assert_eq!(replica.durable().map(|id| id.index), Some(7));
}

/// A snapshot shows what was applied when it began, whatever is applied while it is written.
#[test]
fn a_snapshot_shows_its_moment() {
    let steady = Steady::of(log());
    let disk = SimulatedDisk::new();
    let replica = open(&disk, options()).expect("open");
    replay(&replica, &steady.log, 8).expect("apply");
    let build = replica.begin_snapshot().expect("begin");
    steady.finishes(&replica).expect("the log goes on");
    assert!(replica.flush(last(&steady.log)).expect("flush"));
    let made = replica.write_snapshot(build).expect("write");
    assert_eq!(made.log_id().map(|id| id.index), Some(8));
    drop(replica);
    disk.remove_file(&super::damage::index_file(&disk)).expect("remove");
    let replica = open(&disk, options()).expect("rebuild");
    assert_eq!(super::life::applied(&replica), 8);
    steady.agrees(&replica, "rebuilt").expect("the same");
    steady.finishes(&replica).expect("the same end");
    assert_eq!(super::life::applied(&replica), ENTRIES);
    assert_eq!(disk.list(std::path::Path::new("/")).expect("list"), ["data"]);
}
