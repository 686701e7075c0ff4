//! Figures of the deliveries, for Prometheus.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::destination::Outcome;
use super::kept::Standing;
use crate::metrics::{head, line};

/// One destination's.
#[derive(Debug, Clone)]
pub(crate) struct Gauge {
    /// Leaves that were not looked at, and events that are pending.
    pub(crate) lag_events: u64,
    /// Since the oldest event that is not settled happened.
    pub(crate) lag_ms: u64,
    pub(crate) is_active: bool,
    pub(crate) standing: Standing,
}

#[derive(Debug, Default)]
struct Shown {
    gauges: BTreeMap<String, Gauge>,
    shards: usize,
    in_flight: usize,
    feed_bytes: usize,
}

/// What is shown.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    delivered: AtomicU64,
    failed: AtomicU64,
    shown: Mutex<Shown>,
}

impl Figures {
    pub(crate) fn attempted(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Delivered => &self.delivered,
            Outcome::Failed { .. } | Outcome::Gone => &self.failed,
            Outcome::Undeliverable { .. } | Outcome::Withdrawn { .. } => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn show(
        &self,
        gauges: BTreeMap<String, Gauge>,
        shards: usize,
        in_flight: usize,
        feed_bytes: usize,
    ) {
        let shown = Shown { gauges, shards, in_flight, feed_bytes };
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    pub(crate) fn exposition(&self, out: &mut String) {
        let name = "fiscus_delivery_attempts_total";
        head(out, name, "counter", "Attempts to deliver, by their result.");
        for (result, count) in [("delivered", &self.delivered), ("failed", &self.failed)] {
            let count = count.load(Ordering::Relaxed).to_string();
            line(out, &format!("{name}{{result=\"{result}\"}}"), &count);
        }
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, help, value) in [
            (
                "fiscus_delivery_shards",
                "Parts of the destinations that this gateway serves.",
                shown.shards,
            ),
            ("fiscus_delivery_in_flight", "Attempts that wait for an answer.", shown.in_flight),
            ("fiscus_delivery_feed_bytes", "Events in memory, in bytes.", shown.feed_bytes),
        ] {
            head(out, name, "gauge", help);
            line(out, name, &value.to_string());
        }
        type Read = fn(&Gauge) -> String;
        let each: [(&str, &str, Read); 4] = [
            ("fiscus_delivery_lag_events", "Events and other leaves that are not settled.", |it| {
                it.lag_events.to_string()
            }),
            (
                "fiscus_delivery_lag_seconds",
                "Since the oldest event that is not settled happened.",
                |it| format!("{}.{:03}", it.lag_ms / 1_000, it.lag_ms % 1_000),
            ),
            ("fiscus_delivery_failures", "Failures in a row.", |it| {
                it.standing.failures.to_string()
            }),
            (
                "fiscus_delivery_active",
                "1 while something is sent, 0 while paused or disabled.",
                |it| u8::from(it.is_active).to_string(),
            ),
        ];
        for (name, help, read) in each {
            head(out, name, "gauge", help);
            for (destination, gauge) in &shown.gauges {
                line(out, &format!("{name}{{destination=\"{destination}\"}}"), &read(gauge));
            }
        }
    }
}
