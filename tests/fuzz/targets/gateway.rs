//! What strangers send to the gateway: bodies, queries, headers, ids.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fiscus_gateway::api::fuzzing::run(data));
