//! Versions of the heads tree, and decided checkpoints: how long they are kept, and that they outlive everything.

use fiscus_ledger::heads::HeadsVerdict;
use fiscus_ledger::time::UnixMs;

use super::life::{OPENING, Scribe, cut, decided, last, open, opened, options, replay, seal};
use crate::disk::SimulatedDisk;
use crate::index::{Batch, Durability, Index as _};
use crate::store::versions::PART_TABLE;
use crate::store::{HeadsVersion, Reading, Replica};

const HOUR_MS: u64 = 3_600_000;

/// Sixteen cuts, one every six hours from nine in the morning on, each with a decision.
fn four_days() -> (Scribe, Vec<HeadsVersion>) {
    let mut scribe = opened(40);
    let mut made = Vec::new();
    for step in 0..16_u8 {
        let at = UnixMs::new(OPENING + HOUR_MS + u64::from(step) * 6 * HOUR_MS);
        scribe.commands_at(at, &[seal(step + 1), cut()]);
        let tuple = scribe.replica.progress().borrow().last_cut.clone().expect("it was cut");
        scribe.commands_at(at, &[decided(tuple)]);
        let known = scribe.replica.read().expect("read").heads_versions().expect("versions");
        made.push(*known.last().expect("a version"));
    }
    (scribe, made)
}

/// What is kept in the end: the first of each day, and what is younger than a day.
fn kept(made: &[HeadsVersion]) -> Vec<HeadsVersion> {
    [0, 3, 7, 11, 12, 13, 14, 15].map(|step: usize| made[step]).to_vec()
}

fn check(reading: &Reading, made: &[HeadsVersion]) {
    let known = reading.heads_versions().expect("versions");
    assert_eq!(known, kept(made));
    let mut before = 0;
    for version in &known {
        let heads = reading.heads_at(&known, version).expect("a tree");
        assert_eq!((heads.root(), heads.len()), (version.root, 40));
        let proof = heads.prove("o1");
        let HeadsVerdict::Present(entry) = proof.verify(&version.root, "o1").expect("it holds")
        else {
            panic!("o1 is there");
        };
        assert_eq!(heads.get("o1"), Some(entry));
        // The sales are of two outlets in turn.
        let sold = ["o1", "o2"].map(|outlet| heads.get(outlet).expect("it is there"));
        let sold: u64 = sold.iter().map(|entry| entry.last_position()).sum();
        assert!(sold > before, "each is of another time");
        before = sold;
    }
    let sizes = |below, limit| {
        let checkpoints = reading.decided_checkpoints(below, limit).expect("checkpoints");
        checkpoints.iter().map(|checkpoint| checkpoint.size).collect::<Vec<_>>()
    };
    let all: Vec<u64> = kept(made).iter().rev().map(|version| version.leaf + 1).collect();
    assert_eq!(sizes(u64::MAX, 100), all, "the last one first, and as many as versions");
    assert_eq!(sizes(all[1], 3), all[2..5]);
}

fn again(disk: &SimulatedDisk) -> Replica {
    open(disk, options()).expect("open")
}

#[test]
fn versions_are_kept_for_a_day_and_the_first_of_each_day_for_ever() {
    let (scribe, made) = four_days();
    check(&scribe.replica.read().expect("read"), &made);
    let disk = SimulatedDisk::new();
    let replica = again(&disk);
    replay(&replica, scribe.log(), u64::MAX).expect("apply");
    assert!(replica.flush(last(scribe.log())).expect("a flush"));
    drop(replica);
    let replica = again(&disk);
    check(&replica.read().expect("read"), &made);
    let snapshot = replica.begin_snapshot().expect("a snapshot");
    let snapshot = replica.write_snapshot(snapshot).expect("a snapshot");
    snapshot.check(&disk, &[]).expect("a backup of it is sound");
}

#[test]
fn a_version_that_makes_another_root_is_damage() {
    let (scribe, _) = four_days();
    let (disk, log) = (SimulatedDisk::new(), scribe.log());
    let replica = again(&disk);
    replay(&replica, log, u64::MAX).expect("apply");
    let reading = replica.read().expect("read");
    let known = reading.heads_versions().expect("versions");
    let mut key = vec![PART_TABLE];
    key.extend_from_slice(&known[1].leaf.to_be_bytes());
    key.extend_from_slice(&0_u32.to_be_bytes());
    let mut batch = Batch::new();
    batch.put(key, []);
    replica.open_state().index.write(&batch, Durability::Eventual).expect("it is written");
    let reading = replica.read().expect("read");
    reading.heads_at(&known, &known[0]).expect("the others are sound");
    let damaged = reading.heads_at(&known, &known[1]).expect_err("it is not what was written");
    assert!(damaged.is_damage(), "{damaged}");
    assert_eq!(replica.harm().met(), 1);
}
