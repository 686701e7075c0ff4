//! Figures of one proxy, for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::DeviceSection;
use crate::protocol::Code;

/// Upper bounds of the latency histogram, in milliseconds.
const BUCKETS_MS: [u64; 11] = [1, 2, 5, 10, 20, 50, 100, 500, 1_000, 2_000, 5_000];

/// What is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// By device and code; no code is `OK`. Few rows, held for a moment.
    answers: Mutex<BTreeMap<(String, &'static str), u64>>,
    buckets: [AtomicU64; BUCKETS_MS.len() + 1],
    took_us: AtomicU64,
    hosts: BTreeMap<String, AtomicU64>,
}

impl Metrics {
    pub(crate) fn new(devices: &[DeviceSection]) -> Self {
        let hosts = devices.iter().map(|device| (device.device_id.clone(), AtomicU64::new(0)));
        Self {
            answers: Mutex::default(),
            buckets: Default::default(),
            took_us: AtomicU64::new(0),
            hosts: hosts.collect(),
        }
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, device_id: &str, code: Option<Code>) {
        let code = code.map_or("OK", Code::as_str);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry((device_id.to_owned(), code)).or_default() += 1;
    }

    /// Counts a call to the cluster.
    pub(crate) fn called(&self, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MS.iter().position(|bound| ms <= *bound).unwrap_or(BUCKETS_MS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.took_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Counts a host for as long as it is held.
    pub(crate) fn host<'m>(&'m self, device_id: &str) -> Option<CountedHost<'m>> {
        let hosts = self.hosts.get(device_id)?;
        hosts.fetch_add(1, Ordering::Relaxed);
        Some(CountedHost(hosts))
    }

    /// The figures as Prometheus reads them, with how each device stands.
    pub(crate) fn exposition(&self, standing: impl Fn(&str) -> &'static str) -> String {
        let mut out = String::new();
        let name = "fiscus_proxy_answers_total";
        head(&mut out, name, "counter", "Answers to hosts by device and code.");
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((device, code), count) in answers {
            let device = label(&device);
            line(&mut out, &format!("{name}{{device=\"{device}\",code=\"{code}\"}}"), &count);
        }
        let name = "fiscus_proxy_hosts";
        head(&mut out, name, "gauge", "Hosts that are connected.");
        for (device, hosts) in &self.hosts {
            let hosts = hosts.load(Ordering::Relaxed);
            line(&mut out, &format!("{name}{{device=\"{}\"}}", label(device)), &hosts);
        }
        let name = "fiscus_proxy_device_state";
        head(&mut out, name, "gauge", "1 for the state that a device is in.");
        for device in self.hosts.keys() {
            let state = standing(device);
            let device = label(device);
            line(&mut out, &format!("{name}{{device=\"{device}\",state=\"{state}\"}}"), &1);
        }
        let name = "fiscus_proxy_call_seconds";
        head(&mut out, name, "histogram", "What the cluster took for a command.");
        let mut total = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            total += bucket.load(Ordering::Relaxed);
            let bound = BUCKETS_MS.get(at).map_or_else(
                || "+Inf".to_owned(),
                |ms| format!("{}.{:03}", ms / 1_000, ms % 1_000),
            );
            line(&mut out, &format!("{name}_bucket{{le=\"{bound}\"}}"), &total);
        }
        let us = self.took_us.load(Ordering::Relaxed);
        let sum = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
        line(&mut out, &format!("{name}_sum"), &sum);
        line(&mut out, &format!("{name}_count"), &total);
        out
    }
}

/// A host that is counted.
#[derive(Debug)]
pub(crate) struct CountedHost<'m>(&'m AtomicU64);

impl Drop for CountedHost<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A metric's head.
pub(crate) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("text takes text");
}

/// One sample.
pub(crate) fn line(out: &mut String, name: &str, value: &dyn std::fmt::Display) {
    writeln!(out, "{name} {value}").expect("text takes text");
}

/// Text as a label's value.
pub(crate) fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
