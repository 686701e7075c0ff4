//! Figures of one gateway, for Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency histogram, in microseconds.
const BUCKETS_US: [u64; 14] = [
    500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000,
];

/// Problems that an operator watches, by their codes.
const WATCHED: [&str; 6] = [
    "CLUSTER_BUSY",
    "CLUSTER_UNAVAILABLE",
    "INTERNAL_ERROR",
    "OUTCOME_UNKNOWN",
    "OVERLOADED",
    "RATE_LIMITED",
];

/// What is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Answers by the first digit of their status.
    answers: [AtomicU64; 6],
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    took_us: AtomicU64,
    problems: [AtomicU64; WATCHED.len()],
}

impl Metrics {
    /// Counts an answer.
    pub fn request(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).min(self.answers.len() - 1);
        self.answers[class].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.iter().position(|bound| us <= *bound).unwrap_or(BUCKETS_US.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.took_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Counts a problem that was answered, if it is one of those that are watched.
    pub fn problem(&self, code: &str) {
        if let Some(at) = WATCHED.iter().position(|known| *known == code) {
            self.problems[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The figures as Prometheus reads them.
    #[must_use]
    pub fn exposition(&self) -> String {
        let mut out = String::new();
        head(&mut out, "fiscus_gateway_answers_total", "counter", "Answers by class of status.");
        for (class, count) in self.answers.iter().enumerate().skip(1) {
            let count = count.load(Ordering::Relaxed);
            line(
                &mut out,
                &format!("fiscus_gateway_answers_total{{class=\"{class}xx\"}}"),
                &count.to_string(),
            );
        }
        let name = "fiscus_gateway_problems_total";
        head(&mut out, name, "counter", "Problems that were answered, by their codes.");
        for (code, count) in WATCHED.iter().zip(&self.problems) {
            let count = count.load(Ordering::Relaxed).to_string();
            line(&mut out, &format!("{name}{{code=\"{code}\"}}"), &count);
        }
        let name = "fiscus_gateway_request_seconds";
        head(&mut out, name, "histogram", "From a request's head to its answer.");
        let mut total = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            total += bucket.load(Ordering::Relaxed);
            let bound = BUCKETS_US.get(at).map_or_else(|| "+Inf".to_owned(), |us| seconds(*us));
            line(&mut out, &format!("{name}_bucket{{le=\"{bound}\"}}"), &total.to_string());
        }
        line(&mut out, &format!("{name}_sum"), &seconds(self.took_us.load(Ordering::Relaxed)));
        line(&mut out, &format!("{name}_count"), &total.to_string());
        out
    }
}

/// A metric's head.
pub(crate) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("text takes text");
}

/// One sample.
pub(crate) fn line(out: &mut String, name: &str, value: &str) {
    writeln!(out, "{name} {value}").expect("text takes text");
}

fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}
