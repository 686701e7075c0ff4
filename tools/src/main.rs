//! The `fiscus` command line.

use clap::Parser;

/// A distributed, verifiable fiscal ledger.
#[derive(Debug, Parser)]
#[command(name = "fiscus", version)]
struct Cli {}

fn main() {
    Cli::parse();
}
