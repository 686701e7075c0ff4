//! Any sequence of commands leaves a state whose invariants hold, and two replicas agree on it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fiscus_fuzz::sequence::run(data));
