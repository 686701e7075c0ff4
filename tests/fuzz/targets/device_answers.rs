//! Whatever a real device answers, and in whatever order: nothing is told as sealed that is not about the invoice that
//! was asked for, and no more is kept than may be.
#![no_main]

use fiscus_device_proxy::hear;
use fiscus_ledger::device_seal::entry_hash;
use fiscus_ledger::hash::{hex, payload_hash};
use libfuzzer_sys::fuzz_target;

/// The first bytes decide what is asked; each line of the rest is an answer.
const ASKED: usize = 6;
const ANSWERS_MAX: usize = 64;
const INVOICE: &str = "{\"total\":\"1160.00\"}";

fuzz_target!(|data: &[u8]| {
    let Some((asked, rest)) = data.split_at_checked(ASKED) else { return };
    let lines = rest.split(|byte| *byte == b'\n').take(ANSWERS_MAX);
    let answers = lines.filter_map(|line| std::str::from_utf8(line).ok()).map(answer).collect();
    hear("DEF-1", INVOICE, asked, answers);
});

/// A line behind an `@` is the text of a journal's entry, and is told with its own hash: no fuzzer guesses one.
fn answer(line: &str) -> String {
    let Some(text) = line.strip_prefix('@') else { return line.to_owned() };
    let text = text.replace("$PAYLOAD", &hex(&payload_hash(INVOICE.as_bytes())));
    let (hash, signature) = (hex(&entry_hash(&text)), "00".repeat(64));
    let open = text.strip_suffix('}').unwrap_or(&text);
    format!(
        "{{\"status\":\"OK\",\"log_entry\":{open},\"entry_hash\":\"{hash}\",\"signature\":\"{signature}\",\
         \"auth_code\":\"\",\"qr_payload\":\"\",\"invoice\":{INVOICE}}}}}"
    )
}
