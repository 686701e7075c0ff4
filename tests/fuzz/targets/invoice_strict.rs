//! What the strict reader accepts is its own canonical form, byte for byte.
#![no_main]

use fiscus_ledger::invoice::parse_strict;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: { fiscus_fuzz::manifest(); }, |data: &[u8]| {
    let Ok(invoice) = parse_strict(data, fiscus_fuzz::manifest()) else { return };
    assert_eq!(invoice.canonical_bytes(), data);
});
