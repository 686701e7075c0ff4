//! What REST lets in, the strict reader takes in its canonical spelling, as the same invoice.
#![no_main]

use fiscus_ledger::invoice::{parse_lenient, parse_strict};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: { fiscus_fuzz::manifest(); }, |data: &[u8]| {
    let manifest: &Manifest = fiscus_fuzz::manifest();
    let Ok(parsed) = parse_lenient(data, manifest, UnixMs::new(fiscus_fuzz::NOON_MS)) else { return };
    let canonical = parsed.invoice.canonical_bytes();
    let strict = parse_strict(canonical, manifest).expect("canonical bytes are accepted");
    assert_eq!(strict.canonical_bytes(), canonical);
    assert_eq!(strict.payload_hash(), parsed.invoice.payload_hash());
    let again = parse_lenient(canonical, manifest, UnixMs::new(0)).expect("strict is within lenient");
    assert_eq!(again.invoice, parsed.invoice);
});
