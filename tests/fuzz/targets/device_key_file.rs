//! A till's key file: one that has the form is as long as one is and begins as one does; no other costs anything.
#![no_main]

use fiscus_device_proxy::offline::is_key_file;
use libfuzzer_sys::fuzz_target;

/// Magic, version, iterations, salt, nonce, public key, seed and tag.
const FILE_BYTES: usize = 8 + 2 + 4 + 32 + 12 + 32 + 32 + 16;
/// What opening it may cost.
const ITERATIONS: std::ops::RangeInclusive<u32> = 600_000..=10_000_000;

fuzz_target!(|data: &[u8]| {
    let iterations = data.get(10..14).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four")));
    let whole = data.len() == FILE_BYTES
        && data.starts_with(b"FISCTILL\x01\x00")
        && iterations.is_some_and(|iterations| ITERATIONS.contains(&iterations));
    assert_eq!(is_key_file(data), whole);
});
