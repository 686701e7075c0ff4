//! `fiscus admin nodes`: who is part of a cluster.

mod add;
mod catch_up;
mod drain;
mod list;
mod promote;
mod remove;

use std::process::ExitCode;

use clap::Subcommand;

use super::cluster::Connection;

#[derive(Debug, Subcommand)]
pub(super) enum Nodes {
    List(list::Arguments),
    Add(add::Arguments),
    Promote(promote::Arguments),
    Remove(remove::Arguments),
    Drain(drain::Arguments),
}

pub(super) fn run(connection: &Connection, command: &Nodes) -> ExitCode {
    match command {
        Nodes::List(arguments) => list::run(connection, arguments),
        Nodes::Add(arguments) => add::run(connection, arguments),
        Nodes::Promote(arguments) => promote::run(connection, arguments),
        Nodes::Remove(arguments) => remove::run(connection, arguments),
        Nodes::Drain(arguments) => drain::run(connection, arguments),
    }
}
