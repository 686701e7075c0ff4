//! What is noted of a run, as it happens: every operation into the history file, and of each what the picture and the
//! figures need into memory.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use fiscus_check::line::{FORMAT, Fault, Line, Op, Outcome, Run};
use fiscus_check::{Finding, Kind};

use crate::cluster::GROUP;

/// Lines that wait for the disk.
const LINES_MAX: usize = 100_000;
/// Different findings of the harness itself; it has few that are not the same again.
const FINDINGS_MAX: usize = 1_000;

/// What the picture needs of an operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// Nanoseconds.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) outcome: Outcome,
    /// Whether it became a record, or would have.
    pub(crate) writes: bool,
    /// A sale of the data group that was sealed now, and not at an earlier attempt.
    pub(crate) sealed: bool,
}

/// A fault as it was.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) name: &'static str,
    pub(crate) target: String,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// When it was done.
    pub(crate) hit: u64,
    /// Whether it took the data group's leader away.
    pub(crate) leader: bool,
    /// It could not be done, and was no fault.
    pub(crate) undone: bool,
}

/// What happened, for the report.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) points: Vec<Point>,
    pub(crate) spans: Vec<Span>,
    /// When a node was first seen to lead the data group, whoever led before.
    pub(crate) leaders: Vec<(u64, u64)>,
    /// When the data group was first seen to be led in a later term, whoever leads.
    pub(crate) terms: Vec<u64>,
    /// Milliseconds from a start of a process until it answers, and until it has everything.
    pub(crate) restarts: Vec<(u64, u64)>,
    /// Milliseconds from the end of a partition until who was cut off has everything.
    pub(crate) heals: Vec<u64>,
    /// What could not be done, in words, and how often.
    pub(crate) remarks: Vec<(String, usize)>,
    /// What is wrong that no history shows, and how often.
    pub(crate) findings: Vec<(Kind, String, usize)>,
}

impl Seen {
    /// Remarks in words.
    pub(crate) fn remarked(&self) -> Vec<String> {
        self.remarks.iter().map(|(what, count)| times(what, *count)).collect()
    }

    /// What is wrong that no history shows.
    pub(crate) fn found(&self) -> Vec<Finding> {
        let found = self.findings.iter();
        found
            .map(|(kind, what, count)| Finding { kind: *kind, detail: times(what, *count) })
            .collect()
    }
}

/// A remark, or a finding, and how often there was the same.
fn times(what: &str, count: usize) -> String {
    if count > 1 { format!("{what} ({count} times)") } else { what.to_owned() }
}

/// Copies note into one history.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    processes: AtomicU64,
    lines: SyncSender<String>,
    seen: Mutex<Seen>,
}

/// The thread that writes the history.
#[derive(Debug)]
pub(crate) struct Writer(JoinHandle<Result<()>>);

impl Writer {
    /// Waits until everything is written; every recorder must be gone.
    pub(crate) fn finish(self) -> Result<()> {
        self.0.join().map_err(|_| anyhow!("the history's writer panicked"))?
    }
}

impl Recorder {
    /// Begins a history.
    pub(crate) fn start(path: &Path, name: &str, clock_error_ms: u64) -> Result<(Self, Writer)> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        let (lines, waiting) = sync_channel::<String>(LINES_MAX);
        let writer = std::thread::spawn(move || {
            let mut out = BufWriter::with_capacity(1 << 20, file);
            for line in waiting {
                out.write_all(line.as_bytes()).context("writing the history")?;
            }
            out.flush().context("writing the history")
        });
        let (began, wall) = (Instant::now(), SystemTime::now());
        let wall_ms = u64::try_from(wall.duration_since(UNIX_EPOCH)?.as_millis())?;
        let processes = AtomicU64::new(0);
        let shared = Shared { began, processes, lines, seen: Mutex::default() };
        let recorder = Self { shared: Arc::new(shared) };
        let name = name.to_owned().into();
        recorder.line(&Line::Run(Run { format: FORMAT, name, wall_ms, clock_error_ms }))?;
        Ok((recorder, Writer(writer)))
    }

    /// Nanoseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.shared.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A process that nobody else is.
    pub(crate) fn process(&self) -> u64 {
        self.shared.processes.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn op(&self, op: Op<'_>) -> Result<()> {
        self.op_of(op, false)
    }

    /// Notes an operation; whether it was done now, and not at an earlier attempt.
    pub(crate) fn op_of(&self, op: Op<'_>, now: bool) -> Result<()> {
        let point = Point {
            start: op.start,
            end: op.end.unwrap_or(op.start),
            outcome: op.outcome,
            writes: op.f != "read" && op.f != "audit",
            sealed: now && op.f == "seal" && op.group == GROUP,
        };
        self.seen().points.push(point);
        self.line(&Line::Op(op))
    }

    pub(crate) fn span(&self, span: Span) -> Result<()> {
        let Span { name, target, start, end, .. } = &span;
        let (name, target) = ((*name).into(), target.clone().into());
        self.line(&Line::Fault(Fault { name, target, start: *start, end: *end }))?;
        self.seen().spans.push(span);
        Ok(())
    }

    pub(crate) fn line(&self, line: &Line<'_>) -> Result<()> {
        let text = serde_json::to_string(line)? + "\n";
        self.shared.lines.send(text).ok().context("the history's writer is gone")
    }

    pub(crate) fn remark(&self, what: impl Into<String>) {
        let what = what.into();
        let mut seen = self.seen();
        match seen.remarks.iter_mut().find(|(known, _)| *known == what) {
            Some((_, count)) => *count += 1,
            None => {
                eprintln!("fiscus-jepsen: {what}");
                seen.remarks.push((what, 1));
            }
        }
    }

    /// Notes what is wrong and what no history shows.
    pub(crate) fn finding(&self, kind: Kind, what: impl Into<String>) {
        let what = what.into();
        let mut seen = self.seen();
        let known = |(of, known, _): &&mut (Kind, String, usize)| *of == kind && *known == what;
        if let Some((.., count)) = seen.findings.iter_mut().find(known) {
            *count += 1;
        } else if seen.findings.len() < FINDINGS_MAX {
            eprintln!("fiscus-jepsen: {kind:?}: {what}");
            seen.findings.push((kind, what, 1));
        }
    }

    /// What was seen so far. Held for moments only.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (recorder, writer) =
            Recorder::start(&dir.path().join("history.jsonl"), "test", 0).unwrap();
        for _ in 0..3 {
            recorder.remark("node 1 ended: exit status: 1");
            recorder.finding(Kind::Crashed, "node 2 ended: signal: 11");
        }
        recorder.remark("another");
        let seen = std::mem::take(&mut *recorder.seen());
        assert_eq!(seen.remarked(), ["node 1 ended: exit status: 1 (3 times)", "another"]);
        let detail = "node 2 ended: signal: 11 (3 times)".to_owned();
        assert_eq!(seen.found(), [Finding { kind: Kind::Crashed, detail }]);
        drop(recorder);
        writer.finish().unwrap();
    }
}
