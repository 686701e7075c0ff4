//! A credential, as bytes and as the text of a QR code: one that reads has one spelling, and its terms hold.
#![no_main]

use ed25519_dalek::SigningKey;
use fiscus_ledger::credential::Credential;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let of_text = std::str::from_utf8(data).ok().and_then(|text| {
        let credential = Credential::from_compact(text).ok()?;
        assert_eq!(credential.to_compact(), text);
        Some(credential)
    });
    let of_bytes = Credential::from_bytes(data).ok();
    if let Some(credential) = &of_bytes {
        assert_eq!(credential.to_bytes(), data);
    }
    for credential in of_text.into_iter().chain(of_bytes) {
        credential.terms().check().expect("it was read, so it is one");
        let nobody = SigningKey::from_bytes(&[1; 32]).verifying_key();
        assert!(!credential.verify(&nobody), "it is signed by nobody");
    }
});
