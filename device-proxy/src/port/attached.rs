//! Calls of terminals whose device is a real one: what concerns the ledger, before the device is asked.

use std::sync::atomic::Ordering;

use fiscus_ledger::facts::DeviceState;
use serde::Deserialize;
use tokio::time::Instant;

use super::{Port, Until};
use crate::attach::Attached;
use crate::protocol::{Call, Code, Fault, Reply};

/// What an invoice says of whose it is; the device and the ledger look at the rest.
#[derive(Deserialize)]
struct Whose {
    merchant_nif: String,
    outlet_id: String,
}

impl Port {
    pub(super) async fn call_attached(
        &self,
        attached: &Attached,
        host: u64,
        call: Call,
        until: Instant,
    ) -> Reply {
        match call {
            Call::Rehearse(prepared) => {
                if let Some(fault) = self.not_by_device(attached) {
                    return Reply::Refused(fault);
                }
                if let Some(fault) = self.of_another(&prepared.payload) {
                    return Reply::Refused(fault);
                }
                attached.call(host, Call::Rehearse(prepared), until).await
            }
            Call::Init { activation_code, public_key } => {
                self.init_attached(attached, host, (activation_code, public_key), until).await
            }
            call => attached.call(host, call, until).await,
        }
    }

    /// While the ledger seals for the outlet, its device does not. What was prepared before is still committed: the
    /// ledger takes it in, whoever seals.
    fn not_by_device(&self, attached: &Attached) -> Option<Fault> {
        (attached.figures.mode.load(Ordering::Acquire) == 1).then(|| {
            let detail =
                "the ledger seals for this outlet; an operator must set its signing mode to def";
            let reason = Some("SIGNING_MODE_CLUSTER".to_owned());
            Fault { reason, ..Fault::new(Code::Unauthorized, detail) }
        })
    }

    /// An invoice of another outlet would be sealed and never imported. Until the outlet was heard of, only the device
    /// can tell.
    fn of_another(&self, payload: &[u8]) -> Option<Fault> {
        let outlet = self.known_outlet()?;
        let whose: Whose = serde_json::from_slice(payload).ok()?;
        let same =
            whose.outlet_id == *outlet.outlet_id && whose.merchant_nif == *outlet.merchant_nif;
        (!same).then(|| {
            let detail = format!(
                "the invoice is not of outlet {}, for which the device seals",
                outlet.outlet_id
            );
            let reason = Some("IDENTITY_MISMATCH".to_owned());
            Fault { reason, ..Fault::new(Code::Unauthorized, detail) }
        })
    }

    /// The device first, which answers the same code the same way; then the ledger, in which it is used up.
    async fn init_attached(
        &self,
        attached: &Attached,
        host: u64,
        (activation_code, public_key): (String, Vec<u8>),
        until: Instant,
    ) -> Reply {
        let call =
            Call::Init { activation_code: activation_code.clone(), public_key: public_key.clone() };
        let told = match attached.call(host, call, until).await {
            Reply::Done(told) => told,
            other => return other,
        };
        let fact = self.shared.devices.fact(&self.device_id);
        if fact
            .is_some_and(|fact| fact.state == DeviceState::Active && fact.public_key == public_key)
        {
            return Reply::Done(told);
        }
        match self.init(&activation_code, public_key, Until(until)).await {
            Ok(Reply::Done(_)) => Reply::Done(told),
            Ok(other) => other,
            Err(fault) => Reply::NotNow(fault),
        }
    }
}
