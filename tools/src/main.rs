//! The `fiscus` command line.

mod admin;
mod bench;
mod def_sim;
mod demo;
mod device_proxy;
mod gateway;
mod invoice_check;
mod mcf_sim;
mod node;
mod output;
mod pki;
mod process;
mod receipt_verify;
mod verify;
mod webhook;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

/// A node allocates small rows on one thread and frees them on another, which leaves the system's allocator with
/// several times the memory that is in use. It asks for no huge pages: a node would have to clear two MiB where
/// it wants to write a few KiB.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A distributed, verifiable fiscal ledger.
#[derive(Debug, Parser)]
#[command(name = "fiscus", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Admin(admin::Arguments),
    Bench(bench::Arguments),
    Demo(demo::Arguments),
    DeviceProxy(device_proxy::Arguments),
    DefSim(def_sim::Arguments),
    Gateway(gateway::Arguments),
    McfSim(mcf_sim::Arguments),
    Node(node::Arguments),
    Verify(verify::Arguments),
    /// Work with invoices before they are sealed.
    #[command(subcommand)]
    Invoice(Invoice),
    /// Look at printed receipts.
    #[command(subcommand)]
    Receipt(Receipt),
    /// Try webhooks out.
    #[command(subcommand)]
    Webhook(Webhook),
}

#[derive(Debug, Subcommand)]
enum Invoice {
    Check(invoice_check::Arguments),
}

#[derive(Debug, Subcommand)]
enum Receipt {
    Verify(receipt_verify::Arguments),
}

#[derive(Debug, Subcommand)]
enum Webhook {
    Listen(webhook::Arguments),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Admin(command) => admin::run(&command),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::DeviceProxy(arguments) => device_proxy::run(&arguments),
        Command::DefSim(arguments) => def_sim::run(&arguments),
        Command::Gateway(arguments) => gateway::run(&arguments),
        Command::McfSim(arguments) => mcf_sim::run(&arguments),
        Command::Node(arguments) => node::run(&arguments),
        Command::Webhook(Webhook::Listen(arguments)) => webhook::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Invoice(Invoice::Check(arguments)) => invoice_check::run(&arguments),
        Command::Receipt(Receipt::Verify(arguments)) => receipt_verify::run(&arguments),
    }
}
