//! One device's calls to the cluster: each becomes a read or a command, and its answer a reply.
//!
//! Invariant: a command is submitted under the key that it was called with, and an outcome that nobody knows
//! is told as [`Reply::InDoubt`], never as a refusal.

mod alone;
mod attached;
mod faults;
mod journal;
mod lifecycle;
mod reports;
mod seal;
mod status;

pub(crate) use status::time_message;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fiscus_ledger::facts::{Fact, FactKind, OutletFact};
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::ClusterClient;
use fiscus_proto::ledger::{Consistency, ReadDocumentRequest};
use tokio::time::Instant;

use crate::attach::Attached;
use crate::devices::Devices;
use crate::offline::SharedTill;
use crate::protocol::{Call, Fault, Reply, Standing};

/// The group of the directory.
pub(crate) const DIRECTORY: u64 = 0;
pub(crate) const LINEARIZABLE: i32 = Consistency::Linearizable as i32;

/// What every device of a proxy shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cluster: ClusterClient,
    pub(crate) devices: Devices,
    pub(crate) verify_host: String,
    /// When the proxy's own certificate ends.
    pub(crate) certificate_expires: Option<String>,
}

/// The way from one device to the cluster.
#[derive(Debug)]
pub(crate) struct Port {
    shared: Arc<Shared>,
    device_id: String,
    /// Where it sells: the parts of an outlet that never change. Held to look or to note.
    outlet: Mutex<Option<Arc<OutletFact>>>,
    /// The real device, in its place.
    attached: Option<Arc<Attached>>,
    /// Where it sells while the cluster is away, if it does.
    till: Option<SharedTill>,
}

/// A moment until which an answer is of use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until(pub(crate) Instant);

impl Until {
    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

impl Port {
    pub(crate) fn new(
        shared: Arc<Shared>,
        device_id: &str,
        till: Option<SharedTill>,
        attached: Option<Arc<Attached>>,
    ) -> Self {
        Self { shared, device_id: device_id.to_owned(), outlet: Mutex::default(), attached, till }
    }

    /// How the device stands: as the directory says, and as the till remembers until it is heard. A real one needs
    /// nobody's word to go on: until the directory is heard, it is what it says itself.
    pub(crate) async fn standing(&self) -> Standing {
        match (self.shared.devices.standing(&self.device_id), &self.till) {
            (Standing::Unheard, _) if self.attached.is_some() => Standing::Active,
            (Standing::Unheard, Some(till)) if till.was_active().await => Standing::Active,
            (standing, _) => standing,
        }
    }

    /// The real device, if it is one.
    pub(crate) fn attached(&self) -> Option<&Arc<Attached>> {
        self.attached.as_ref()
    }

    /// The device's till.
    pub(crate) fn till(&self) -> Option<&SharedTill> {
        self.till.as_ref()
    }

    /// Whether the directory says that the device seals.
    pub(crate) fn is_active(&self) -> bool {
        self.shared.devices.standing(&self.device_id) == Standing::Active
    }

    /// The outlet, if it is known.
    pub(crate) fn known_outlet(&self) -> Option<Arc<OutletFact>> {
        self.outlet.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The outlet that the device is bound to, asked for when it is not known.
    pub(crate) async fn outlet_by(&self, until: Instant) -> Result<Arc<OutletFact>, Fault> {
        self.outlet(Until(until)).await
    }

    /// Its counters, and the group's time.
    pub(crate) async fn counters_by(
        &self,
        outlet: &OutletFact,
        until: Instant,
    ) -> Result<(Outlet, UnixMs), Fault> {
        self.read_outlet(outlet, Until(until)).await
    }

    pub(crate) fn device_id(&self) -> &str {
        &self.device_id
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Does a call, by a moment.
    pub(crate) async fn call(&self, host: u64, call: Call, until: Instant) -> Reply {
        if let Some(attached) = &self.attached {
            return self.call_attached(attached, host, call, until).await;
        }
        let in_doubt = matches!(
            call,
            Call::Seal(..) | Call::CloseDay { .. } | Call::Init { .. } | Call::Reset { .. }
        );
        // Each part of a call has the same deadline; this one holds whatever they do.
        match tokio::time::timeout_at(until, self.do_call(call, Until(until))).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(fault)) => Reply::NotNow(fault),
            Err(_elapsed) if in_doubt => Reply::InDoubt("no answer came in time".to_owned()),
            Err(_elapsed) => Reply::NotNow(faults::unavailable("no answer came in time")),
        }
    }

    async fn do_call(&self, call: Call, until: Until) -> Result<Reply, Fault> {
        match call {
            Call::Rehearse(prepared) => self.prepare(prepared, until).await,
            Call::Seal(prepared, key) => self.commit(prepared, key, until).await,
            Call::FindSeal(key) => self.find(key, until).await,
            Call::Status { nonce_pool } => self.tell_status(nonce_pool, until).await,
            Call::Log { sequence } => self.tell_log(sequence, until).await,
            Call::CloseDay { date } => self.close_day(&date, until).await,
            Call::Snapshot => self.snapshot(until).await,
            Call::Articles { since, until: end } => self.articles((since, end), until).await,
            Call::Dump { format, from, to } => self.dump(format, (from, to), until).await,
            Call::Reset { authorization } => self.reopen(&authorization, until).await,
            Call::SetTime { timestamp, signature } => {
                self.tell_time(timestamp, &signature, until).await
            }
            Call::Init { activation_code, public_key } => {
                self.init(&activation_code, public_key, until).await
            }
        }
    }

    /// The outlet that the device is bound to.
    pub(crate) async fn outlet(&self, until: Until) -> Result<Arc<OutletFact>, Fault> {
        let device = self.shared.devices.fact(&self.device_id);
        let device = device.ok_or_else(|| faults::unavailable("the device is not known yet"))?;
        let known = self.outlet.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.outlet_id == device.outlet_id) {
            return Ok(known);
        }
        let request = ReadDocumentRequest {
            kind: FactKind::Outlet.as_str().to_owned(),
            id: device.outlet_id.to_string(),
            // The device was registered for it, so it is there, and what is needed of it never changes.
            consistency: Consistency::Local.into(),
        };
        let read = self.shared.cluster.read_document(request, until.left()).await;
        let document = read.map_err(|error| faults::of_read(&error))?.document;
        let fact = document.and_then(|found| Fact::decode(FactKind::Outlet, &found.bytes).ok());
        let Some(Fact::Outlet(fact)) = fact else {
            return Err(faults::unavailable("the device's outlet is not known yet"));
        };
        let fact = Arc::new(fact);
        *self.outlet.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&fact));
        Ok(fact)
    }
}

/// What stands before the sequence in the outlet's numbers.
pub(crate) fn number_prefix(outlet: &OutletFact) -> String {
    format!("{}-{}", outlet.prefix, outlet.code)
}
