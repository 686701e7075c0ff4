//! `QRY|STATUS` and `CFG|TIME`: how the outlet, the cluster and its clock are.

use ed25519_dalek::{Signature, VerifyingKey};
use fiscus_ledger::commands::{TAX_AUTHORITY_KEY_ID, TAX_AUTHORITY_KEY_KIND};
use fiscus_ledger::facts::OutletFact;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::ledger::{ReadDocumentRequest, ReadOutletRequest};

use super::{LINEARIZABLE, Port, Until, faults};
use crate::protocol::answer::ok;
use crate::protocol::{Code, Fault, Reply};

/// What the tax authority signs to tell a device the time.
#[must_use]
pub(crate) fn time_message(device_id: &str, timestamp: UnixMs) -> String {
    format!("CFG|TIME|{device_id}|{timestamp}")
}

/// What a signed time comes to, by the device's own.
pub(super) fn compared(timestamp: UnixMs, now: UnixMs) -> Reply {
    if timestamp < now {
        let detail = format!("{timestamp} is before {now}, the device's time; it is not set back");
        return Reply::Refused(Fault::new(Code::ClockRollbackDetected, detail));
    }
    Reply::Done(ok().text("timestamp", &now.to_string()).finish())
}

impl Port {
    pub(super) async fn status(&self, nonce_pool: usize, until: Until) -> Result<Reply, Fault> {
        let fact = self.outlet(until).await?;
        let cluster = &self.shared.cluster;
        let (read, free) = tokio::join!(
            self.read_outlet(&fact, until),
            cluster.free_bytes(fact.group, until.left() / 2)
        );
        let (outlet, time) = read?;
        let free = free.ok_or_else(|| faults::unavailable("no replica tells its free space"))?;
        let nonce_pool = u64::try_from(nonce_pool).unwrap_or(u64::MAX);
        let answer = ok()
            .text("firmware_version", env!("CARGO_PKG_VERSION"))
            .text("device_id", &self.device_id)
            .count("next_invoice_seq", outlet.series.last + 1)
            .count("free_memory_bytes", free)
            .text("last_sync_timestamp", &time.to_string())
            .count("nonce_pool", nonce_pool);
        Ok(Reply::Done(answer.finish()))
    }

    /// The time is the group's, on which a majority agrees: nobody sets it, but a signed time that lies
    /// before it shows a clock that goes back. The key is the one that the ledger has now.
    pub(super) async fn set_time(
        &self,
        timestamp: UnixMs,
        signature: &[u8; 64],
        until: Until,
    ) -> Result<Reply, Fault> {
        let request = ReadDocumentRequest {
            kind: TAX_AUTHORITY_KEY_KIND.to_owned(),
            id: TAX_AUTHORITY_KEY_ID.to_owned(),
            consistency: LINEARIZABLE,
        };
        let read = self.shared.cluster.read_document(request, until.left()).await;
        if let Some(document) = read.map_err(|error| faults::of_read(&error))?.document {
            self.shared.devices.note(&document);
        }
        let key = self.shared.devices.authority_key();
        if let Err(fault) = self.is_signed((timestamp, signature), key) {
            return Ok(Reply::Refused(fault));
        }
        let fact = self.outlet(until).await?;
        let (_, now) = self.read_outlet(&fact, until).await?;
        Ok(compared(timestamp, now))
    }

    /// Whether the tax authority has signed a time for this device.
    pub(super) fn is_signed(
        &self,
        (timestamp, signature): (UnixMs, &[u8; 64]),
        key: Option<VerifyingKey>,
    ) -> Result<(), Fault> {
        let unauthorized = |detail: &str| Fault::new(Code::Unauthorized, detail);
        let key = key.ok_or_else(|| {
            unauthorized("no key of the tax authority is registered that could have signed this")
        })?;
        let message = time_message(&self.device_id, timestamp);
        key.verify_strict(message.as_bytes(), &Signature::from_bytes(signature)).map_err(|_| {
            unauthorized("the time is not signed with the tax authority's key that is registered")
        })
    }

    /// The outlet's counters, and the group's time.
    pub(crate) async fn read_outlet(
        &self,
        fact: &OutletFact,
        until: Until,
    ) -> Result<(Outlet, UnixMs), Fault> {
        let request = ReadOutletRequest {
            group: fact.group,
            outlet_id: fact.outlet_id.to_string(),
            consistency: LINEARIZABLE,
        };
        let read = self.shared.cluster.read_outlet(request, until.left()).await;
        let read = read.map_err(|error| faults::of_read(&error))?;
        if read.row.is_empty() {
            return Err(faults::unavailable("the outlet's group has not heard of it yet"));
        }
        let outlet = Outlet::from_stored(&read.row);
        let outlet = outlet.map_err(|_| faults::strange("the outlet's row"))?;
        Ok((outlet, UnixMs::new(read.as_of.unwrap_or_default().time_ms)))
    }
}
