//! A history in memory: names are numbers, lines of one kind stand together.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};

use crate::line::{
    Checkpoint, Digest, End, FORMAT, Fault, LINE_BYTES_MAX, Leaf, Line, Op, Outcome, Record,
    Source, State, Sums, Totals,
};
use crate::names::{Name, Names};

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("line {line} cannot be read: {source}")]
    Unreadable {
        /// Which line.
        line: u64,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line is too long.
    #[error("line {line} has more than {LINE_BYTES_MAX} bytes")]
    TooLong {
        /// Which line.
        line: u64,
    },
    /// A line is none of the format.
    #[error("line {line} is no line of a history: {detail}")]
    Syntax {
        /// Which line.
        line: u64,
        /// What is wrong.
        detail: String,
    },
    /// It does not begin as a history does, or is of another version.
    #[error("a history begins with a line {{\"run\":{{\"format\":{FORMAT},…}}}}")]
    NoHeader,
}

/// An operation.
#[derive(Debug, Clone)]
pub struct Operation {
    pub(crate) process: u64,
    pub(crate) f: Name,
    pub(crate) start: u64,
    /// None when it never ended.
    pub(crate) end: Option<u64>,
    pub(crate) outlet: (u64, Name),
    pub(crate) key: Option<Name>,
    pub(crate) payload: Option<Digest>,
    pub(crate) outcome: Outcome,
    pub(crate) number: Option<u64>,
    pub(crate) position: Option<u64>,
    pub(crate) series: Option<Name>,
    pub(crate) bytes: Option<Digest>,
    pub(crate) text: Option<Digest>,
    pub(crate) error: Option<Name>,
}

/// An invoice's part of a record.
#[derive(Debug, Clone, Copy)]
pub struct Invoice {
    pub(crate) series: Name,
    pub(crate) number: u64,
    pub(crate) source: Source,
    pub(crate) currency: Name,
    pub(crate) total: i64,
    pub(crate) credits: Option<u64>,
}

/// A record of the journal.
#[derive(Debug, Clone)]
pub struct Entry {
    pub(crate) leaf: u64,
    pub(crate) outlet: (u64, Name),
    pub(crate) position: u64,
    pub(crate) time_ms: u64,
    pub(crate) prev: Digest,
    pub(crate) entry: Digest,
    pub(crate) bytes: Digest,
    pub(crate) submission: Option<(Name, Name)>,
    pub(crate) payload: Option<Digest>,
    pub(crate) invoice: Option<Invoice>,
    /// What few records have.
    pub(crate) rare: Option<Box<Rare>>,
}

/// What few records have.
#[derive(Debug, Clone, Default)]
pub struct Rare {
    pub(crate) lent: Option<(u64, u64)>,
    pub(crate) missing: Vec<(u64, u64)>,
    pub(crate) skipped: Vec<(u64, u64)>,
    pub(crate) closes: Option<Sums<'static>>,
}

/// A fault, for the picture and for other tools.
#[derive(Debug, Clone)]
pub struct FaultSpan {
    pub(crate) name: String,
    pub(crate) target: String,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// Everything of a history.
#[derive(Debug, Default)]
pub struct History {
    pub(crate) names: Names,
    pub(crate) wall_ms: u64,
    pub(crate) clock_error_ms: u64,
    pub(crate) ops: Vec<Operation>,
    pub(crate) faults: Vec<FaultSpan>,
    pub(crate) healed: Option<u64>,
    pub(crate) states: Vec<(u64, u64, Digest, Name)>,
    pub(crate) checkpoints: Vec<(u64, u64, Digest, Name)>,
    pub(crate) entries: Vec<Entry>,
    /// Data of every leaf, by group and place.
    pub(crate) leaves: BTreeMap<u64, Vec<(u64, Digest)>>,
    pub(crate) totals: Vec<((u64, Name), Totals<'static>)>,
    pub(crate) ends: Vec<End>,
    pub(crate) majority_of_clocks: bool,
}

impl History {
    /// Reads a history.
    pub fn read(mut from: impl BufRead) -> Result<Self, LoadError> {
        let mut history = Self::default();
        let mut text = String::new();
        let mut line = 0;
        loop {
            text.clear();
            line += 1;
            let limit = LINE_BYTES_MAX as u64 + 1;
            let read = from.by_ref().take(limit).read_line(&mut text);
            let read = read.map_err(|source| LoadError::Unreadable { line, source })?;
            if read == 0 {
                break;
            }
            if read > LINE_BYTES_MAX {
                return Err(LoadError::TooLong { line });
            }
            let parsed: Line<'_> = serde_json::from_str(text.trim_end())
                .map_err(|error| LoadError::Syntax { line, detail: error.to_string() })?;
            match parsed {
                Line::Run(run) if line == 1 && run.format == FORMAT => {
                    (history.wall_ms, history.clock_error_ms) = (run.wall_ms, run.clock_error_ms);
                }
                _ if line == 1 => return Err(LoadError::NoHeader),
                parsed => history.take(parsed, line)?,
            }
        }
        if line == 1 {
            return Err(LoadError::NoHeader);
        }
        history.entries.sort_unstable_by_key(|entry| (entry.outlet.0, entry.leaf));
        history.leaves.values_mut().for_each(|leaves| leaves.sort_unstable());
        Ok(history)
    }

    /// How many operations there are.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.ops.len()
    }

    /// How many records the journal has.
    #[must_use]
    pub fn records(&self) -> usize {
        self.entries.len()
    }

    /// What a whole history has and this one has not, in words. Checks are silent on what is not there.
    #[must_use]
    pub fn lacks(&self) -> Vec<String> {
        let mut lacks = Vec::new();
        if self.ops.is_empty() {
            lacks.push("no operation".to_owned());
        }
        if self.healed.is_none() {
            lacks.push("no line says when all was healed".to_owned());
        }
        let ended: BTreeSet<u64> = self.ends.iter().map(|end| end.group).collect();
        let groups: BTreeSet<u64> = self.entries.iter().map(|entry| entry.outlet.0).collect();
        for group in groups.difference(&ended) {
            lacks.push(format!("group {group} has records, and no replica's end"));
        }
        lacks
    }

    fn take(&mut self, line: Line<'_>, at: u64) -> Result<(), LoadError> {
        match line {
            Line::Run(_) => {
                let detail = "a second line with \"run\"".to_owned();
                return Err(LoadError::Syntax { line: at, detail });
            }
            Line::Op(op) => self.take_op(&op, at)?,
            Line::Fault(Fault { name, target, start, end }) => {
                let (name, target) = (name.into_owned(), target.into_owned());
                self.faults.push(FaultSpan { name, target, start, end });
            }
            Line::Healed { at } => self.healed = Some(at),
            Line::State(State { group, node, index, hash }) => {
                let node = self.names.of(&node);
                self.states.push((group, index, hash, node));
            }
            Line::Checkpoint(Checkpoint { group, size, root, source }) => {
                let source = self.names.of(&source);
                self.checkpoints.push((group, size, root, source));
            }
            Line::Record(record) => self.take_record(record),
            Line::Leaf(Leaf { group, leaf, data }) => {
                self.leaves.entry(group).or_default().push((leaf, data));
            }
            Line::Totals(totals) => {
                let outlet = (totals.group, self.names.of(&totals.outlet));
                let perpetual = owned(totals.perpetual);
                let totals = Totals {
                    group: totals.group,
                    outlet: String::new().into(),
                    position: totals.position,
                    last: totals.last,
                    perpetual,
                };
                self.totals.push((outlet, totals));
            }
            Line::End(end) => self.ends.push(end),
            Line::Caveat { majority_of_clocks } => self.majority_of_clocks |= majority_of_clocks,
        }
        Ok(())
    }

    fn take_op(&mut self, op: &Op<'_>, line: u64) -> Result<(), LoadError> {
        if op.end.is_some_and(|end| end < op.start) {
            let detail = "an operation that ends before it begins".to_owned();
            return Err(LoadError::Syntax { line, detail });
        }
        if op.outcome != Outcome::Unknown && op.end.is_none() {
            let detail = "an operation whose outcome is known has an end".to_owned();
            return Err(LoadError::Syntax { line, detail });
        }
        let names = &mut self.names;
        self.ops.push(Operation {
            process: op.process,
            f: names.of(&op.f),
            start: op.start,
            end: op.end,
            outlet: (op.group, names.of(&op.outlet)),
            key: op.key.as_ref().map(|key| names.of(key)),
            payload: op.payload,
            outcome: op.outcome,
            number: op.number,
            position: op.position,
            series: op.series.as_ref().map(|series| names.of(series)),
            bytes: op.bytes,
            text: op.text,
            error: op.error.as_ref().map(|error| names.of(error)),
        });
        Ok(())
    }

    fn take_record(&mut self, record: Record<'_>) {
        let names = &mut self.names;
        self.leaves.entry(record.group).or_default().push((record.leaf, record.entry));
        let submission = match (&record.f, &record.key) {
            (Some(f), Some(key)) => Some((names.of(f), names.of(key))),
            _ => None,
        };
        let invoice = record.numbered.map(|numbered| Invoice {
            series: names.of(&numbered.series),
            number: numbered.number,
            source: numbered.source,
            currency: names.of(&numbered.currency),
            total: numbered.total,
            credits: numbered.credits,
        });
        let rare = Rare {
            lent: record.lent,
            missing: record.missing,
            skipped: record.skipped,
            closes: record.closes.map(owned),
        };
        let is_rare = rare.lent.is_some()
            || rare.closes.is_some()
            || !rare.missing.is_empty()
            || !rare.skipped.is_empty();
        self.entries.push(Entry {
            leaf: record.leaf,
            outlet: (record.group, names.of(&record.outlet)),
            position: record.position,
            time_ms: record.time_ms,
            prev: record.prev,
            entry: record.entry,
            bytes: record.bytes,
            submission,
            payload: record.payload,
            invoice,
            rare: is_rare.then(|| Box::new(rare)),
        });
    }

    pub(crate) fn text(&self, name: Name) -> &str {
        self.names.text(name)
    }
}

fn owned(sums: Sums<'_>) -> Sums<'static> {
    let amounts = sums.amounts.into_iter();
    let amounts =
        amounts.map(|(currency, amount)| (currency.into_owned().into(), amount)).collect();
    Sums { invoices: sums.invoices, amounts }
}
