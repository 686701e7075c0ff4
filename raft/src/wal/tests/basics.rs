//! What a caller sees when nothing fails.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::disk::{RealDisk, SimulatedDisk};
use crate::wal::{LogEntry, LogId, Vote, Wal, WalOptions};

fn entry(term: u64, index: u64, len: usize) -> LogEntry {
    LogEntry { id: LogId { term, index }, bytes: Bytes::from(vec![index as u8; len]) }
}

#[tokio::test]
async fn the_threaded_log_keeps_what_it_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("wal");
    let vote = Vote { term: 3, node: 1, committed: true };
    let told = Arc::new(Mutex::new(Vec::new()));
    {
        let wal = Wal::open(Arc::new(RealDisk::new()), &path, WalOptions::new(7)).expect("open");
        let log = wal.group(1);
        for index in 1..=100 {
            let told = Arc::clone(&told);
            let done = Box::new(move |result: Result<(), _>| {
                result.expect("durable");
                told.lock().expect("lock").push(index);
            });
            log.append(vec![entry(1, index, 1_000)], done).await.expect("append");
        }
        log.save_vote(vote).await.expect("vote");
        assert_eq!(*told.lock().expect("lock"), (1..=100).collect::<Vec<_>>());
        assert_eq!(log.flushed(), Some(LogId { term: 1, index: 100 }));
        log.truncate_after(Some(LogId { term: 1, index: 90 })).await.expect("truncate");
        log.purge(LogId { term: 1, index: 10 }).await.expect("purge");
        log.save_committed(Some(LogId { term: 1, index: 80 })).await.expect("committed");
        wal.shutdown();
        assert_eq!(log.save_vote(vote).await.expect_err("closed").code(), "WAL_CLOSED");
    }
    let wal = Wal::open(Arc::new(RealDisk::new()), &path, WalOptions::new(7)).expect("reopen");
    let log = wal.group(1);
    assert_eq!(wal.groups(), [1]);
    assert_eq!(log.vote(), Some(vote));
    assert_eq!(log.first_index(), Some(11));
    assert_eq!(log.last(), Some(LogId { term: 1, index: 90 }));
    assert_eq!(log.committed(), Some(LogId { term: 1, index: 80 }));
    let read = log.read(.., usize::MAX).expect("read");
    assert_eq!(read, (11..=90).map(|index| entry(1, index, 1_000)).collect::<Vec<_>>());
    assert_eq!(log.read(20..30, 0).expect("read"), [entry(1, 20, 1_000)]);
}

#[test]
fn another_identity_is_refused() {
    let disk = Arc::new(SimulatedDisk::new());
    let open = |identity| {
        let mut options = WalOptions::new(identity);
        options.segment_bytes = 8 << 10;
        Wal::open_inline(Arc::clone(&disk) as _, Path::new("/wal"), options)
    };
    drop(open(1).expect("open"));
    assert_eq!(open(2).expect_err("foreign").code(), "WAL_FOREIGN");
}
