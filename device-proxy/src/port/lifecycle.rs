//! `CFG|INIT`: a device is bound to its outlet. `ADM|RESET`: it begins another life there.
//!
//! A code names its device, so that a proxy that is another device says so and uses nobody's code up.

use std::time::Duration;

use fiscus_ledger::activation::{activation_hash, device_of};
use fiscus_ledger::commands::life_of;
use fiscus_ledger::facts::OutletFact;
use fiscus_proto::client::Answer;
use fiscus_proto::command::{ActivateDevice, Command, ReopenDevice, Seal, Submitted, command};
use fiscus_proto::ledger::rehearse_response::Result as Rehearsed;
use fiscus_proto::ledger::{ReadDocumentRequest, RehearseRequest};
use tokio::time::sleep;

use super::{DIRECTORY, LINEARIZABLE, Port, Until, faults, number_prefix};
use crate::devices::DEVICE;
use crate::protocol::answer::ok;
use crate::protocol::{Code, Fault, Reply, Standing};

/// Between two questions whether the outlet's group has heard of the device.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

impl Port {
    pub(super) async fn init(
        &self,
        activation_code: &str,
        public_key: Vec<u8>,
        until: Until,
    ) -> Result<Reply, Fault> {
        let unauthorized = |detail: &str| Reply::Refused(Fault::new(Code::Unauthorized, detail));
        if device_of(activation_code) != Some(&*self.device_id) {
            return Ok(unauthorized("this code is not one of this device; it was not used up"));
        }
        if self.shared.devices.standing(&self.device_id) == Standing::Active {
            return Ok(unauthorized("this device is active already; the code was not used up"));
        }
        let outlet = self.outlet(until).await?;
        let activate = ActivateDevice {
            activation_hash: activation_hash(activation_code).to_vec().into(),
            public_key: public_key.into(),
        };
        let command = Command { command: Some(command::Command::ActivateDevice(activate)) };
        match self.shared.cluster.submit(DIRECTORY, command, until.left()).await {
            Ok(Answer::Recorded(_) | Answer::AlreadyRecorded(_)) => {}
            Ok(Answer::Refused(refusal)) => {
                return Ok(Reply::Refused(faults::of_refusal(&refusal)));
            }
            Ok(other) => {
                return Ok(Reply::InDoubt(format!("an activation was answered with {other}")));
            }
            Err(error) => return Ok(faults::of_submit(error)),
        }
        // It is done: what follows only lets the next command find it so.
        if self.learn(until).await.is_ok() {
            self.heard_of(&outlet, until).await;
        }
        let answer = ok()
            .text("device_id", &self.device_id)
            .text("fiscal_number_prefix", &number_prefix(&outlet));
        Ok(Reply::Done(answer.finish()))
    }

    /// The ledger holds the tax authority's key, and knows for which life a leave is. The same leave asked for again
    /// is answered the same while its life lasts.
    pub(super) async fn reopen(&self, leave: &[u8; 64], until: Until) -> Result<Reply, Fault> {
        let reopen =
            ReopenDevice { device_id: self.device_id.clone(), leave: leave.to_vec().into() };
        let command = Command { command: Some(command::Command::ReopenDevice(reopen)) };
        match self.shared.cluster.submit(DIRECTORY, command, until.left()).await {
            Ok(Answer::Recorded(_) | Answer::AlreadyRecorded(_) | Answer::Unchanged) => {}
            Ok(Answer::Refused(refusal)) => {
                return Ok(Reply::Refused(faults::of_refusal(&refusal)));
            }
            Ok(other) => return Ok(Reply::InDoubt(format!("a reset was answered with {other}"))),
            Err(error) => return Ok(faults::of_submit(error)),
        }
        match self.learn(until).await {
            Ok(version) => Ok(Reply::Done(ok().count("life", life_of(version)).finish())),
            Err(fault) => Ok(Reply::InDoubt(fault.detail)),
        }
    }

    /// Reads the device anew; its document's version.
    async fn learn(&self, until: Until) -> Result<u64, Fault> {
        let request = ReadDocumentRequest {
            kind: DEVICE.to_owned(),
            id: self.device_id.clone(),
            consistency: LINEARIZABLE,
        };
        let read = self.shared.cluster.read_document(request, until.left() / 2).await;
        let document = read.map_err(|error| faults::of_read(&error))?.document;
        let document = document.ok_or_else(|| faults::unavailable("the device is not known"))?;
        self.shared.devices.note(&document);
        Ok(document.version)
    }

    /// Waits until the outlet's group has heard of the device, for most of the time that there is: until then
    /// it refuses what the device seals. An invoice that is none is refused for the device first.
    async fn heard_of(&self, outlet: &OutletFact, until: Until) {
        let seal = Seal {
            submitted: Some(Submitted {
                outlet_id: outlet.outlet_id.to_string(),
                key: vec![0; 16].into(),
                fingerprint: vec![0; 32].into(),
            }),
            terminal_id: self.device_id.clone(),
            device_id: Some(self.device_id.clone()),
            payload: b"{}".to_vec().into(),
        };
        let request =
            RehearseRequest { group: outlet.group, seal: Some(seal), consistency: LINEARIZABLE };
        let limit = until.left() / 2;
        let asking = async {
            loop {
                let told = self.shared.cluster.rehearse(request.clone(), limit).await;
                match told.map(|told| told.result) {
                    Ok(Some(Rehearsed::Refused(refusal)))
                        if refusal.code.starts_with("DEVICE_") => {}
                    Ok(_) => return,
                    Err(_) => {}
                }
                sleep(LOOK_INTERVAL).await;
            }
        };
        // A group that has not heard in time hears later, and says so until then.
        let _ = tokio::time::timeout(limit, asking).await;
    }
}
