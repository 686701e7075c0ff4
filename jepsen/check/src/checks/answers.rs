//! What was acknowledged is in the journal once, as it was answered; what was refused is not; nothing else is.

use std::collections::HashSet;

use super::{Attempts, Index, Outlet, Submission, named};
use crate::finding::{Findings, Kind};
use crate::history::{Entry, History, Operation};
use crate::line::Outcome;

/// Milliseconds of a run's clock in nanoseconds.
const NANOS: u64 = 1_000_000;

pub(super) fn check(history: &History, index: &Index<'_>, findings: &mut Findings) {
    // Somebody who keeps no history may sell in other outlets.
    let watched: HashSet<Outlet> = history.ops.iter().map(|op| op.outlet).collect();
    for (submission, attempts) in index.sorted() {
        let words = || in_words(history, submission);
        if let [_, second, ..] = &attempts.entries[..] {
            findings.add(Kind::Doubled, || {
                format!("{} is in the journal again at position {}", words(), second.position)
            });
        }
        let entry = attempts.entries.first().copied();
        check_answers(history, submission, attempts, entry, findings);
        let Some(entry) = entry else { continue };
        if attempts.ops.is_empty() {
            if watched.contains(&submission.0) {
                findings.add(Kind::Phantom, || format!("{} was submitted by nobody", words()));
            }
            continue;
        }
        let payloads = attempts.ops.iter().filter(|op| op.payload == entry.payload);
        if payloads.clone().next().is_none() {
            findings
                .add(Kind::Altered, || format!("{} has a payload that nobody submitted", words()));
        } else if payloads.clone().all(|op| op.outcome == Outcome::Fail) {
            findings
                .add(Kind::Phantom, || format!("{} was refused, and is in the journal", words()));
        }
        check_date(history, submission, attempts, entry, findings);
    }
}

fn in_words(history: &History, (outlet, f, key): &Submission) -> String {
    format!("{}: {} {}", named(history, *outlet), history.text(*f), history.text(*key))
}

fn check_answers(
    history: &History,
    submission: &Submission,
    attempts: &Attempts<'_>,
    entry: Option<&Entry>,
    findings: &mut Findings,
) {
    // Answers are bytes, or a text that shows them; those of one kind are equal.
    let (mut said, mut shown): (Option<&Operation>, Option<&Operation>) = (None, None);
    let promised = |op: &&&Operation| op.outcome == Outcome::Ok && !only_waits(history, op);
    for op in attempts.ops.iter().filter(promised) {
        let words = || in_words(history, submission);
        if said.is_some_and(|before| before.bytes != op.bytes) && op.bytes.is_some() {
            findings
                .add(Kind::Altered, || format!("{} was answered with other bytes before", words()));
        }
        if shown.is_some_and(|before| before.text != op.text) && op.text.is_some() {
            findings.add(Kind::Altered, || format!("{} was shown otherwise before", words()));
        }
        said = said.or(op.bytes.map(|_| *op));
        shown = shown.or(op.text.map(|_| *op));
        let Some(entry) = entry else {
            findings.add(Kind::Lost, || {
                format!("{} was acknowledged and is not in the journal", words())
            });
            return;
        };
        let same_number = match &entry.invoice {
            Some(invoice) => {
                op.number == Some(invoice.number) && op.series.is_none_or(|it| it == invoice.series)
            }
            None => op.number.is_none(),
        };
        let same = op.bytes.is_none_or(|bytes| bytes == entry.bytes)
            && (op.bytes.is_some() || op.text.is_some())
            && op.position == Some(entry.position)
            && op.payload == entry.payload
            && same_number;
        if !same {
            findings.add(Kind::Altered, || {
                format!(
                    "{} was answered otherwise than position {} has it",
                    words(),
                    entry.position
                )
            });
        }
    }
}

/// Whether it was answered that an offline seal waits for what is before it, which promises no record.
fn only_waits(history: &History, op: &Operation) -> bool {
    let nothing =
        op.position.is_none() && op.number.is_none() && op.bytes.is_none() && op.text.is_none();
    nothing && history.text(op.f) == "reconcile"
}

/// A record's time lies between the first attempt's beginning and the first answer, as far as clocks agree.
fn check_date(
    history: &History,
    submission: &Submission,
    attempts: &Attempts<'_>,
    entry: &Entry,
    findings: &mut Findings,
) {
    if history.majority_of_clocks || history.wall_ms == 0 {
        return;
    }
    let error = history.clock_error_ms;
    let wall = |nanos: u64| history.wall_ms.saturating_add(nanos / NANOS);
    let early =
        attempts.began().is_some_and(|began| entry.time_ms.saturating_add(error) < wall(began));
    let ended = attempts.acknowledged();
    let late = ended
        .is_some_and(|ended| entry.time_ms > wall(ended).saturating_add(error).saturating_add(1));
    if early || late {
        findings.add(Kind::Dated, || {
            let words = in_words(history, submission);
            format!("{words} is dated {}, outside of its submission", entry.time_ms)
        });
    }
}
