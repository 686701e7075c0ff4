//! A keys file that is accepted can be published again and lists the same keys.
#![no_main]

use fiscus_ledger::keys::KeySet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(keys) = KeySet::parse(text) else { return };
    let json = keys.to_json();
    let again = KeySet::parse(&json).expect("what is published can be read");
    assert_eq!(again.to_json(), json);
});
