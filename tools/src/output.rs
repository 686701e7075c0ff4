//! Writing the answer to standard output.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;

/// Prints an answer as it is and ends with `exit`. A reader that has gone away (`| head`) is no failure
/// of ours; any other failure to write is told.
pub(crate) fn answer(command: &str, text: &str, exit: u8) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("fiscus {command}: standard output: {error}");
            ExitCode::from(2)
        }
        _ => ExitCode::from(exit),
    }
}

/// Prints one line of many. A reader that has gone away ends the program, as it ends `yes | head`.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.context("standard output"),
    }
}
