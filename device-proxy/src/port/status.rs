//! `QRY|STATUS` and `CFG|TIME`: how the outlet, the cluster and its clock are.

use ed25519_dalek::Signature;
use fiscus_ledger::facts::OutletFact;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::ledger::ReadOutletRequest;

use super::{LINEARIZABLE, Port, Until, faults};
use crate::protocol::answer::ok;
use crate::protocol::{Code, Fault, Reply};

/// What the tax authority signs to tell a device the time.
#[must_use]
pub(crate) fn time_message(device_id: &str, timestamp: UnixMs) -> String {
    format!("CFG|TIME|{device_id}|{timestamp}")
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
    /// before it shows a clock that goes back.
    pub(super) async fn set_time(
        &self,
        timestamp: UnixMs,
        signature: &[u8; 64],
        until: Until,
    ) -> Result<Reply, Fault> {
        let message = time_message(&self.device_id, timestamp);
        let signature = Signature::from_bytes(signature);
        let signed = self.shared.dgi_key.as_ref();
        let holds =
            signed.is_some_and(|key| key.verify_strict(message.as_bytes(), &signature).is_ok());
        if !holds {
            let detail =
                "the time is not signed by the tax authority's key that is registered here";
            return Ok(Reply::Refused(Fault::new(Code::Unauthorized, detail)));
        }
        let fact = self.outlet(until).await?;
        let (_, now) = self.read_outlet(&fact, until).await?;
        if timestamp < now {
            let detail =
                format!("{timestamp} is before {now}, the device's time; it is not set back");
            return Ok(Reply::Refused(Fault::new(Code::ClockRollbackDetected, detail)));
        }
        Ok(Reply::Done(ok().text("timestamp", &now.to_string()).finish()))
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
