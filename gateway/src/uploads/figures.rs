//! Figures of the uploads, for Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::round::Settled;
use crate::metrics::{head, line};

/// What is as it is now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shown {
    /// Outlets of which something waits.
    pub(crate) outlets: usize,
    /// Of them, those whose oldest invoice has waited for longer than the grace period.
    pub(crate) late: usize,
    /// How long the oldest invoice has waited.
    pub(crate) oldest_ms: u64,
    pub(crate) in_flight: usize,
    /// Attempts in a row without an answer.
    pub(crate) failures: u32,
    /// Nothing is sent for so long.
    pub(crate) hold_ms: u64,
}

/// What is shown.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    acknowledged: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    unanswered: AtomicU64,
    shown: Mutex<Shown>,
}

impl Figures {
    pub(crate) fn settled(&self, settled: &Settled) {
        for (counter, count) in [
            (&self.acknowledged, settled.acknowledged),
            (&self.rejected, settled.rejected),
            (&self.failed, settled.failed),
        ] {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn show(&self, shown: Shown) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    pub(crate) fn exposition(&self, out: &mut String) {
        let name = "fiscus_upload_invoices_total";
        head(
            out,
            name,
            "counter",
            "Invoices that the tax authority has answered for, by its answer.",
        );
        for (result, count) in [
            ("acknowledged", &self.acknowledged),
            ("rejected", &self.rejected),
            ("failed", &self.failed),
        ] {
            let count = count.load(Ordering::Relaxed).to_string();
            line(out, &format!("{name}{{result=\"{result}\"}}"), &count);
        }
        let name = "fiscus_upload_unanswered_total";
        head(out, name, "counter", "Batches that had no answer that could be believed.");
        line(out, name, &self.unanswered.load(Ordering::Relaxed).to_string());
        let shown = *self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = |ms: u64| format!("{}.{:03}", ms / 1_000, ms % 1_000);
        for (name, help, value) in [
            (
                "fiscus_upload_outlets",
                "Outlets with invoices that wait, of those that this gateway serves.",
                shown.outlets.to_string(),
            ),
            (
                "fiscus_upload_late_outlets",
                "Outlets whose oldest invoice has waited for longer than the grace period.",
                shown.late.to_string(),
            ),
            (
                "fiscus_upload_oldest_seconds",
                "Since the oldest invoice that waits was sealed.",
                seconds(shown.oldest_ms),
            ),
            ("fiscus_upload_in_flight", "Batches on their way.", shown.in_flight.to_string()),
            (
                "fiscus_upload_failures",
                "Attempts in a row without an answer.",
                shown.failures.to_string(),
            ),
            ("fiscus_upload_hold_seconds", "Nothing is sent for so long.", seconds(shown.hold_ms)),
        ] {
            head(out, name, "gauge", help);
            line(out, name, &value);
        }
    }
}
