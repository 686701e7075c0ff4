//! How the device is, told to the cluster: a document of the directory, written when something that people look at
//! has changed, and otherwise now and then. It is no record of any journal: what it says is of today only.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fiscus_ledger::device_seal::device_key;
use fiscus_ledger::payload::Object;
use fiscus_proto::client::Answer;
use fiscus_proto::command::{Command, PutDocument, command};
use fiscus_proto::ledger::ReadDocumentRequest;
use tokio::time::Instant;

use super::Attached;
use crate::port::{DIRECTORY, LINEARIZABLE, Port};

/// The kind of document.
pub(crate) const DEVICE_HEALTH: &str = "device_health";
/// It is written at least so often while the device is there, and at most so often.
const OFTEN: Duration = Duration::from_secs(60);
const SELDOM: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(3);

/// What was last told.
#[derive(Debug)]
pub(crate) struct Health {
    told: Option<(Told, Instant)>,
    tried: Option<Instant>,
}

/// What is worth a word when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    state: &'static str,
    firmware: String,
    stopped: bool,
    drift: Option<&'static str>,
    little_memory: bool,
}

/// Below this a device's memory is nearly full.
const LITTLE_BYTES: u64 = 1 << 20;

impl Health {
    pub(crate) fn new() -> Self {
        Self { told: None, tried: None }
    }

    /// Tells the cluster how the device is, if it is time.
    pub(crate) async fn tell(&mut self, port: &Port, attached: &Attached) {
        let now = Instant::now();
        let told = told(port, attached);
        attached.figures.drift.store(told.drift.is_some(), Ordering::Relaxed);
        let due = match &self.told {
            None => true,
            Some((known, at)) if *known == told => now >= *at + OFTEN,
            Some((_, at)) => now >= *at + SELDOM,
        };
        if !due || self.tried.is_some_and(|tried| now < tried + SELDOM) {
            return;
        }
        self.tried = Some(now);
        match write(port, attached, &told).await {
            Ok(()) => (self.told, self.tried) = (Some((told, now)), None),
            Err(detail) => tracing::debug!(detail, "how the device is was not told"),
        }
    }
}

fn told(port: &Port, attached: &Attached) -> Told {
    let figures = &attached.figures;
    let fact = port.shared().devices.fact(attached.device_id());
    let key_fits = fact
        .is_none_or(|fact| fact.public_key.is_empty() || device_key(&fact.public_key).is_some());
    let mode = figures.mode.load(Ordering::Acquire);
    let drift = match (key_fits, mode, figures.next.load(Ordering::Relaxed)) {
        (false, _, _) => Some("the registered key is none of a real device"),
        (_, 1, _) => Some("the ledger seals for the outlet, and a real device is attached"),
        (_, _, next) if next > 0 && next <= figures.imported.load(Ordering::Relaxed) => {
            Some("the device's journal ends before what was imported of it")
        }
        _ => None,
    };
    let free = figures.free_bytes.load(Ordering::Relaxed);
    let met = figures.met.load(Ordering::Relaxed) > 0;
    let firmware = attached.status.borrow().as_ref().map(|status| status.firmware_version.clone());
    Told {
        state: if figures.up.load(Ordering::Relaxed) { "up" } else { "away" },
        firmware: firmware.unwrap_or_default(),
        stopped: figures.stopped.load(Ordering::Relaxed),
        drift,
        little_memory: met && free < LITTLE_BYTES,
    }
}

async fn write(port: &Port, attached: &Attached, told: &Told) -> Result<(), String> {
    let cluster = &port.shared().cluster;
    let id = attached.device_id().to_owned();
    let request = ReadDocumentRequest {
        kind: DEVICE_HEALTH.to_owned(),
        id: id.clone(),
        consistency: LINEARIZABLE,
    };
    let read = cluster.read_document(request, LIMIT).await.map_err(|error| error.to_string())?;
    let as_of = read.as_of.unwrap_or_default().time_ms;
    let version = read.document.map_or(0, |document| document.version);
    let figures = &attached.figures;
    let count = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
    let text = Object::new()
        .text("state", told.state)
        .text("firmware_version", &told.firmware)
        .count("last_sequence", count(&figures.next).saturating_sub(1))
        .count("imported_sequence", count(&figures.imported))
        .count("free_memory_bytes", count(&figures.free_bytes))
        .count("queue_depth", count(&figures.queued))
        .count("reconnects", count(&figures.met).saturating_sub(1))
        .flag("import_stopped", told.stopped)
        .optional("drift", told.drift)
        .text("last_seen", &fiscus_ledger::time::UnixMs::new(as_of).to_string())
        .optional("certificate_expires_at", port.shared().certificate_expires.as_deref())
        .finish();
    let put = PutDocument {
        kind: DEVICE_HEALTH.to_owned(),
        id,
        expected_version: version,
        bytes: text.into_bytes().into(),
    };
    let command = Command { command: Some(command::Command::PutDocument(put)) };
    match cluster.submit(DIRECTORY, command, LIMIT).await {
        Ok(Answer::Refused(refusal)) => Err(refusal.detail),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{error:?}")),
    }
}
