//! What a node counts and measures, in the text format that Prometheus reads.
//!
//! Counters and histograms are atomics that the code at hand bumps; values that are states (positions,
//! sizes, offsets) are read when somebody asks.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fiscus_raft::latency::{BUCKETS_US, Histogram, Stages};

use crate::monitor::Integrity;

/// A count that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything that is counted and measured as it happens.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Commands that a batch took.
    pub commands: Counter,
    /// Commands that became records.
    pub recorded: Counter,
    /// Commands that had become records before.
    pub duplicates: Counter,
    /// Commands that the rules refused.
    pub refused: Counter,
    /// Commands that were not taken: busy.
    pub busy: Counter,
    /// Commands whose outcome nobody knows.
    pub unknown: Counter,
    /// Entries proposed.
    pub entries: Counter,
    /// Security alerts and other events that people must hear of.
    pub alerts: Counter,
    /// Cosignatures that witnesses gave.
    pub cosignatures: Counter,
    /// Times that a witness did not answer as one does.
    pub witness_failures: Counter,
    /// Times that a witness had seen another log than the one that it was shown.
    pub witness_forks: Counter,
    /// What the integrity monitor has come to.
    pub integrity: Integrity,
    /// From submission to the batch.
    pub queue: Histogram,
    /// From the proposal to its application here: append, replicate, commit, apply.
    pub commit: Histogram,
    /// Signing an entry's records.
    pub sign: Histogram,
    /// From submission to the answer.
    pub total: Histogram,
    /// A linearizable read's wait.
    pub read_index: Histogram,
    /// What happens between proposal and application.
    pub stages: Arc<Stages>,
}

/// One line of a metric: labels as they are printed, and the value.
#[derive(Debug, Clone)]
pub struct Sample {
    /// As in `group="1"`; empty for none.
    pub labels: String,
    /// The value.
    pub value: f64,
}

/// The text that is served.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Adds a counter.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        let _ = writeln!(self.text, "{name} {value}");
    }

    /// Adds values that are states.
    pub fn gauges(&mut self, name: &str, help: &str, samples: &[Sample]) {
        if samples.is_empty() {
            return;
        }
        self.head(name, help, "gauge");
        for sample in samples {
            let labels = if sample.labels.is_empty() {
                String::new()
            } else {
                format!("{{{}}}", sample.labels)
            };
            let _ = writeln!(self.text, "{name}{labels} {}", sample.value);
        }
    }

    /// Adds a histogram.
    pub fn histogram(&mut self, name: &str, help: &str, of: &Histogram) {
        self.buckets(name, help, &BUCKETS_US, &of.counts(), of.sum_us());
    }

    /// Adds a histogram that somebody else keeps: `counts` has one more than `bounds_us`.
    pub fn buckets(
        &mut self,
        name: &str,
        help: &str,
        bounds_us: &[u64],
        counts: &[u64],
        sum_us: u64,
    ) {
        self.head(name, help, "histogram");
        let mut below = 0;
        for (bound, count) in bounds_us.iter().zip(counts) {
            below += count;
            let _ = writeln!(self.text, "{name}_bucket{{le=\"{}\"}} {below}", seconds(*bound));
        }
        let all: u64 = counts.iter().sum();
        let _ = writeln!(self.text, "{name}_bucket{{le=\"+Inf\"}} {all}");
        let _ = writeln!(self.text, "{name}_sum {}", seconds(sum_us));
        let _ = writeln!(self.text, "{name}_count {all}");
    }

    /// Adds everything that was counted and measured.
    pub fn metrics(&mut self, of: &Metrics) {
        let integrity = &of.integrity;
        let counters: [(&str, &str, &Counter); 15] = [
            ("fiscus_commands_total", "Commands that a batch took.", &of.commands),
            ("fiscus_recorded_total", "Commands that became records.", &of.recorded),
            ("fiscus_duplicates_total", "Commands that had become records before.", &of.duplicates),
            ("fiscus_refused_total", "Commands that the rules refused.", &of.refused),
            ("fiscus_busy_total", "Commands not taken: busy.", &of.busy),
            ("fiscus_unknown_total", "Commands whose outcome is not known.", &of.unknown),
            ("fiscus_entries_total", "Entries proposed.", &of.entries),
            ("fiscus_alerts_total", "Events that people must hear of.", &of.alerts),
            ("fiscus_cosignatures_total", "Cosignatures of witnesses.", &of.cosignatures),
            (
                "fiscus_witness_failures_total",
                "Witnesses that did not cosign.",
                &of.witness_failures,
            ),
            ("fiscus_integrity_leaves_total", "Leaves read and compared.", &integrity.leaves),
            ("fiscus_integrity_passes_total", "Groups read to their end.", &integrity.passes),
            ("fiscus_integrity_findings_total", "What was found wrong.", &integrity.findings),
            ("fiscus_integrity_repairs_total", "What was put right.", &integrity.repairs),
            ("fiscus_witness_forks_total", "Witnesses that saw another log.", &of.witness_forks),
        ];
        for (name, help, counter) in counters {
            self.counter(name, help, counter.get());
        }
        let stages = &of.stages;
        let histograms: [(&str, &str, &Histogram); 8] = [
            ("fiscus_queue_seconds", "From submission to the batch.", &of.queue),
            ("fiscus_commit_seconds", "From proposal to application.", &of.commit),
            ("fiscus_append_seconds", "Until appended entries are durable here.", &stages.append),
            ("fiscus_replicate_seconds", "Until a follower answers.", &stages.replicate),
            ("fiscus_apply_seconds", "Applying one entry.", &stages.apply),
            ("fiscus_sign_seconds", "Signing an entry's records.", &of.sign),
            ("fiscus_submit_seconds", "From submission to the answer.", &of.total),
            ("fiscus_read_index_seconds", "A linearizable read's wait.", &of.read_index),
        ];
        for (name, help, histogram) in histograms {
            self.histogram(name, help, histogram);
        }
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}");
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
    }
}

/// Microseconds as seconds, digit by digit.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn seconds_are_spelled_exactly() {
        let rows = [(50, "0.00005"), (1_000_000, "1"), (2_500_000, "2.5"), (0, "0")];
        for (us, text) in rows {
            assert_eq!(seconds(us), text);
        }
    }

    #[test]
    fn buckets_add_up() {
        let histogram = Histogram::default();
        for us in [10, 50, 51, 1_000, 99_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let mut out = Exposition::default();
        out.histogram("h", "H.", &histogram);
        let text = out.finish();
        assert!(text.contains("h_bucket{le=\"0.00005\"} 2\n"), "{text}");
        assert!(text.contains("h_bucket{le=\"0.0001\"} 3\n"), "{text}");
        assert!(text.contains("h_bucket{le=\"0.001\"} 4\n"), "{text}");
        assert!(text.contains("h_bucket{le=\"+Inf\"} 5\n"), "{text}");
        assert!(text.contains("h_count 5\n"), "{text}");
    }
}
