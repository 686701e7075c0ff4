//! What an auditor waits for: the records of an export that are checked in a second, beside the Ed25519 signatures that the
//! same cores verify one by one in the same run.
//!
//! Prints one line of JSON. `RECORDS` in the environment says how long the export is (20,000; a million takes minutes to
//! make). The export is written to a file, as an auditor has it, and read back through the page cache.

#[allow(dead_code, reason = "the tests of the auditor's checks use more of it")]
#[path = "../verify/tests/support/forge.rs"]
mod forge;

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::thread;
use std::time::Instant;

use ed25519_dalek::Signature;
use fiscus_verify::{ExportOptions, Policy, verify_export};
use forge::Forge;

const RECORDS: u64 = 20_000;
const CHUNK_RECORDS: usize = 1_000;
const LINES: usize = 3;
/// How often each is measured; they take turns, and the best of each counts.
const ROUNDS: usize = 3;
/// A core's signatures of one round.
const SIGNATURES: usize = 20_000;

fn main() {
    let asked = std::env::var("RECORDS").ok().and_then(|text| text.parse().ok());
    let records: u64 = asked.unwrap_or(RECORDS);
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let forge = Forge::sales(records, LINES);
    let policy = forge.policy();
    let policy = Policy::parse(&policy, |_| unreachable!("it names no file")).expect("a policy");
    let path = std::env::temp_dir().join(format!("fiscus-export-{}.ndjson", std::process::id()));
    let text = forge.export(CHUNK_RECORDS);
    let mut file = BufWriter::new(File::create(&path).expect("room for the export"));
    file.write_all(text.as_bytes()).and_then(|()| file.flush()).expect("room for the export");
    let bytes = text.len();
    drop(text);

    let (mut best_export, mut best_signatures) = (0.0_f64, 0.0_f64);
    for _ in 0..ROUNDS {
        best_signatures = best_signatures.max(signatures_per_second(&forge, threads));
        let began = Instant::now();
        let file = File::open(&path).expect("it was written");
        let checked = verify_export(file, &policy, ExportOptions { threads }, |_| {});
        let seconds = began.elapsed().as_secs_f64();
        assert_eq!(checked.expect("it was not touched").journal.records, records);
        best_export = best_export.max(records as f64 / seconds);
    }
    let _ = std::fs::remove_file(&path);
    println!(
        "{{\"records\":{records},\"bytes\":{bytes},\"threads\":{threads},\"records_per_s\":{best_export:.0},\
         \"signatures_per_s\":{best_signatures:.0},\"ratio\":{:.3}}}",
        best_export / best_signatures
    );
}

/// Single verifications on all cores.
fn signatures_per_second(forge: &Forge, threads: usize) -> f64 {
    let key = forge.authority.verifying_key();
    let records = &forge.records;
    let began = Instant::now();
    thread::scope(|scope| {
        for core in 0..threads {
            scope.spawn(move || {
                for record in records.iter().cycle().skip(core).take(SIGNATURES) {
                    let signature = Signature::from_bytes(&record.signature);
                    assert!(key.verify_strict(black_box(&record.entry), &signature).is_ok());
                }
            });
        }
    });
    (threads * SIGNATURES) as f64 / began.elapsed().as_secs_f64()
}
