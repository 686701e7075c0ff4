//! What every backend has to do, in random lives beside a sorted map.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use super::{Changes, Model, changes, durability, keys};
use crate::disk::RealDisk;
use crate::index::{
    Batch, BulkLoad, Durability, Index, IndexError, IndexStats, LayeredIndex, RedbIndex,
    RedbOptions, View, bulk_load, key_after,
};

#[derive(Debug, Clone)]
enum Step {
    Write(Changes, Durability),
    Flush,
    Get(Vec<u8>),
    Range(Vec<u8>, Option<Vec<u8>>, usize),
    TakeView,
    DropView(usize),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (changes(), durability()).prop_map(|(changes, how)| Step::Write(changes, how)),
        1 => proptest::strategy::Just(Step::Flush),
        3 => keys().prop_map(Step::Get),
        3 => (keys(), proptest::option::of(keys()), 0_usize..9)
            .prop_map(|(from, to, limit)| Step::Range(from, to, limit)),
        2 => proptest::strategy::Just(Step::TakeView),
        1 => any::<usize>().prop_map(Step::DropView),
        1 => proptest::strategy::Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..40)
}

fn redb(path: &Path) -> Box<dyn Index> {
    let options = RedbOptions { cache_bytes: 1 << 20, ..RedbOptions::default() };
    Box::new(RedbIndex::open(Arc::new(RealDisk), path, options).unwrap())
}

/// Closed by making everything durable, as a replica does.
#[derive(Debug)]
struct Layered(LayeredIndex);

impl Drop for Layered {
    fn drop(&mut self) {
        self.0.flush().unwrap();
    }
}

impl Index for Layered {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.0.get(key)
    }

    fn write(&self, batch: &Batch, how: Durability) -> Result<(), IndexError> {
        self.0.write(batch, how)
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.0.flush()
    }

    fn view(&self) -> Result<Box<dyn View>, IndexError> {
        self.0.view()
    }

    fn stats(&self) -> Result<IndexStats, IndexError> {
        self.0.stats()
    }
}

fn layered(path: &Path) -> Box<dyn Index> {
    Box::new(Layered(LayeredIndex::over(redb(path).into())))
}

#[cfg(feature = "sled")]
fn sled(path: &Path) -> Box<dyn Index> {
    use crate::index::{SledIndex, SledOptions};
    Box::new(
        SledIndex::open(Arc::new(RealDisk), path, SledOptions { cache_bytes: 1 << 20 }).unwrap(),
    )
}

fn expected(model: &Model, from: &[u8], to: Option<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let within = |key: &Vec<u8>| key.as_slice() >= from && to.is_none_or(|to| key.as_slice() < to);
    model.iter().filter(|(key, _)| within(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// All rows, a few at a time.
fn paged(view: &dyn View, from: &[u8], to: Option<&[u8]>, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut from = from.to_vec();
    loop {
        let page = view.range(&from, to, limit).unwrap();
        assert!(page.len() <= limit);
        let Some((last, _)) = page.last() else { return rows };
        from = key_after(last);
        rows.extend(page);
    }
}

fn agrees(view: &dyn View, model: &Model) {
    assert_eq!(paged(view, &[], None, 7), expected(model, &[], None));
    for key in model.keys() {
        assert_eq!(view.get(key).unwrap().as_ref(), model.get(key));
    }
    assert_eq!(view.get(&[9, 9]).unwrap(), None);
}

fn live(open: fn(&Path) -> Box<dyn Index>, steps: Vec<Step>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    let mut index = open(&path);
    let mut model = Model::new();
    let mut views: Vec<(Box<dyn View>, Model)> = Vec::new();
    for step in steps {
        match step {
            Step::Write(changes, how) => {
                index.write(&changes.batch(), how).unwrap();
                changes.apply(&mut model);
            }
            Step::Flush => index.flush().unwrap(),
            Step::Get(key) => assert_eq!(index.get(&key).unwrap().as_ref(), model.get(&key)),
            Step::Range(from, to, limit) => {
                let to = to.as_deref();
                let view = index.view().unwrap();
                let mut wanted = expected(&model, &from, to);
                assert_eq!(paged(view.as_ref(), &from, to, limit.max(1)), wanted);
                let last: Vec<_> = wanted.iter().rev().take(limit).cloned().collect();
                assert_eq!(view.range_back(&from, to, limit).unwrap(), last);
                wanted.truncate(limit);
                assert_eq!(view.range(&from, to, limit).unwrap(), wanted);
            }
            Step::TakeView => views.push((index.view().unwrap(), model.clone())),
            Step::DropView(at) if !views.is_empty() => {
                let (view, then) = views.swap_remove(at % views.len());
                agrees(view.as_ref(), &then);
            }
            Step::DropView(_) => {}
            Step::Reopen => {
                for (view, then) in views.drain(..) {
                    agrees(view.as_ref(), &then);
                }
                drop(index);
                index = open(&path);
                agrees(index.view().unwrap().as_ref(), &model);
            }
        }
    }
    for (view, then) in &views {
        agrees(view.as_ref(), then);
    }
    agrees(index.view().unwrap().as_ref(), &model);
}

fn random_lives(open: fn(&Path) -> Box<dyn Index>, cases: u32) {
    let mut runner = TestRunner::new(Config { cases, ..Config::default() });
    runner
        .run(&steps(), |steps| {
            live(open, steps);
            Ok(())
        })
        .unwrap();
}

fn scans_stop_and_batches_end_in_their_last_word(open: fn(&Path) -> Box<dyn Index>) {
    let directory = tempfile::tempdir().unwrap();
    let index = open(&directory.path().join("index"));
    let mut batch = Batch::new();
    batch.put("a", "1").put("b", "2").delete("a").put("c", "3").put("b", "4").delete("d");
    assert_eq!((batch.len(), batch.len_bytes()), (6, 10));
    index.write(&batch, Durability::Eventual).unwrap();
    let view = index.view().unwrap();
    index.write(Batch::new().put("b", "5"), Durability::Durable).unwrap();
    let mut seen = Vec::new();
    let end = view.scan(b"", None, &mut |key, value| {
        seen.push((key.to_vec(), value.to_vec()));
        ControlFlow::Break(())
    });
    assert_eq!(end.unwrap(), ControlFlow::Break(()));
    assert_eq!(seen, [(b"b".to_vec(), b"4".to_vec())]);
    assert_eq!(view.range(b"c", Some(b"a"), 9).unwrap(), []);
    let end = view.scan(b"c", None, &mut |_, _| ControlFlow::Continue(()));
    assert_eq!(end.unwrap(), ControlFlow::Continue(()));
    assert!(index.stats().unwrap().disk_bytes > 0);
    assert!(index.stats().unwrap().rows.is_none_or(|rows| rows == 2));
}

fn a_mebibyte_is_a_value_like_any_other(open: fn(&Path) -> Box<dyn Index>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    let index = open(&path);
    for round in 0..3_u8 {
        let mut batch = Batch::new();
        for key in 0..20_u8 {
            batch.put([key], vec![key ^ round; 1 << 20]);
        }
        index.write(&batch, Durability::Eventual).unwrap();
    }
    // A page of a range ends at its limit of bytes, never before its first row.
    assert_eq!(index.view().unwrap().range(&[], None, 100).unwrap().len(), 7);
    drop(index);
    let index = open(&path);
    for key in 0..20_u8 {
        assert!(index.get(&[key]).unwrap().unwrap() == vec![key ^ 2; 1 << 20]);
    }
}

#[test]
fn redb_agrees_with_a_sorted_map() {
    random_lives(redb, 150);
}

#[test]
fn redb_scans_stop_and_batches_end_in_their_last_word() {
    scans_stop_and_batches_end_in_their_last_word(redb);
}

#[test]
fn redb_takes_large_values() {
    a_mebibyte_is_a_value_like_any_other(redb);
}

#[test]
fn layers_agree_with_a_sorted_map() {
    random_lives(layered, 150);
}

#[test]
fn layers_stop_scans_and_batches_end_in_their_last_word() {
    scans_stop_and_batches_end_in_their_last_word(layered);
}

#[test]
fn layers_take_large_values() {
    a_mebibyte_is_a_value_like_any_other(layered);
}

/// What is frozen sinks while more is written, and a view stays what it was.
#[test]
fn writers_go_on_while_a_layer_sinks() {
    let dir = tempfile::tempdir().unwrap();
    let index = LayeredIndex::over(redb(&dir.path().join("index")).into());
    let put = |key: u8, value: u8| {
        index.write(Batch::new().put([key], [value]), Durability::Eventual).unwrap();
    };
    let single_rows_agree = || {
        let view = index.view().unwrap();
        for key in 0..80 {
            assert_eq!(index.get(&[key]).unwrap(), view.get(&[key]).unwrap(), "{key}");
        }
    };
    for key in 0..50 {
        put(key, 1);
    }
    index.freeze();
    let view = index.view().unwrap();
    for key in 25..75 {
        put(key, 2);
    }
    index.freeze();
    put(0, 3);
    single_rows_agree();
    index.sink().unwrap();
    single_rows_agree();
    put(1, 4);
    single_rows_agree();
    assert_eq!(view.range(&[], None, 100).unwrap().len(), 50);
    assert!(view.range(&[], None, 100).unwrap().iter().all(|(_, value)| value == &[1]));
    let rows = index.view().unwrap().range(&[], None, 100).unwrap();
    let expected = (0..75_u8).map(|key| match key {
        0 => 3,
        1 => 4,
        25.. => 2,
        _ => 1,
    });
    assert!(rows.iter().map(|(_, value)| value[0]).eq(expected));
    assert!(index.fresh_bytes() > 0);
    index.flush().unwrap();
    assert_eq!(index.fresh_bytes(), 0);
    assert_eq!(index.view().unwrap().range(&[], None, 100).unwrap(), rows);
    single_rows_agree();
    put(2, 2);
    index.freeze();
    index.write(Batch::new().delete([2_u8]), Durability::Eventual).unwrap();
    index.sink().unwrap();
    assert_eq!(
        index.get(&[2]).unwrap(),
        None,
        "what was written since is not lost when a layer sinks"
    );
    index.flush().unwrap();
    assert_eq!(index.get(&[2]).unwrap(), None);
}

#[cfg(feature = "sled")]
#[test]
fn sled_agrees_with_a_sorted_map() {
    random_lives(sled, 40);
}

#[cfg(feature = "sled")]
#[test]
fn sled_scans_stop_and_batches_end_in_their_last_word() {
    scans_stop_and_batches_end_in_their_last_word(sled);
}

#[cfg(feature = "sled")]
#[test]
fn sled_takes_large_values() {
    a_mebibyte_is_a_value_like_any_other(sled);
}

#[cfg(feature = "sled")]
#[test]
fn sled_that_was_not_closed_is_unclean() {
    use crate::index::{SledIndex, SledOptions};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    let options = SledOptions::default();
    let index = SledIndex::open(Arc::new(RealDisk), &path, options).unwrap();
    let refused = SledIndex::open(Arc::new(RealDisk), &path, options).unwrap_err();
    assert!(matches!(refused, IndexError::Unclean { .. }), "{refused}");
    index.close().unwrap();
    SledIndex::open(Arc::new(RealDisk), &path, options).unwrap().close().unwrap();
}

#[test]
fn a_bulk_load_replaces_what_was_there_once_it_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    redb(&path).write(Batch::new().put("old", "row"), Durability::Durable).unwrap();
    let disk = || Arc::new(RealDisk);
    let row = |n: u32| (n.to_be_bytes().to_vec(), vec![7; 3_000]);

    let mut load = BulkLoad::start(disk(), &path, RedbOptions::default()).unwrap();
    for n in 0..10_000 {
        load.push(row(n).0, row(n).1).unwrap();
    }
    let refused = load.push(row(9_999).0, row(9_999).1).unwrap_err();
    assert!(matches!(refused, IndexError::Unsorted { row: 10_000, .. }), "{refused}");
    drop(load);
    assert_eq!(redb(&path).get(b"old").unwrap(), Some(b"row".to_vec()));

    let rows = (0..10_000).map(|n| Ok::<_, IndexError>(row(n)));
    let loaded = bulk_load(disk(), &path, RedbOptions::default(), rows).unwrap();
    assert_eq!(loaded.stats().unwrap().rows, Some(10_000));
    assert_eq!(loaded.get(b"old").unwrap(), None);
    drop(loaded);
    let model: Model = (0..10_000).map(row).collect();
    assert!(
        paged(redb(&path).view().unwrap().as_ref(), &[], None, 999) == expected(&model, &[], None)
    );
    assert!(!path.with_extension("unfinished").exists());
}

#[test]
fn every_error_says_its_code_and_the_path() {
    let path = || "/data/index".into();
    let io = std::io::Error::other("broken");
    let table = [
        (IndexError::Damaged { path: path(), detail: "x".into(), key: None }, "INDEX_DAMAGED"),
        (IndexError::Io { path: path(), attempted: "write", source: io }, "INDEX_IO"),
        (IndexError::Full { path: path(), attempted: "write" }, "INDEX_FULL"),
        (IndexError::TooNew { path: path(), found: 2, known: 1 }, "INDEX_TOO_NEW"),
        (IndexError::Unclean { path: path() }, "INDEX_UNCLEAN"),
        (IndexError::Busy { path: path(), holder: "a view" }, "INDEX_BUSY"),
        (IndexError::Unsorted { path: path(), row: 3 }, "INDEX_UNSORTED"),
    ];
    for (error, code) in table {
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains("/data/index"), "{error}");
    }
}
