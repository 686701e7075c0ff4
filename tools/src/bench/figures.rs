//! What was measured, as a table and as JSON.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::drive::{Pace, Step};
use super::workload::Workload;

/// Three digits of a time in microseconds, up to an hour.
const LONGEST_MICROS: u64 = 3_600_000_000;
const DIGITS: u8 = 3;
/// The quantiles that are told, in thousandths.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

/// What a worker, or all of them, have measured in a step.
#[derive(Debug)]
pub(super) struct Measured {
    /// Of submissions, in microseconds.
    times: Histogram<u64>,
    /// Invoices that were sealed in the time that counts.
    sealed: u64,
    /// Answers that were not clear, and so asked for again.
    pub(super) doubts: u64,
    pub(super) refused: u64,
    /// The first refusal's words.
    why: Option<String>,
}

impl Default for Measured {
    fn default() -> Self {
        // It cannot fail with these limits, which are checked by a test.
        let times =
            Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS).expect("its limits are right");
        Self { times, sealed: 0, doubts: 0, refused: 0, why: None }
    }
}

impl Measured {
    pub(super) fn record(&mut self, invoices: u64, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST_MICROS);
        self.times.saturating_record(micros.max(1));
        self.sealed += invoices;
    }

    pub(super) fn refuse(&mut self, why: String) {
        self.refused += 1;
        self.why.get_or_insert(why);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.times.add(&other.times).expect("all histograms have the same limits");
        self.sealed += other.sealed;
        self.doubts += other.doubts;
        self.refused += other.refused;
        if self.why.is_none() {
            self.why.clone_from(&other.why);
        }
    }
}

/// A step and what came of it.
#[derive(Debug)]
pub(super) struct StepFigures {
    step: Step,
    measured: Measured,
}

impl StepFigures {
    pub(super) fn new(step: &Step, measured: Measured) -> Self {
        Self { step: step.clone(), measured }
    }

    /// Invoices sealed a second.
    pub(super) fn rate(&self) -> f64 {
        self.measured.sealed as f64 / self.step.length.as_secs_f64()
    }

    /// How long so many of the submissions took at most, in milliseconds.
    pub(super) fn millis(&self, quantile: f64) -> f64 {
        self.measured.times.value_at_quantile(quantile) as f64 / 1_000.0
    }

    pub(super) fn name(&self) -> String {
        match self.step.pace {
            Pace::Closed => format!("{} clients", self.step.clients),
            Pace::Open { per_second } => format!("{per_second}/s due"),
        }
    }

    pub(super) fn line(&self) -> String {
        let times = QUANTILES.map(|(_, quantile)| format!("{:>9.2}", self.millis(quantile)));
        let mut line = format!("{:>14} {:>10.0} {}", self.name(), self.rate(), times.join(" "));
        if self.measured.doubts > 0 {
            line.push_str(&format!("  {} asked again", self.measured.doubts));
        }
        if let Some(why) = &self.measured.why {
            line.push_str(&format!("  {} refused: {why}", self.measured.refused));
        }
        line
    }

    fn json(&self) -> Value {
        let mut times = serde_json::Map::new();
        for (name, quantile) in QUANTILES {
            times.insert(name.to_owned(), json!(self.millis(quantile)));
        }
        let due = match self.step.pace {
            Pace::Closed => Value::Null,
            Pace::Open { per_second } => json!(per_second),
        };
        json!({
            "clients": self.step.clients,
            "due_per_second": due,
            "seconds": self.step.length.as_secs(),
            "sealed": self.measured.sealed,
            "sealed_per_second": self.rate(),
            "submissions": self.measured.times.len(),
            "milliseconds": times,
            "asked_again": self.measured.doubts,
            "refused": self.measured.refused,
            "refusal": self.measured.why,
        })
    }
}

/// All steps of a run.
#[derive(Debug)]
pub(super) struct Figures {
    via: &'static str,
    outlets: usize,
    invoice_bytes: usize,
    batch: usize,
    steps: Vec<StepFigures>,
}

impl Figures {
    pub(super) fn new(via: &'static str, workload: &Workload, batch: usize) -> Self {
        let (outlets, invoice_bytes) = (workload.roster().len(), workload.invoice_bytes());
        Self { via, outlets, invoice_bytes, batch, steps: Vec::new() }
    }

    pub(super) fn push(&mut self, step: StepFigures) {
        self.steps.push(step);
    }

    pub(super) fn steps(&self) -> &[StepFigures] {
        &self.steps
    }

    pub(super) fn refused(&self) -> u64 {
        self.steps.iter().map(|step| step.measured.refused).sum()
    }

    /// What was loaded, and how.
    pub(super) fn title(&self) -> String {
        let batch =
            if self.batch == 1 { String::new() } else { format!(", {} at once", self.batch) };
        format!(
            "{} outlets, invoices of {} bytes, {}{batch}",
            self.outlets, self.invoice_bytes, self.via
        )
    }

    pub(super) fn table(&self) -> String {
        let names = QUANTILES.map(|(name, _)| format!("{name:>9}")).join(" ");
        let mut table = format!("{}\n{:>14} {:>10} {names}  (ms)\n", self.title(), "", "sealed/s");
        for step in &self.steps {
            table.push_str(&step.line());
            table.push('\n');
        }
        table
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "via": self.via,
            "outlets": self.outlets,
            "invoice_bytes": self.invoice_bytes,
            "batch": self.batch,
            "steps": self.steps.iter().map(StepFigures::json).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_measured_adds_up() {
        let step = Step {
            clients: 2,
            pace: Pace::Closed,
            batch: 1,
            warm_up: Duration::ZERO,
            length: Duration::from_secs(2),
        };
        let mut all = Measured::default();
        for worker in [1, 3] {
            let mut measured = Measured::default();
            (0..50).for_each(|_| measured.record(1, Duration::from_millis(worker)));
            measured.doubts = 1;
            all.add(&measured);
        }
        let told = StepFigures::new(&step, all);
        assert!((told.rate() - 50.0).abs() < f64::EPSILON);
        assert!((told.millis(0.5) - 1.0).abs() < 0.01);
        assert!((told.millis(0.99) - 3.0).abs() < 0.01);
        assert!(told.line().contains("2 asked again"));
    }
}
