//! A node's wall clock, by libfaketime; its monotonic clock stays right.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

/// The library keeps a rate until it is given another one.
const RIGHT: &str = "+0 x1.0";

/// The clock of one process, which reads it from a file.
#[derive(Debug)]
pub(crate) struct Clock {
    file: PathBuf,
    since: Instant,
}

impl Clock {
    pub(crate) fn new(file: PathBuf) -> Result<Self> {
        let clock = Self { file, since: Instant::now() };
        clock.says(RIGHT)?;
        Ok(clock)
    }

    /// Gives a command this clock. The library counts from the process's start.
    pub(crate) fn give(&mut self, command: &mut Command) -> Result<()> {
        self.since = Instant::now();
        command
            .env("LD_PRELOAD", library()?)
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_CACHE_DURATION", "1");
        Ok(())
    }

    /// Jumps.
    pub(crate) fn is_off_by(&self, seconds: i64) -> Result<()> {
        self.says(&format!("{seconds:+}s"))
    }

    /// Right at this moment, and too fast from now on, by so many of a thousand.
    pub(crate) fn drifts(&self, per_mille: u32) -> Result<()> {
        let so_far = self.since.elapsed().as_secs_f64() * f64::from(per_mille) / 1_000.0;
        self.says(&format!("-{so_far:.3} x{:.3}", 1.0 + f64::from(per_mille) / 1_000.0))
    }

    pub(crate) fn is_right(&self) -> Result<()> {
        self.says(RIGHT)
    }

    /// Replaces the file at once, so that it is never read half written.
    fn says(&self, setting: &str) -> Result<()> {
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{setting}\n")).context("the file of a clock")?;
        std::fs::rename(next, &self.file).context("the file of a clock")
    }
}

/// Where Debian's package puts it, whatever the machine.
fn library() -> Result<PathBuf> {
    let known = std::fs::read_dir("/usr/lib")?.filter_map(Result::ok);
    let mut known = known.map(|dir| dir.path().join("faketime/libfaketimeMT.so.1"));
    known
        .find(|path| Path::exists(path))
        .context("libfaketime; tests/setup.sh installs it (faketime)")
}
