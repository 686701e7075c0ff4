//! A killed process leaves the index as it was at its last durable write.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::Strategy;
use proptest::test_runner::{Config, TestRunner};

use super::{Changes, Model, changes, durability};
use crate::disk::RealDisk;
use crate::index::{Durability, Index, IndexError, RedbIndex, RedbOptions};

fn open(path: &Path) -> Result<RedbIndex, IndexError> {
    // A small cache makes redb write pages early, so that the file holds much that is not committed.
    RedbIndex::open(
        Arc::new(RealDisk),
        path,
        RedbOptions { cache_bytes: 64 << 10, ..RedbOptions::default() },
    )
}

pub(super) fn rows(index: &dyn Index) -> Result<Model, IndexError> {
    let mut rows = Model::new();
    let _end = index.view()?.scan(&[], None, &mut |key, value| {
        rows.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

fn lives() -> impl Strategy<Value = Vec<(Changes, Durability)>> {
    proptest::collection::vec((changes(), durability()), 1..25)
}

#[test]
fn a_copy_taken_at_any_time_opens_at_the_last_durable_write() {
    let mut runner = TestRunner::new(Config { cases: 60, ..Config::default() });
    runner
        .run(&lives(), |life| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("index");
            let copy = directory.path().join("copy");
            let index = open(&path).unwrap();
            let (mut live, mut durable) = (Model::new(), Model::new());
            for (changes, how) in &life {
                index.write(&changes.batch(), *how).unwrap();
                changes.apply(&mut live);
                if *how == Durability::Durable {
                    durable.clone_from(&live);
                }
                // What a killed process leaves is what the kernel has been given.
                fs::copy(&path, &copy).unwrap();
                let reopened = open(&copy).unwrap();
                assert_eq!(rows(&reopened).unwrap(), durable);
                reopened.check().unwrap();
            }
            assert_eq!(rows(&index).unwrap(), live);
            index.flush().unwrap();
            fs::copy(&path, &copy).unwrap();
            assert_eq!(rows(&open(&copy).unwrap()).unwrap(), live);
            Ok(())
        })
        .unwrap();
}

#[test]
fn check_waits_for_no_view() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(&directory.path().join("index")).unwrap();
    let view = index.view().unwrap();
    assert!(matches!(index.check().unwrap_err(), IndexError::Busy { .. }));
    drop(view);
    index.check().unwrap();
}
