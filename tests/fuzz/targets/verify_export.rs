//! The auditor's reader of an export takes anything.
#![no_main]

use std::io::Cursor;

use fiscus_fuzz::auditor::policy;
use fiscus_verify::{ExportOptions, verify_export};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let checked = verify_export(Cursor::new(data), policy(), ExportOptions { threads: 1 }, |_| {});
    if let Ok(summary) = checked {
        assert_eq!(summary.bytes, u64::try_from(data.len()).expect("a length"));
    }
});
