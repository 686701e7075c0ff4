//! A QR text that is accepted is spelled back the same.
#![no_main]

use fiscus_ledger::qr::QrPayload;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(payload) = QrPayload::parse(text) else { return };
    // Readers may hand a colon out as itself; we always write it as `%3A`.
    assert_eq!(payload.to_url().replace("%3A", ":"), text.replace("%3A", ":"));
    let again = QrPayload::parse(&payload.to_url()).expect("what is written can be read");
    assert_eq!(again.entry_hash(), payload.entry_hash());
});
