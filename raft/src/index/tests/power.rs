//! The power fails at every step of a life, and what is left is torn in several ways.

use std::path::Path;
use std::sync::Arc;

use super::crashes::rows;
use super::{Model, mixed};
use crate::disk::{RebootMode, SimulatedDisk};
use crate::index::{Batch, Durability, Index, IndexError, RedbIndex, RedbOptions, bulk_load};

const PATH: &str = "/index";

fn open(disk: &SimulatedDisk) -> Result<RedbIndex, IndexError> {
    // A small cache makes redb write pages before they are committed.
    let options = RedbOptions { cache_bytes: 64 << 10, ..RedbOptions::default() };
    RedbIndex::open(Arc::new(disk.clone()), PATH, options)
}

/// What may be there after a power cut: the last durable state that was acknowledged, or the one that
/// was under way.
#[derive(Debug, Default)]
struct Possible {
    acknowledged: Model,
    under_way: Option<Model>,
}

fn batch(number: u64, model: &mut Model) -> Batch {
    let mut batch = Batch::new();
    for n in 0..25 {
        let dice = mixed(number * 100 + n);
        let key = (dice % 300).to_be_bytes().to_vec();
        if dice.is_multiple_of(5) {
            batch.delete(key.clone());
            model.remove(&key);
        } else {
            let value = vec![dice as u8; 60 + (dice >> 8) as usize % 900];
            batch.put(key.clone(), value.clone());
            model.insert(key, value);
        }
    }
    batch
}

/// Opens, writes, closes, twice; ends early when the power fails.
fn live(disk: &SimulatedDisk, possible: &mut Possible) -> Result<(), IndexError> {
    let mut model = Model::new();
    for round in 0..2 {
        let index = open(disk)?;
        for step in 0..12 {
            let batch = batch(round * 12 + step, &mut model);
            let how = if step % 4 == 3 { Durability::Durable } else { Durability::Eventual };
            if how == Durability::Durable {
                possible.under_way = Some(model.clone());
            }
            index.write(&batch, how)?;
            if how == Durability::Durable {
                possible.acknowledged.clone_from(&model);
            }
        }
        let last = batch(900 + round, &mut model);
        index.write(&last, Durability::Eventual)?;
        // Closing makes it durable but cannot say so.
        possible.under_way = Some(model.clone());
        drop(index);
        if !disk.is_off() {
            possible.acknowledged.clone_from(&model);
        }
    }
    Ok(())
}

fn is_possible(disk: &SimulatedDisk, possible: &Possible, what: &str) {
    let index = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = rows(&index).unwrap_or_else(|error| panic!("{what}: {error}"));
    let known = found == possible.acknowledged || possible.under_way.as_ref() == Some(&found);
    assert!(known, "{what}: {} rows of no known state", found.len());
    index.check().unwrap_or_else(|error| panic!("{what}: {error}"));
    // What was found can be written on.
    index.write(Batch::new().put("after", "all"), Durability::Durable).unwrap();
    drop(index);
    assert_eq!(open(disk).unwrap().get(b"after").unwrap(), Some(b"all".to_vec()), "{what}");
}

#[test]
fn a_power_cut_at_any_step_leaves_a_durable_state() {
    let whole = SimulatedDisk::new();
    live(&whole, &mut Possible::default()).unwrap();
    let steps = whole.steps();
    assert!(steps > 100, "a life of {steps} steps tries little");
    let mut cuts = 0;
    for step in 1..=steps {
        let disk = SimulatedDisk::new();
        disk.fail_power_at(step);
        let mut possible = Possible::default();
        // Only the state it leaves matters; closing may be what fails, and that is silent.
        let _ended = live(&disk, &mut possible);
        cuts += u64::from(disk.is_off());
        let modes = [RebootMode::LoseUnsynced, RebootMode::KeepUnsynced, RebootMode::Torn];
        for (seed, mode) in (0..).zip(modes.into_iter().chain([RebootMode::Torn; 2])) {
            let rebooted = disk.reboot(step * 10 + seed, mode);
            is_possible(
                &rebooted,
                &possible,
                &format!("power failed at step {step}, {mode:?} {seed}"),
            );
        }
    }
    assert_eq!(cuts, steps);
}

#[test]
fn a_power_cut_in_a_bulk_load_leaves_the_old_or_the_new_index() {
    let old: Model = [(b"old".to_vec(), b"row".to_vec())].into();
    let new: Model = (0..200_u64).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; 300])).collect();
    let prepared = || {
        let disk = SimulatedDisk::new();
        open(&disk).unwrap().write(Batch::new().put("old", "row"), Durability::Durable).unwrap();
        disk
    };
    let load = |disk: &SimulatedDisk| {
        let rows = new.clone().into_iter().map(Ok::<_, IndexError>);
        bulk_load(Arc::new(disk.clone()), Path::new(PATH), RedbOptions::default(), rows).map(drop)
    };
    let whole = prepared();
    let first = whole.steps() + 1;
    load(&whole).unwrap();
    for step in first..=whole.steps() {
        let disk = prepared();
        disk.fail_power_at(step);
        let loaded = load(&disk).is_ok();
        let possible = if loaded {
            Possible { acknowledged: new.clone(), under_way: None }
        } else {
            Possible { acknowledged: old.clone(), under_way: Some(new.clone()) }
        };
        for (seed, mode) in (0..).zip([RebootMode::LoseUnsynced, RebootMode::Torn]) {
            is_possible(&disk.reboot(seed, mode), &possible, &format!("step {step}, {mode:?}"));
        }
    }
}

#[test]
fn a_failed_sync_is_an_error_until_the_index_is_opened_again() {
    let disk = SimulatedDisk::new();
    let index = open(&disk).unwrap();
    index.write(Batch::new().put("a", "1"), Durability::Durable).unwrap();
    disk.fail_sync_at(disk.steps() + 1);
    let refused = index.write(Batch::new().put("b", "2"), Durability::Durable).unwrap_err();
    assert!(matches!(refused, IndexError::Io { .. }), "{refused}");
    assert!(index.write(Batch::new().put("c", "3"), Durability::Eventual).is_err());
    drop(index);
    let found = rows(&open(&disk.reboot(1, RebootMode::LoseUnsynced)).unwrap()).unwrap();
    assert_eq!(found.get(&b"a"[..]), Some(&b"1".to_vec()));
    assert_eq!(found.get(&b"c"[..]), None);
}

#[test]
fn a_full_disk_is_told_as_such() {
    let disk = SimulatedDisk::new();
    let index = open(&disk).unwrap();
    index.write(Batch::new().put("a", "1"), Durability::Durable).unwrap();
    disk.limit_free(Some(64 << 10));
    let mut refused = None;
    for n in 0..200_u8 {
        let written = index.write(Batch::new().put([n], vec![n; 60_000]), Durability::Durable);
        if let Err(error) = written {
            refused = Some(error);
            break;
        }
    }
    let refused = refused.expect("twelve megabytes do not fit");
    assert!(matches!(refused, IndexError::Full { .. }), "{refused}");
    drop(index);
    disk.limit_free(None);
    assert_eq!(open(&disk).unwrap().get(b"a").unwrap(), Some(b"1".to_vec()));
}
