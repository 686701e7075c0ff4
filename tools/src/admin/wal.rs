//! `fiscus admin wal`: looks at a log on this machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use fiscus_ledger::payload::Object;
use fiscus_raft::disk::RealDisk;
use fiscus_raft::wal::{Inspected, inspect};

use super::{Failure, Report, tell};
use crate::output::line;

#[derive(Debug, Subcommand)]
pub(super) enum Wal {
    Inspect(Arguments),
}

/// List every frame of a node's log, and whether its checksum is right.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin wal inspect /var/lib/fiscus/wal

Nothing is ever changed. The node should be stopped: the end of a log that is being written reads as
damaged. So does what a crash left half written at the very end; a node that starts drops that by itself,
and says so in its log.

With --json every frame is a line of JSON, and the last line holds the sums.

Exit codes:
  0  every frame is whole
  1  something is damaged
  2  wrong usage, or the directory cannot be read")]
pub(super) struct Arguments {
    /// The log's directory, or the node's data directory.
    dir: PathBuf,
    /// Print lines of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Wal) -> ExitCode {
    let Wal::Inspect(arguments) = command;
    tell("admin wal inspect", look(arguments), arguments.json)
}

fn unreadable(detail: &impl ToString) -> Failure {
    Failure::new(2, "INPUT_UNREADABLE", detail)
}

fn look(arguments: &Arguments) -> Result<Report, Failure> {
    let inner = arguments.dir.join("wal");
    let dir: &Path = if inner.is_dir() { &inner } else { &arguments.dir };
    let disk = RealDisk::new();
    let named = || dir.display().to_string();
    let frames = inspect(&disk, dir).with_context(named);
    let frames = frames.map_err(|error| unreadable(&format!("{error:#}")))?;
    let (mut count, mut bytes, mut damaged) = (0_u64, 0_u64, 0_u64);
    if !arguments.json {
        line("segment  offset      bytes     kind        group  term   index       whole")?;
    }
    for frame in frames {
        let frame = frame.map_err(|error| unreadable(&error))?;
        count += 1;
        bytes += frame.bytes;
        damaged += u64::from(!frame.crc_ok);
        line(&if arguments.json { frame_json(&frame) } else { frame_line(&frame) })?;
    }
    if count == 0 {
        return Err(unreadable(&format!("there is no log in {}", dir.display())));
    }
    if damaged > 0 {
        let what = format!(
            "{damaged} of {count} pieces of the log in {} are no whole frames",
            dir.display()
        );
        return Err(Failure::new(1, "WAL_DAMAGED", &what));
    }
    let json = Report::ok().count("frames", count).count("bytes", bytes);
    Ok(Report::done(&format!("{count} frames, {bytes} bytes, all whole"), json))
}

fn frame_line(frame: &Inspected) -> String {
    let or_dash = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    format!(
        "{:<7}  {:<10}  {:<8}  {:<10}  {:<5}  {:<5}  {:<10}  {}",
        frame.segment,
        frame.offset,
        frame.bytes,
        frame.kind,
        or_dash(frame.group),
        or_dash(frame.id.map(|id| id.term)),
        or_dash(frame.id.map(|id| id.index)),
        if frame.crc_ok { "yes" } else { "NO" }
    )
}

fn frame_json(frame: &Inspected) -> String {
    let or_null =
        |number: Option<u64>| number.map_or("null".to_owned(), |number| number.to_string());
    Object::new()
        .count("segment", frame.segment.into())
        .count("offset", frame.offset)
        .count("bytes", frame.bytes)
        .text("kind", frame.kind)
        .json("group", &or_null(frame.group))
        .json("term", &or_null(frame.id.map(|id| id.term)))
        .json("index", &or_null(frame.id.map(|id| id.index)))
        .flag("whole", frame.crc_ok)
        .finish()
}
