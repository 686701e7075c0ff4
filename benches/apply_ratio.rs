//! What a seal costs in apply, measured in Ed25519 signatures of the same run.
//!
//! Prints one JSON line per shape and fails when a seal of a one-outlet batch costs more than the budget;
//! the other shapes show what reading and writing many outlets' rows adds. Batches and
//! signatures take turns and medians are compared, so a busy machine slows both alike.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use ed25519_dalek::Signer;
use fiscus_benches::{BATCH_SEALS, SHAPES, Shape, signing_key, warmed};

/// Half a signature.
const BUDGET: f64 = 0.5;
const SAMPLES: usize = 61;
const SIGNATURES: usize = 200;

#[derive(Debug)]
struct Measured {
    seal_ns: f64,
    sign_ns: f64,
    allocations_per_seal: f64,
}

fn main() -> ExitCode {
    let mut within = true;
    for shape in SHAPES {
        let Measured { seal_ns, sign_ns, allocations_per_seal } = measure(shape);
        let ratio = seal_ns / sign_ns;
        println!(
            "{{\"shape\":\"{}\",\"seal_ns\":{seal_ns:.0},\"sign_ns\":{sign_ns:.0},\
             \"ratio\":{ratio:.3},\"allocations_per_seal\":{allocations_per_seal:.1}}}",
            shape.name
        );
        within &= shape.outlets > 1 || ratio <= BUDGET;
    }
    if within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(shape: Shape) -> Measured {
    let (replica, entry) = warmed(shape);
    let key = signing_key();
    let mut batches = Vec::with_capacity(SAMPLES);
    let mut signatures = Vec::with_capacity(SAMPLES);
    for sample in 0..SAMPLES {
        let group = replica.group.clone();
        let started = Instant::now();
        let applied = replica.apply(group, &entry);
        // The group lives on in a running node; all the rest is dropped within the measured time.
        let group = applied.state.group;
        drop((applied.outcomes, applied.effects));
        batches.push(started.elapsed());
        drop(group);

        let mut message = [u8::try_from(sample % 256).expect("it is below 256"); 32];
        let started = Instant::now();
        for _ in 0..SIGNATURES {
            // Each signature feeds the next, so none can be shared or left out.
            let signature = key.sign(black_box(&message)).to_bytes();
            message.copy_from_slice(&signature[..32]);
        }
        signatures.push(started.elapsed());
    }
    let group = replica.group.clone();
    let counted = allocation_counter::measure(|| {
        drop(replica.apply(group, &entry));
    });
    let per = |samples: &mut Vec<std::time::Duration>, parts: usize| {
        samples.sort_unstable();
        samples[SAMPLES / 2].as_secs_f64() * 1e9 / parts as f64
    };
    Measured {
        seal_ns: per(&mut batches, BATCH_SEALS),
        sign_ns: per(&mut signatures, SIGNATURES),
        allocations_per_seal: counted.count_total as f64 / BATCH_SEALS as f64,
    }
}
