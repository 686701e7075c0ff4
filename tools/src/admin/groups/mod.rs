//! `fiscus admin groups`: who leads what.

mod list;
mod prefer;
pub(super) mod transfer;

use std::process::ExitCode;

use clap::Subcommand;

use super::cluster::Connection;

#[derive(Debug, Subcommand)]
pub(super) enum Groups {
    List(list::Arguments),
    Transfer(transfer::Arguments),
    Prefer(prefer::Arguments),
}

pub(super) fn run(connection: &Connection, command: &Groups) -> ExitCode {
    match command {
        Groups::List(arguments) => list::run(connection, arguments),
        Groups::Transfer(arguments) => transfer::run(connection, arguments),
        Groups::Prefer(arguments) => prefer::run(connection, arguments),
    }
}
