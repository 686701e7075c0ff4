//! A history of a run is read, checked and written anew whatever is in it: findings, never a panic.
#![no_main]

use fiscus_check::{History, check, edn};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // Most inputs of a fuzzer would fail at the first line.
    let first = b"{\"run\":{\"format\":1,\"name\":\"fuzz\",\"wall_ms\":1800000000000,\"clock_error_ms\":5}}\n";
    let whole: Vec<u8> = first.iter().chain(data).copied().collect();
    for text in [data, &whole] {
        if let Ok(history) = History::read(text) {
            let _ = check(&history);
            edn::write(&history, &mut std::io::sink()).expect("a sink takes everything");
        }
    }
});
