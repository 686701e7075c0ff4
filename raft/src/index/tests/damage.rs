//! A flipped byte is found or harmless.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::Model;
use super::crashes::rows;
use crate::disk::RealDisk;
use crate::index::pages::PAGE_BYTES;
use crate::index::{Batch, Durability, Index, IndexError, RedbIndex, RedbOptions};

fn open(path: &Path) -> Result<RedbIndex, IndexError> {
    RedbIndex::open(
        Arc::new(RealDisk),
        path,
        RedbOptions { cache_bytes: 1 << 20, ..RedbOptions::default() },
    )
}

fn sample() -> Model {
    // Enough for branch pages, and one value over several pages.
    let mut rows: Model =
        (0..400_u32).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; 100])).collect();
    rows.insert(b"large".to_vec(), vec![0xA5; 9_000]);
    rows
}

/// A closed database, and its bytes.
fn build(path: &Path, model: &Model) -> Vec<u8> {
    let index = open(path).unwrap();
    for chunk in model.iter().collect::<Vec<_>>().chunks(100) {
        let mut batch = Batch::new();
        for (key, value) in chunk {
            batch.put(key.as_slice(), value.as_slice());
        }
        index.write(&batch, Durability::Eventual).unwrap();
    }
    drop(index);
    fs::read(path).unwrap()
}

/// Opens and reads everything: right, or refused with one of the two codes.
fn right_or_damaged(path: &Path, model: &Model, what: &str) -> bool {
    let damaged = |error: IndexError| {
        assert!(matches!(error, IndexError::Damaged { .. }), "{what}: {error}");
        true
    };
    let index = match open(path) {
        Ok(index) => index,
        Err(error) => return damaged(error),
    };
    let mut found = false;
    for (key, value) in model {
        match index.get(key) {
            Ok(got) => assert!(got.as_ref() == Some(value), "{what}: another value"),
            Err(error) => found |= damaged(error),
        }
    }
    match rows(&index) {
        Ok(got) => assert!(got == *model, "{what}: other rows"),
        Err(error) => found |= damaged(error),
    }
    found
}

#[test]
fn a_flipped_byte_of_a_closed_database_is_found_or_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    let model = sample();
    let sound = build(&path, &model);
    assert!(!right_or_damaged(&path, &model, "nothing flipped"));
    let mut found = 0;
    // A step that is no divisor of a page visits other places in every page; zero pages are many.
    let used = |at: &usize| {
        let page = at / PAGE_BYTES * PAGE_BYTES;
        sound[page..(page + PAGE_BYTES).min(sound.len())].iter().any(|byte| *byte != 0)
    };
    let places: Vec<usize> = (0..sound.len()).step_by(97).filter(used).chain(0..400).collect();
    let mut flipped = sound.clone();
    for at in &places {
        let mask = 1 << (at % 8);
        flipped[*at] ^= mask;
        fs::write(&path, &flipped).unwrap();
        found += usize::from(right_or_damaged(&path, &model, &format!("byte {at} flipped")));
        flipped[*at] ^= mask;
    }
    assert!(found * 2 > places.len(), "only {found} of {} flips were found", places.len());
}

#[test]
fn a_zeroed_or_stale_or_missing_page_is_found_or_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    let model = sample();
    let sound = build(&path, &model);
    let mut found = 0;
    for page in 0..sound.len() / PAGE_BYTES {
        let at = page * PAGE_BYTES..(page + 1) * PAGE_BYTES;
        let mut zeroed = sound.clone();
        zeroed[at.clone()].fill(0);
        let mut misplaced = sound.clone();
        let other = (page + 7) * PAGE_BYTES % sound.len();
        misplaced[at.clone()].copy_from_slice(&sound[other..other + PAGE_BYTES]);
        let mut cut = sound.clone();
        cut.truncate(at.start);
        for (bytes, what) in [(zeroed, "zeroed"), (misplaced, "misplaced"), (cut, "cut")] {
            if what != "cut" || page % 16 == 0 {
                fs::write(&path, &bytes).unwrap();
                found +=
                    usize::from(right_or_damaged(&path, &model, &format!("page {page} {what}")));
            }
        }
    }
    assert!(found > 20, "only {found} were found");
}

#[test]
fn a_later_format_is_refused_with_its_number() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    let mut bytes = build(&path, &sample());
    bytes[16] = 9;
    let sum = crc32c::crc32c(&bytes[..PAGE_BYTES - 4]);
    bytes[PAGE_BYTES - 4..PAGE_BYTES].copy_from_slice(&sum.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, IndexError::TooNew { found: 9, known: 1, .. }), "{error}");
}
