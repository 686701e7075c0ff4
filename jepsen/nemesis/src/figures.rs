//! What a run comes to, in figures.

use std::path::Path;

use anyhow::Result;
use fiscus_check::line::Outcome;
use fiscus_check::{Finding, History};
use serde_json::{Value, json};

use crate::options::Options;
use crate::page::page;
use crate::picture::draw;
use crate::record::{Seen, Span};
use crate::run::Measured;

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;
/// Whoever looks at the nodes sees a new term so late at most: one that does not answer keeps it waiting for a second.
const SEEN_WITHIN: u64 = 2 * SECOND;

/// A distribution of milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Distribution(Vec<u64>);

impl Distribution {
    pub(crate) fn new(mut millis: Vec<u64>) -> Self {
        millis.sort_unstable();
        Self(millis)
    }

    /// The least value that so many of a thousand do not exceed.
    pub(crate) fn at(&self, per_mille: usize) -> u64 {
        let last = self.0.len().saturating_sub(1);
        self.0
            .get((self.0.len() * per_mille).div_ceil(1_000).saturating_sub(1).min(last))
            .copied()
            .unwrap_or(0)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    fn json(&self) -> Value {
        json!({
            "count": self.count(), "min_ms": self.at(0), "median_ms": self.at(500), "p90_ms": self.at(900),
            "p99_ms": self.at(990), "max_ms": self.at(1_000),
        })
    }

    /// With every value, least first.
    fn json_with_values(&self) -> Value {
        let mut json = self.json();
        json["values_ms"] = json!(self.0);
        json
    }
}

/// The figures.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) name: String,
    pub(crate) load: (u64, u64),
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) records: usize,
    pub(crate) latency: Distribution,
    pub(crate) failover: Distribution,
    pub(crate) heal: Distribution,
    pub(crate) answers_again: Distribution,
    pub(crate) caught_up: Distribution,
    pub(crate) leader_changes: usize,
    pub(crate) faults: Vec<(&'static str, usize)>,
    pub(crate) converged_ms: u128,
    pub(crate) findings: Vec<Finding>,
    pub(crate) remarks: Vec<String>,
}

impl Figures {
    pub(crate) fn new(
        options: &Options,
        seen: &Seen,
        history: &History,
        measured: &Measured,
        findings: &[Finding],
    ) -> Self {
        let (began, ended) = measured.load;
        let within = seen.points.iter().filter(|point| point.start >= began && point.end <= ended);
        let writes: Vec<_> = within.filter(|point| point.writes).collect();
        let count = |outcome: Outcome| {
            writes.iter().filter(|point| point.outcome == outcome).count() as u64
        };
        let acknowledged = writes.iter().filter(|point| point.outcome == Outcome::Ok);
        let latency = acknowledged.map(|point| (point.end - point.start) / MILLI).collect();
        let mut faults: Vec<(&'static str, usize)> = Vec::new();
        for span in seen.spans.iter().filter(|span| !span.undone) {
            match faults.iter_mut().find(|(name, _)| *name == span.name) {
                Some((_, count)) => *count += 1,
                None => faults.push((span.name, 1)),
            }
        }
        faults.sort_unstable();
        let (again, whole) = seen.restarts.iter().copied().unzip();
        Self {
            name: options.name(),
            load: measured.load,
            acknowledged: count(Outcome::Ok),
            refused: count(Outcome::Fail),
            unknown: count(Outcome::Unknown),
            records: history.records(),
            latency: Distribution::new(latency),
            failover: Distribution::new(failovers(seen)),
            heal: Distribution::new(seen.heals.clone()),
            answers_again: Distribution::new(again),
            caught_up: Distribution::new(whole),
            leader_changes: seen.leaders.len().saturating_sub(1),
            faults,
            converged_ms: measured.converged.as_millis(),
            findings: findings.to_vec(),
            remarks: seen.remarked(),
        }
    }

    pub(crate) fn seconds(&self) -> f64 {
        (self.load.1 - self.load.0) as f64 / SECOND as f64
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.acknowledged as f64 / self.seconds().max(0.001)
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        let faults: usize = self.faults.iter().map(|(_, count)| count).sum();
        let mut text = format!(
            "{}\n{} acknowledged in {:.0} s ({:.0} a second), {} unknown, {faults} faults, {} leader changes; \
             fail-over median {} ms, at most {} ms: {} findings",
            self.name,
            self.acknowledged,
            self.seconds(),
            self.per_second(),
            self.unknown,
            self.leader_changes,
            self.failover.at(500),
            self.failover.at(1_000),
            self.findings.len()
        );
        for finding in self.findings.iter().take(20) {
            text += &format!("\n  {:?}: {}", finding.kind, finding.detail);
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let faults: serde_json::Map<String, Value> =
            self.faults.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
        json!({
            "name": self.name, "ok": self.findings.is_empty(), "seconds": self.seconds(),
            "acknowledged": self.acknowledged, "acknowledged_per_s": self.per_second(), "refused": self.refused,
            "unknown": self.unknown, "records": self.records, "faults": faults, "leader_changes": self.leader_changes,
            "latency": self.latency.json(), "fail_over": self.failover.json_with_values(),
            "partition_heal": self.heal.json_with_values(),
            "restart_answers": self.answers_again.json_with_values(),
            "restart_caught_up": self.caught_up.json_with_values(),
            "converged_ms": u64::try_from(self.converged_ms).unwrap_or(u64::MAX),
            "findings": self.findings, "remarks": self.remarks,
        })
    }

    /// Writes the summary, the picture and the page.
    pub(crate) fn write(&self, dir: &Path, seen: &Seen) -> Result<()> {
        std::fs::write(dir.join("summary.json"), format!("{:#}\n", self.json()))?;
        let picture = draw(&self.name, self.load, seen);
        std::fs::write(dir.join("report.html"), page(self, seen, &picture))?;
        Ok(std::fs::write(dir.join("timeline.svg"), picture)?)
    }
}

/// From the moment when a leader was taken away until a sale is sealed that began afterwards. A fault that did not end a
/// leader's term is none to measure: what is sealed then says nothing of another leader.
fn failovers(seen: &Seen) -> Vec<u64> {
    let sealed = seen.points.iter().filter(|point| point.sealed && point.outcome == Outcome::Ok);
    let mut points: Vec<(u64, u64)> = sealed.map(|point| (point.start, point.end)).collect();
    points.sort_unstable();
    // The earliest end of everything that began at a point or later.
    let mut earliest = u64::MAX;
    for (_, end) in points.iter_mut().rev() {
        earliest = earliest.min(*end);
        *end = earliest;
    }
    let first_after = |span: &Span| {
        let from = points.partition_point(|(start, _)| *start < span.hit);
        let (_, end) = points.get(from)?;
        let term = seen.terms.get(seen.terms.partition_point(|at| *at <= span.hit))?;
        let is_its = *term <= span.end.max(*end) + SEEN_WITHIN;
        is_its.then_some((end - span.hit) / MILLI)
    };
    let taken = seen.spans.iter().filter(|span| span.leader && !span.undone);
    taken.filter_map(first_after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Point;

    #[test]
    fn only_new_sales_after_a_leader_was_replaced_count_as_fail_over() {
        let point = |start: u64, sealed| Point {
            start: start * MILLI,
            end: (start + 10) * MILLI,
            outcome: Outcome::Ok,
            writes: true,
            sealed,
        };
        let span = |hit: u64, leader, undone| Span {
            name: "kill",
            target: String::new(),
            start: hit * MILLI,
            end: (hit + 1_000) * MILLI,
            hit: hit * MILLI,
            leader,
            undone,
        };
        let mut seen = Seen {
            points: vec![point(50, true), point(120, false), point(700, true)],
            spans: vec![span(100, true, false), span(100, false, false), span(100, true, true)],
            ..Seen::default()
        };
        // Nobody led in a later term afterwards.
        assert!(failovers(&seen).is_empty());
        seen.terms = vec![10 * MILLI, 650 * MILLI];
        assert_eq!(failovers(&seen), [610]);
        seen.terms = vec![10 * MILLI, 60_000 * MILLI];
        assert!(failovers(&seen).is_empty());
    }

    #[test]
    fn every_value_is_in_the_summary() {
        let json = Distribution::new(vec![3, 1, 2]).json_with_values();
        assert_eq!((&json["values_ms"], &json["count"]), (&json!([1, 2, 3]), &json!(3)));
    }
}
