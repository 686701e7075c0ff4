//! Carries what the device has sealed into the ledger, entry after entry.
//!
//! Where it stands is asked of the ledger, so it goes on where any proxy has stopped, and an entry that comes twice
//! is answered with its first record. An entry that the ledger refuses stops it, with an alert: the one after it
//! cannot come before it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fiscus_ledger::facts::SigningMode;
use fiscus_ledger::hash::hex;
use fiscus_proto::client::{Answer, SubmitError};
use fiscus_proto::command::{self as proto, Command, command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::Attached;
use crate::port::{Port, Until};
use crate::protocol::Fault;

/// The ledger is asked where it stands at least so often: it also tells who seals for the outlet.
const LOOK: Duration = Duration::from_secs(1);
const CLUSTER_LIMIT: Duration = Duration::from_secs(5);
/// Entries that are imported between two looks: hours of them may be waiting.
const IMPORTED_MAX: usize = 50;
/// Before what failed is tried again.
const PAUSE: Duration = Duration::from_millis(500);
const STOPPED_PAUSE: Duration = Duration::from_secs(5);

/// Why an entry was not imported now.
enum Held {
    /// The cluster or the device is away.
    Away(String),
    /// The ledger stands elsewhere.
    Elsewhere,
    /// The ledger refuses it.
    Refused(String, String),
}

/// Imports until it is stopped.
pub(crate) async fn import(port: Arc<Port>, attached: Arc<Attached>, stop: watch::Receiver<bool>) {
    let mut stopping = stop.clone();
    tokio::select! {
        () = go_on(&port, &attached) => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}

async fn go_on(port: &Port, attached: &Attached) {
    loop {
        let until = Until::after(CLUSTER_LIMIT);
        let stands = stands_at(port, attached, until).await;
        let (imported, outlet_id, group) = match stands {
            Ok(stands) => stands,
            Err(fault) => {
                tracing::debug!(detail = fault.detail, "the ledger does not say where it stands");
                sleep(PAUSE).await;
                continue;
            }
        };
        attached.figures.imported.store(imported, Ordering::Relaxed);
        match import_from(port, attached, imported + 1, (&outlet_id, group)).await {
            // There is more: who seals is heard first.
            Ok(true) => {}
            Ok(false) | Err(Held::Elsewhere) => {
                attached.figures.stopped.store(false, Ordering::Relaxed);
                // Woken by the next seal, or by the time.
                let _ = timeout(LOOK, attached.sealed.notified()).await;
            }
            Err(Held::Away(detail)) => {
                tracing::debug!(detail, "the import waits");
                sleep(PAUSE).await;
            }
            Err(Held::Refused(code, detail)) => {
                if !attached.figures.stopped.swap(true, Ordering::Relaxed) {
                    let device_id = attached.device_id();
                    tracing::error!(
                        device_id,
                        code,
                        detail,
                        "the import has stopped: the ledger refuses an entry"
                    );
                }
                sleep(STOPPED_PAUSE).await;
            }
        }
    }
}

/// The last entry that the ledger has, and who seals for the outlet.
async fn stands_at(
    port: &Port,
    attached: &Attached,
    until: Until,
) -> Result<(u64, String, u64), Fault> {
    let fact = port.outlet(until).await?;
    let (outlet, _) = port.read_outlet(&fact, until).await?;
    let mode = match outlet.fact.signing_mode {
        SigningMode::Cluster => 1,
        SigningMode::Def => 2,
    };
    attached.figures.mode.store(mode, Ordering::Release);
    let series = outlet.device_series.get(attached.device_id());
    Ok((series.map_or(0, |series| series.last), fact.outlet_id.to_string(), fact.group))
}

/// Imports some of what there is from a sequence on; says whether there is more.
async fn import_from(
    port: &Port,
    attached: &Attached,
    first: u64,
    (outlet_id, group): (&str, u64),
) -> Result<bool, Held> {
    for sequence in (first..).take(IMPORTED_MAX) {
        if sequence >= attached.figures.next.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let entry = attached.entry(sequence).await.map_err(|fault| Held::Away(fault.detail))?;
        let Some(entry) = entry else { return Ok(false) };
        // A device that tells no invoices has sealed one that was kept here, or that nobody here has seen.
        let kept = match entry.invoice {
            Some(_) => None,
            None => attached.kept.find(&entry.payload_hash).await,
        };
        let Some(seal) = entry.seal(attached.device_id(), kept) else {
            let detail = format!(
                "the device does not tell the invoice of its entry {sequence}; put it into the directory that \
                 attach.invoices_dir names, as {}.json",
                hex(&entry.payload_hash)
            );
            return Err(Held::Refused("INVOICE_NOT_TOLD".to_owned(), detail));
        };
        let import = proto::ImportDeviceSeal {
            outlet_id: outlet_id.to_owned(),
            seal: Some(proto::DeviceSeal {
                device_id: seal.device_id.to_string(),
                sequence: seal.sequence,
                timestamp_ms: seal.timestamp.get(),
                prev_hash: seal.prev_hash.to_vec().into(),
                signature: seal.signature.to_vec().into(),
                invoice: seal.invoice.into(),
            }),
        };
        let command = Command { command: Some(command::Command::ImportDeviceSeal(import)) };
        match port.shared().cluster.submit(group, command, CLUSTER_LIMIT).await {
            Ok(Answer::Recorded(_) | Answer::AlreadyRecorded(_)) => {
                attached.kept.forget(&entry.payload_hash).await;
                attached.figures.imported.store(sequence, Ordering::Relaxed);
                attached.figures.stopped.store(false, Ordering::Relaxed);
            }
            Ok(Answer::Refused(refusal)) if refusal.code == "DEVICE_SEAL_OUT_OF_ORDER" => {
                return Err(Held::Elsewhere);
            }
            Ok(Answer::Refused(refusal)) => {
                return Err(Held::Refused(refusal.code, refusal.detail));
            }
            Ok(other) => return Err(Held::Away(format!("an import was answered with {other}"))),
            // It may have been taken: it is sent again, and answered with its record.
            Err(SubmitError::Unknown { detail } | SubmitError::Unavailable { detail }) => {
                return Err(Held::Away(detail));
            }
            Err(SubmitError::Busy { detail, .. }) => return Err(Held::Away(detail)),
            Err(SubmitError::Malformed { detail }) => {
                return Err(Held::Refused("MALFORMED".to_owned(), detail));
            }
        }
    }
    Ok(true)
}

impl Until {
    fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }
}
