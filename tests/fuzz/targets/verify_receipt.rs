//! The auditor's reader of a receipt, and of the proof behind it, takes anything; the two readers of receipts agree on
//! which texts are receipts.
#![no_main]

use fiscus_fuzz::auditor::policy;
use fiscus_ledger::qr::QrPayload;
use fiscus_verify::{Kind, verify_receipt};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // The proof, when there is one, follows the receipt's line.
    let (code, proof) =
        text.split_once('\n').map_or((text, None), |(code, proof)| (code, Some(proof)));
    let checked = verify_receipt(code, proof, policy());
    let read = checked.as_ref().map_or_else(|failure| failure.kind != Kind::Format, |_| true);
    if proof.is_none() {
        assert_eq!(read, QrPayload::parse(code).is_ok(), "{checked:?}");
    }
});
