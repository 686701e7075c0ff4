//! Compiles the messages and services.

use std::error::Error;

const FILES: [&str; 5] = [
    "proto/command.proto",
    "proto/peer.proto",
    "proto/ledger.proto",
    "proto/admin.proto",
    "proto/stored.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".fiscus")
        .boxed(".fiscus.ledger.v1.JournalRecord.upload")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
