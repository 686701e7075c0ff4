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
        // There are at most as many as destinations that the cluster has room for, and those that were deleted are gone.
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
        type Count = fn(&Standing) -> u64;
        let totals: [(&str, &str, Count); 3] = [
            ("fiscus_delivery_delivered_total", "Events that were delivered.", |it| it.delivered),
            ("fiscus_delivery_failed_attempts_total", "Attempts that failed.", |it| it.failed),
            ("fiscus_delivery_dead_letters_total", "Events that were given up.", |it| it.dead),
        ];
        for (name, help, read) in totals {
            head(out, name, "counter", help);
            for (destination, gauge) in &shown.gauges {
                let value = read(&gauge.standing).to_string();
                line(out, &format!("{name}{{destination=\"{destination}\"}}"), &value);
            }
        }
        let name = "fiscus_delivery_success_ratio";
        head(out, name, "gauge", "Of all attempts, the part that went well.");
        for (destination, gauge) in &shown.gauges {
            let standing = &gauge.standing;
            let attempts = standing.delivered + standing.failed;
            let milli = (standing.delivered * 1_000).checked_div(attempts).unwrap_or(1_000);
            let value = format!("{}.{:03}", milli / 1_000, milli % 1_000);
            line(out, &format!("{name}{{destination=\"{destination}\"}}"), &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauge(delivered: u64, failed: u64) -> Gauge {
        let standing = Standing { delivered, failed, ..Standing::default() };
        Gauge { lag_events: 3, lag_ms: 1_500, is_active: true, standing }
    }

    #[test]
    fn each_destination_has_its_figures_and_one_that_is_gone_has_none() {
        let figures = Figures::default();
        let shown = |gauges: &[(&str, Gauge)]| {
            let gauges = gauges.iter().map(|(id, gauge)| ((*id).to_owned(), gauge.clone()));
            figures.show(gauges.collect(), 12, 0, 0);
            let mut out = String::new();
            figures.exposition(&mut out);
            out
        };
        let both = shown(&[("webhook/o/a", gauge(2, 1)), ("webhook/o/b", gauge(0, 0))]);
        for line in [
            "fiscus_delivery_lag_events{destination=\"webhook/o/a\"} 3",
            "fiscus_delivery_lag_seconds{destination=\"webhook/o/a\"} 1.500",
            "fiscus_delivery_delivered_total{destination=\"webhook/o/a\"} 2",
            "fiscus_delivery_failed_attempts_total{destination=\"webhook/o/a\"} 1",
            "fiscus_delivery_success_ratio{destination=\"webhook/o/a\"} 0.666",
            "fiscus_delivery_success_ratio{destination=\"webhook/o/b\"} 1.000",
        ] {
            assert!(both.lines().any(|known| known == line), "{line} in {both}");
        }
        let one = shown(&[("webhook/o/a", gauge(2, 1))]);
        assert!(!one.contains("webhook/o/b"), "{one}");
    }
}
