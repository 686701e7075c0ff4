//! What many seeds came to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::seed::Outcome;

/// Figures of many seeds.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    seeds: u64,
    counted: u64,
    failed: Vec<u64>,
    acknowledged: Vec<u64>,
    faults: Vec<u64>,
    leader_changes: Vec<u64>,
    restarts: Vec<u64>,
    quiet_ms: Vec<u64>,
    simulated_ms: u64,
    unknown: u64,
    repeated: u64,
    looks: u64,
    kinds: BTreeMap<String, u64>,
}

impl Outcome {
    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "seed {} {} seals {} unknown {} faults {} leader changes {} restarts {} quiet {} ms of {} ms, trace {}",
            self.seed,
            if self.wrong.is_empty() { "sound" } else { "FAILED" },
            self.acknowledged,
            self.unknown,
            self.faults.len(),
            self.leader_changes,
            self.restarts,
            self.quiet_ms,
            self.simulated_ms,
            self.trace_hash.get(..16).unwrap_or_default(),
        )
    }
}

impl Summary {
    /// Takes one more seed in.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.counted += u64::from(outcome.counts());
        if !outcome.wrong.is_empty() {
            self.failed.push(outcome.seed);
        }
        self.acknowledged.push(outcome.acknowledged);
        self.faults.push(outcome.faults.len() as u64);
        self.leader_changes.push(outcome.leader_changes);
        self.restarts.push(outcome.restarts);
        self.quiet_ms.push(outcome.quiet_ms);
        self.simulated_ms += outcome.simulated_ms;
        self.unknown += outcome.unknown;
        self.repeated += outcome.repeated;
        self.looks += outcome.looks;
        for kind in &outcome.faults {
            *self.kinds.entry(kind.clone()).or_default() += 1;
        }
    }

    /// Whether so few seeds count that they prove little: less than nine of ten, when there are at least ten.
    #[must_use]
    pub fn counts_too_few(&self) -> bool {
        self.seeds >= 10 && self.counted * 10 < self.seeds * 9
    }

    /// The figures as text.
    #[must_use]
    pub fn table(&self, took: Duration) -> String {
        let mut text = String::new();
        let seconds = took.as_secs_f64().max(0.001);
        let hours = Duration::from_millis(self.simulated_ms).as_secs_f64() / 3_600.0;
        let a_minute = f64::from(u32::try_from(self.seeds).unwrap_or(u32::MAX)) * 60.0 / seconds;
        let _ = writeln!(
            text,
            "{} seeds in {seconds:.0} s, {a_minute:.1} a minute; {} count; {hours:.2} simulated hours; {} failed {:?}",
            self.seeds,
            self.counted,
            self.failed.len(),
            self.failed,
        );
        let _ = writeln!(
            text,
            "{:<24}{:>8}{:>8}{:>8}{:>8}",
            "a seed has", "least", "median", "p90", "most"
        );
        let rows = [
            ("acknowledged seals", &self.acknowledged),
            ("faults", &self.faults),
            ("leader changes", &self.leader_changes),
            ("restarts", &self.restarts),
            ("ms until all is well", &self.quiet_ms),
        ];
        for (name, values) in rows {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let at = |part: usize| sorted.get((sorted.len().max(1) - 1) * part / 100).unwrap_or(&0);
            let _ =
                writeln!(text, "{name:<24}{:>8}{:>8}{:>8}{:>8}", at(0), at(50), at(90), at(100));
        }
        let _ = writeln!(
            text,
            "{} repetitions with equal bytes, {} attempts unknown, {} linearizable looks",
            self.repeated, self.unknown, self.looks
        );
        let kinds: Vec<String> = self.kinds.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
        let _ = write!(text, "faults: {}", kinds.join(", "));
        text
    }
}
