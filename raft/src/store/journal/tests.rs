//! What the journal gives back of what it was given. That no flipped byte changes an answer is tested
//! where a whole replica is.

use std::path::Path;
use std::sync::Arc;

use fiscus_ledger::record::Record;

use super::{Journal, Lengths, SeriesError};
use crate::disk::{Disk, SimulatedDisk};
use crate::store::tests::life::{DIR, log, open, options, replay};

fn journal(disk: &SimulatedDisk, lengths: Lengths) -> Result<Journal, SeriesError> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    Journal::open(&shared, &Path::new(DIR).join("state-1"), &options(), lengths)
}

fn filled() -> (SimulatedDisk, Lengths) {
    let disk = SimulatedDisk::new();
    let replica = open(&disk, options()).expect("open");
    replay(&replica, &log(), u64::MAX).expect("apply");
    let lengths = replica.open_state().journal.lengths();
    (disk, lengths)
}

#[test]
fn leaves_records_signatures_and_nodes_are_read_back() {
    let (disk, lengths) = filled();
    let journal = journal(&disk, lengths).expect("open");
    assert_eq!(journal.lengths(), lengths);
    let (mut records, mut others) = (0, 0);
    for leaf in 0..lengths.leaves {
        let entry = journal.leaf(leaf).expect("read").expect("it is there");
        match journal.record(leaf).expect("read") {
            Some(record) => {
                records += 1;
                let record = Record::decode(&record).expect("a record");
                assert_eq!((record.leaf_index, record.entry_hash), (leaf, entry.hash));
            }
            None => {
                others += 1;
                assert!(!entry.is_record());
            }
        }
        let signature = journal.signature(leaf).expect("read");
        assert_eq!(signature.is_some(), leaf < lengths.signatures, "leaf {leaf}");
    }
    assert!(records > 260 && others == 2, "{records} records, {others} others");
    assert!(journal.tree_node(8, 0).expect("read").is_some());
    for (height, index) in [(8, 1), (16, 0), (24, 0), (9, 0), (8, u64::MAX)] {
        assert_eq!(journal.tree_node(height, index).expect("read"), None, "{height} {index}");
    }
    for leaf in [lengths.leaves, u64::MAX] {
        assert_eq!(journal.leaf(leaf).expect("read"), None);
        assert_eq!(journal.record(leaf).expect("read"), None);
        assert_eq!(journal.signature(leaf).expect("read"), None);
    }
}

#[test]
fn mended_entries_are_right_again() {
    let (disk, lengths) = filled();
    let right = journal(&disk, lengths).expect("open");
    let leaf = lengths.leaves - 2;
    let entry = right.leaf(leaf).expect("read").expect("there");
    let record = right.record(leaf).expect("read").expect("a record");
    let signature = right.signature(7).expect("read").expect("signed");
    let node = right.tree_node(8, 0).expect("read").expect("there");
    let state = Path::new(DIR).join("state-1");
    for piece in right.pieces() {
        for at in 64..piece.bytes {
            disk.flip(&state.join(&piece.name), at).expect("flip");
        }
    }
    let harmed = journal(&disk, lengths).expect("the headers are sound");
    harmed.record(leaf).expect_err("damaged");
    harmed.signature(7).expect_err("damaged");
    harmed.tree_node(8, 0).expect_err("damaged");
    harmed.mend_record(leaf, entry.hash, entry.offset, Some(&record)).expect("mend");
    harmed.mend_signature(7, &signature).expect("mend");
    harmed.mend_node(8, 0, &node).expect("mend");
    assert_eq!(harmed.record(leaf).expect("read"), Some(record));
    assert_eq!(harmed.signature(7).expect("read"), Some(signature));
    assert_eq!(harmed.tree_node(8, 0).expect("read"), Some(node));
    harmed.record(leaf - 1).expect_err("the one before is still damaged");
}
