//! `fiscus admin uploads`: how far the tax authority has the invoices, and what operators can do about it.

mod control;
mod retry;
mod status;

use std::process::ExitCode;

use clap::Subcommand;

use super::cluster::Connection;

#[derive(Debug, Subcommand)]
pub(super) enum Uploads {
    Status(status::Arguments),
    Retry(retry::Arguments),
    /// Send nothing to the tax authority until it is resumed: of one outlet, or at all.
    Pause(control::Arguments),
    /// Send again what was paused.
    Resume(control::Arguments),
}

pub(super) fn run(connection: &Connection, command: &Uploads) -> ExitCode {
    match command {
        Uploads::Status(arguments) => status::run(connection, arguments),
        Uploads::Retry(arguments) => retry::run(connection, arguments),
        Uploads::Pause(arguments) => control::run(connection, "pause", true, arguments),
        Uploads::Resume(arguments) => control::run(connection, "resume", false, arguments),
    }
}
