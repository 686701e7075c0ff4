//! The auditor's readers of a checkpoint and of a consistency proof take anything; what is accepted only grew.
#![no_main]

use fiscus_fuzz::auditor::policy;
use fiscus_verify::verify_log;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A checkpoint holds no brace, and a proof begins with one.
    let (since, proof) = text.split_at(text.find('{').unwrap_or(text.len()));
    if let Ok(log) = verify_log(since, proof, policy()) {
        assert!(log.since.size <= log.now.size);
    }
});
