//! The parts of the core one by one.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ed25519_dalek::Signer;
use fiscus_benches::{NOON_MS, lenient_text, payload, signing_key};
use fiscus_ledger::hash::payload_hash;
use fiscus_ledger::heads::{HeadEntry, HeadsTrie};
use fiscus_ledger::invoice::{parse_lenient, parse_strict};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;
use fiscus_ledger::tree::CompactRange;

const OUTLETS: u64 = 10_000;

fn invoices(criterion: &mut Criterion) {
    let manifest = Manifest::builtin();
    let (text, bytes) = (lenient_text(0, 2, "USD"), payload(0, 2, "USD"));
    let now = UnixMs::new(NOON_MS);
    criterion.bench_function("invoice/lenient, with tax", |bencher| {
        bencher.iter(|| parse_lenient(black_box(text.as_bytes()), &manifest, now));
    });
    criterion.bench_function("invoice/strict, with tax", |bencher| {
        bencher.iter(|| parse_strict(black_box(&bytes), &manifest));
    });
    criterion.bench_function("invoice/payload hash", |bencher| {
        bencher.iter(|| payload_hash(black_box(&bytes)));
    });
}

fn trees(criterion: &mut Criterion) {
    criterion.bench_function("tree/push", |bencher| {
        let mut tree = CompactRange::new();
        bencher.iter(|| tree.push(black_box(&[3; 32])));
    });
    let entry =
        |last| HeadEntry::new(last, [("CD-KIN01".to_owned(), last)].into(), [1; 32], [2; 32]);
    let mut heads = HeadsTrie::new();
    for outlet in 0..OUTLETS {
        heads.set(&format!("outlet-{outlet}"), entry(outlet));
    }
    criterion.bench_function("heads/update one of 10,000", |bencher| {
        bencher.iter(|| heads.set(black_box("outlet-77"), entry(5)));
    });
    criterion.bench_function("heads/prove one of 10,000", |bencher| {
        bencher.iter(|| heads.prove(black_box("outlet-77")));
    });
}

fn signatures(criterion: &mut Criterion) {
    let key = signing_key();
    criterion
        .bench_function("Ed25519/sign", |bencher| bencher.iter(|| key.sign(black_box(&[5; 32]))));
}

criterion_group!(benches, invoices, trees, signatures);
criterion_main!(benches);
