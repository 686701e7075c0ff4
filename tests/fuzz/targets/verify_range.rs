//! The auditor's reader of a range or of an absence takes anything.
#![no_main]

use fiscus_fuzz::auditor::policy;
use fiscus_verify::{Asked, verify_range};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = verify_range(data, "outlet-gombe", &Asked::Everything, policy());
});
