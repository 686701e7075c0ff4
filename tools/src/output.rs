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

/// Whoever read the lines has gone away (`| head`): there is nobody to print more for.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(crate) struct ReaderGone;

/// Prints one line of many.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => written.context("standard output"),
    }
}
