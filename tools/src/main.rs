//! The `fiscus` command line.

mod receipt_verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A distributed, verifiable fiscal ledger.
#[derive(Debug, Parser)]
#[command(name = "fiscus", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at printed receipts.
    #[command(subcommand)]
    Receipt(Receipt),
}

#[derive(Debug, Subcommand)]
enum Receipt {
    Verify(receipt_verify::Arguments),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Receipt(Receipt::Verify(arguments)) => receipt_verify::run(&arguments),
    }
}
