//! How a device is, told to the cluster: a document of the directory, written when something that people look at
//! has changed, and otherwise once a minute. It is no record of any journal: what it says is of today only. While the
//! proxy is cut off nothing is written, and that is what it is known by.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fiscus_ledger::device_seal::device_key;
use fiscus_ledger::payload::Object;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::Answer;
use fiscus_proto::command::{Command, PutDocument, command};
use fiscus_proto::ledger::ReadDocumentRequest;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::attach::Attached;
use crate::offline::{Colour, Moment, Standing as Till, TillReport};
use crate::port::{DIRECTORY, LINEARIZABLE, Port, number_prefix};
use crate::protocol::Standing;
use crate::protocol::crc32::crc32;

/// The kind of document.
const DEVICE_HEALTH: &str = "device_health";
/// The version of the device protocol.
const PROTOCOL_VERSION: u64 = 1;
/// It is looked whether something has changed.
const LOOK: Duration = Duration::from_secs(1);
/// It is written at least so often while the device is there, and at most so often.
const OFTEN: Duration = Duration::from_secs(60);
const SELDOM: Duration = Duration::from_secs(10);
/// Devices of one kind are not all told of in the same second: each is a part of this earlier.
const SPREAD_MS: u64 = 20_000;
/// A real device that was not met yet is told of after so long.
const UNMET: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(3);
/// Another firmware of a real device is told for so long.
const FIRMWARE_TOLD_MS: u64 = 7 * 24 * 3_600_000;
/// Below this a device's memory is nearly full.
const LITTLE_BYTES: u64 = 1 << 20;
/// With fewer numbers an outage of some hours is too long.
const FEW_NUMBERS: u64 = 50;

/// What is worth a word when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    state: &'static str,
    /// None while a real device was not met.
    firmware: Option<String>,
    stopped: bool,
    drift: Option<&'static str>,
    little_memory: bool,
    till: Option<TillTold>,
    manifest: Option<String>,
}

/// The same of a till. Figures that every sale changes are told with the rest, and are no reason to tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TillTold {
    colour: Colour,
    reason: Option<String>,
    until: Option<UnixMs>,
    refused: u64,
    damages: u64,
    waits: bool,
    few_numbers: bool,
}

impl TillTold {
    fn of(till: &Till) -> Self {
        let reason = till.why.as_deref().map(|why| why.split(':').next().unwrap_or(why));
        Self {
            colour: till.colour,
            reason: reason.map(str::to_owned),
            until: till.until,
            refused: till.refused,
            damages: till.damages,
            waits: till.waiting > 0,
            few_numbers: till.numbers_left < FEW_NUMBERS,
        }
    }
}

/// What is read of the document that was written before.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Before {
    role: Option<String>,
    firmware_version: String,
    firmware_before: Option<String>,
    firmware_changed_at: Option<String>,
}

/// Tells how a device is for as long as it is polled. One that is not registered, or has gone, is not told of.
pub(crate) async fn tell(port: Arc<Port>) {
    let (mut known, mut tried): (Option<(Told, Instant)>, Option<Instant>) = (None, None);
    let (began, often) = (Instant::now(), OFTEN - spread(port.device_id()));
    let mut group = GroupSeen::default();
    loop {
        sleep(LOOK).await;
        let standing = port.shared().devices.standing(port.device_id());
        if !matches!(standing, Standing::Registered | Standing::Active) {
            continue;
        }
        let till = match port.till() {
            Some(till) => Some(till.with(|till| till.report(Moment::now())).await),
            None => None,
        };
        if port.attached().is_none() && till.is_none() {
            group.look(&port).await;
        }
        let told = told(&port, till.as_ref(), group.answers);
        let now = Instant::now();
        if told.firmware.is_none() && now < began + UNMET {
            continue;
        }
        let due = match &known {
            None => true,
            Some((before, at)) if *before == told => now >= *at + often,
            Some((_, at)) => now >= *at + SELDOM,
        };
        if !due || tried.is_some_and(|tried| now < tried + SELDOM) {
            continue;
        }
        tried = Some(now);
        match write(&port, till.as_ref(), &told).await {
            Ok(()) => (known, tried) = (Some((told, now)), None),
            Err(detail) => tracing::debug!(detail, "how the device is was not told"),
        }
    }
}

/// A part of the spread that is always the same for a device.
fn spread(device_id: &str) -> Duration {
    let hash = u64::from(crc32(device_id.as_bytes()));
    Duration::from_millis(hash % SPREAD_MS)
}

/// Whether the outlet's group answers a device that has nothing but it.
#[derive(Debug, Default)]
struct GroupSeen {
    answers: bool,
    looked: Option<Instant>,
}

impl GroupSeen {
    /// Reads the outlet, now and then, as a sale would.
    async fn look(&mut self, port: &Port) {
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now < looked + SELDOM) {
            return;
        }
        self.looked = Some(now);
        let until = now + LIMIT;
        self.answers = match port.outlet_by(until).await {
            Ok(outlet) => port.counters_by(&outlet, until).await.is_ok(),
            Err(_) => false,
        };
    }
}

fn told(port: &Port, till: Option<&TillReport>, group_answers: bool) -> Told {
    let Some(attached) = port.attached() else {
        return Told {
            state: if till.is_some() || group_answers { "up" } else { "away" },
            firmware: Some(env!("CARGO_PKG_VERSION").to_owned()),
            stopped: false,
            drift: None,
            little_memory: false,
            till: till.map(|till| TillTold::of(&till.standing)),
            manifest: till.and_then(|till| till.manifest_version.clone()),
        };
    };
    let figures = &attached.figures;
    let drift = drift(port, attached);
    figures.drift.store(drift.is_some(), Ordering::Relaxed);
    let free = figures.free_bytes.load(Ordering::Relaxed);
    let met = figures.met.load(Ordering::Relaxed) > 0;
    let firmware = attached.status.borrow().as_ref().map(|status| status.firmware_version.clone());
    Told {
        state: if figures.up.load(Ordering::Relaxed) { "up" } else { "away" },
        firmware,
        stopped: figures.stopped.load(Ordering::Relaxed),
        drift,
        little_memory: met && free < LITTLE_BYTES,
        till: None,
        manifest: None,
    }
}

/// In what a real device is not as the cluster has it.
fn drift(port: &Port, attached: &Attached) -> Option<&'static str> {
    let figures = &attached.figures;
    let fact = port.shared().devices.fact(attached.device_id());
    let key_fits = fact
        .is_none_or(|fact| fact.public_key.is_empty() || device_key(&fact.public_key).is_some());
    let mode = figures.mode.load(Ordering::Acquire);
    match (key_fits, mode, figures.next.load(Ordering::Relaxed)) {
        (false, _, _) => Some("the registered key is none of a real device"),
        (_, 1, _) => Some("the ledger seals for the outlet, and a real device is attached"),
        (_, _, next) if next > 0 && next <= figures.imported.load(Ordering::Relaxed) => {
            Some("the device's journal ends before what was imported of it")
        }
        _ => None,
    }
}

async fn write(port: &Port, till: Option<&TillReport>, told: &Told) -> Result<(), String> {
    let cluster = &port.shared().cluster;
    let id = port.device_id().to_owned();
    let request = ReadDocumentRequest {
        kind: DEVICE_HEALTH.to_owned(),
        id: id.clone(),
        consistency: LINEARIZABLE,
    };
    let read = cluster.read_document(request, LIMIT).await.map_err(|error| error.to_string())?;
    let now = UnixMs::new(read.as_of.unwrap_or_default().time_ms);
    let (version, before) = match &read.document {
        None => (0, Before::default()),
        // What an older or newer proxy wrote is written over.
        Some(known) => (known.version, serde_json::from_slice(&known.bytes).unwrap_or_default()),
    };
    let role = if port.attached().is_some() { "attach" } else { "serve" };
    // What a real device has is what it had, until it says so itself.
    let firmware = told.firmware.clone().unwrap_or_else(|| before.firmware_of_a_real_one());
    let text = Object::new()
        .text("role", role)
        .text("state", told.state)
        .text("firmware_version", &firmware)
        .count("protocol_version", PROTOCOL_VERSION);
    let text = match changed_firmware(role, &before, &firmware, now) {
        Some((firmware, at)) => {
            text.text("firmware_before", &firmware).text("firmware_changed_at", &at)
        }
        None => text,
    };
    let outlet = port.outlet_by(Instant::now() + LIMIT).await.map_err(|fault| fault.detail)?;
    let text = text.text("outlet_id", &outlet.outlet_id);
    let text = match (port.attached(), till) {
        (Some(attached), _) => of_a_real_one(text, attached),
        (None, Some(till)) => of_a_till(text, till),
        (None, None) => {
            let free = cluster.free_bytes(outlet.group, LIMIT).await.unwrap_or_default();
            figures(text.text("number_prefix", &number_prefix(&outlet)), [0, 0, free, 0, 0])
        }
    };
    let text = text
        .flag("import_stopped", told.stopped)
        .optional("drift", told.drift)
        .text("last_seen", &now.to_string())
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
        Err(error) => Err(error.to_string()),
    }
}

impl Before {
    /// That of a real device; a proxy's own version is none.
    fn firmware_of_a_real_one(&self) -> String {
        let real = self.role.as_deref() != Some("serve");
        if real { self.firmware_version.clone() } else { String::new() }
    }
}

/// The firmware that a real device had before, and when another one was first told.
fn changed_firmware(
    role: &str,
    before: &Before,
    firmware: &str,
    now: UnixMs,
) -> Option<(String, String)> {
    let known = &before.firmware_of_a_real_one();
    if role == "attach" && !known.is_empty() && !firmware.is_empty() && known != firmware {
        return Some((known.clone(), now.to_string()));
    }
    let (old, at) = before.firmware_before.clone().zip(before.firmware_changed_at.clone())?;
    let since = UnixMs::parse_canonical(&at)?.get();
    // Set back to what it was, nothing has changed.
    let tell = now.get().saturating_sub(since) < FIRMWARE_TOLD_MS && old != firmware;
    tell.then_some((old, at))
}

/// Last sequence, imported sequence, free bytes, queue, reconnects.
fn figures(text: Object, [last, imported, free, queue, reconnects]: [u64; 5]) -> Object {
    text.count("last_sequence", last)
        .count("imported_sequence", imported)
        .count("free_memory_bytes", free)
        .count("queue_depth", queue)
        .count("reconnects", reconnects)
}

fn of_a_real_one(text: Object, attached: &Attached) -> Object {
    let known = &attached.figures;
    let count = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    // In this order: what is sealed and imported between the two is no entry that was lost.
    let imported = count(&known.imported);
    let last = count(&known.next).saturating_sub(1);
    let reconnects = count(&known.met).saturating_sub(1);
    let told = [last, imported, count(&known.free_bytes), count(&known.queued), reconnects];
    figures(text, told)
}

fn of_a_till(text: Object, till: &TillReport) -> Object {
    let standing = &till.standing;
    let offline = Object::new()
        .text("state", standing.colour.as_str())
        .optional("why", standing.why.as_deref())
        .count("numbers_left", standing.numbers_left)
        .optional("until", standing.until.map(|until| until.to_string()).as_deref())
        .count("waiting", standing.waiting)
        .optional("waiting_since", standing.waiting_since.map(|since| since.to_string()).as_deref())
        .count("refused", standing.refused)
        .count("damages", standing.damages)
        .count("spool_bytes", standing.spool_bytes)
        .finish();
    let text = text
        .optional("number_prefix", till.number_prefix.as_deref())
        .optional("tax_manifest_version", till.manifest_version.as_deref())
        .json("offline", &offline);
    figures(text, [till.last_sequence, 0, till.free_bytes, standing.waiting, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sale_is_no_reason_to_tell_how_a_till_is() {
        let till = Till {
            colour: Colour::Blocked,
            why: Some("STORAGE_FULL: 3 bytes are left".to_owned()),
            numbers_left: 400,
            until: Some(UnixMs::new(9)),
            waiting: 3,
            waiting_since: Some(UnixMs::new(1)),
            refused: 0,
            damages: 0,
            spool_bytes: 4_096,
        };
        let told = TillTold::of(&till);
        let sold = Till {
            why: Some("STORAGE_FULL: 2 bytes are left".to_owned()),
            numbers_left: 399,
            waiting: 4,
            waiting_since: Some(UnixMs::new(2)),
            spool_bytes: 5_000,
            ..till.clone()
        };
        assert_eq!(TillTold::of(&sold), told);
        for other in [
            Till { colour: Colour::Online, ..till.clone() },
            Till { why: None, ..till.clone() },
            Till { numbers_left: 49, ..till.clone() },
            Till { until: None, ..till.clone() },
            Till { waiting: 0, ..till.clone() },
            Till { refused: 1, ..till.clone() },
            Till { damages: 1, ..till.clone() },
        ] {
            assert_ne!(TillTold::of(&other), told, "{other:?}");
        }
        let spreads: std::collections::BTreeSet<_> =
            (0..50).map(|at| spread(&format!("def-{at}"))).collect();
        assert!(spreads.len() > 40 && spreads.iter().all(|by| *by < OFTEN - SELDOM));
    }

    #[test]
    fn a_restart_of_the_proxy_forgets_no_firmware() {
        let now = UnixMs::new(FIRMWARE_TOLD_MS * 2);
        let before = Before { firmware_version: "2.4.0".to_owned(), ..Before::default() };
        let unmet = before.firmware_of_a_real_one();
        assert_eq!(unmet, "2.4.0");
        assert_eq!(changed_firmware("attach", &before, &unmet, now), None);
        let changed = changed_firmware("attach", &before, "2.4.1", now);
        assert_eq!(changed, Some(("2.4.0".to_owned(), now.to_string())));
        let proxys = Before { role: Some("serve".to_owned()), ..before };
        assert_eq!(proxys.firmware_of_a_real_one(), "");
        assert_eq!(changed_firmware("attach", &proxys, "2.4.1", now), None, "it was no device");
    }

    #[test]
    fn another_firmware_is_told_for_a_week() {
        let now = UnixMs::new(FIRMWARE_TOLD_MS * 2);
        let before = Before { firmware_version: "2.4.0".to_owned(), ..Before::default() };
        let changed = changed_firmware("attach", &before, "2.4.1", now);
        assert_eq!(changed, Some(("2.4.0".to_owned(), now.to_string())));
        assert_eq!(changed_firmware("serve", &before, "2.4.1", now), None, "a proxy is upgraded");
        assert_eq!(changed_firmware("attach", &before, "2.4.0", now), None);
        assert_eq!(changed_firmware("attach", &before, "", now), None, "not met yet");
        let told = |since: u64, firmware: &str| {
            let known = Before {
                role: None,
                firmware_version: "2.4.1".to_owned(),
                firmware_before: Some("2.4.0".to_owned()),
                firmware_changed_at: Some(UnixMs::new(now.get() - since).to_string()),
            };
            changed_firmware("attach", &known, firmware, now).map(|(before, _)| before)
        };
        assert_eq!(told(FIRMWARE_TOLD_MS - 1, "2.4.1").as_deref(), Some("2.4.0"));
        assert_eq!(told(FIRMWARE_TOLD_MS, "2.4.1"), None);
        assert_eq!(told(1, "2.4.2").as_deref(), Some("2.4.1"), "a third one");
    }
}
