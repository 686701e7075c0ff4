//! Apply of a batch of 1,000 seals, everything included, beside one Ed25519 signature.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ed25519_dalek::Signer;
use fiscus_benches::{BATCH_SEALS, SHAPES, signing_key, warmed};

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(BATCH_SEALS.try_into().expect("a batch is small")));
    group.sample_size(20);
    for shape in SHAPES {
        let (replica, entry) = warmed(shape);
        group.bench_function(shape.name, |bencher| {
            bencher.iter_batched(
                || replica.group.clone(),
                |group| replica.apply(group, &entry),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn signature(criterion: &mut Criterion) {
    let key = signing_key();
    criterion.bench_function("one Ed25519 signature", |bencher| {
        bencher.iter(|| key.sign(black_box(&[5; 32])));
    });
}

criterion_group!(benches, batches, signature);
criterion_main!(benches);
