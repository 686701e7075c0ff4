//! Whatever is on the disk of a box: it reads without harm, and an entry that reads has one spelling.
#![no_main]

use fiscus_device_proxy::offline::{ENTRIES_AT, entry_again, scan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(again) = entry_again(data) {
        assert_eq!(again, data);
    }
    let scanned = scan(data);
    assert!(scanned.end() >= ENTRIES_AT);
    // Behind a page of zeros every entry is looked at, whatever the heads say.
    let mut bytes = vec![0; usize::try_from(ENTRIES_AT).expect("a page is small")];
    bytes.extend_from_slice(data);
    assert!(scan(&bytes).is_damaged());
});
