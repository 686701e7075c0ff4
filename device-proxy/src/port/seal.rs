//! `TXN|PREPARE` and `TXN|COMMIT`.

use fiscus_ledger::hash::payload_hash;
use fiscus_ledger::qr::{QrFields, QrPayload};
use fiscus_ledger::record::Record;
use fiscus_ledger::seal::{AuthCode, split_number};
use fiscus_ledger::state::rows::Operation;
use fiscus_proto::client::Answer;
use fiscus_proto::command::{Command, Seal, Submitted, command};
use fiscus_proto::ledger::rehearse_response::Result as Rehearsed;
use fiscus_proto::ledger::{JournalRecord, ReadSubmissionRequest, RehearseRequest};

use super::{LINEARIZABLE, Port, Until, faults};
use crate::protocol::answer::ok;
use crate::protocol::nonce::{Prepared, seal_key};
use crate::protocol::{Code, Fault, Reply};

/// What a receipt needs of a record.
pub(super) struct Printed {
    pub(super) sequence: u64,
    pub(super) auth_code: String,
    pub(super) qr_payload: String,
}

impl Port {
    pub(super) async fn rehearse(&self, prepared: &Prepared, until: Until) -> Result<Reply, Fault> {
        let outlet = self.outlet(until).await?;
        let key = seal_key(&payload_hash(&prepared.payload));
        let request = RehearseRequest {
            group: outlet.group,
            seal: Some(self.seal_command(&outlet.outlet_id, prepared, key)),
            consistency: LINEARIZABLE,
        };
        let told = self.shared.cluster.rehearse(request, until.left()).await;
        let told = told.map_err(|error| faults::of_read(&error))?;
        Ok(match told.result {
            Some(Rehearsed::Taken(_)) => Reply::Fits,
            Some(Rehearsed::AlreadyRecorded(record)) => Reply::Refused(self.replay(&record)),
            Some(Rehearsed::Refused(refusal)) => Reply::Refused(faults::of_refusal(&refusal)),
            Some(Rehearsed::Busy(busy)) => Reply::NotNow(faults::of_busy_node(&busy)),
            Some(Rehearsed::Malformed(wrong)) => Reply::Refused(Fault::schema(wrong.detail)),
            None => return Err(faults::strange("the answer of a rehearsal")),
        })
    }

    pub(super) async fn seal(
        &self,
        prepared: &Prepared,
        key: [u8; 16],
        until: Until,
    ) -> Result<Reply, Fault> {
        let outlet = self.outlet(until).await?;
        let seal = self.seal_command(&outlet.outlet_id, prepared, key);
        let command = Command { command: Some(command::Command::Seal(seal)) };
        match self.shared.cluster.submit(outlet.group, command, until.left()).await {
            Ok(Answer::Recorded(record) | Answer::AlreadyRecorded(record)) => {
                Ok(self.sealed(&record))
            }
            Ok(Answer::Refused(refusal)) => Ok(Reply::Refused(faults::of_refusal(&refusal))),
            Ok(other) => Ok(Reply::InDoubt(format!("a seal was answered with {other}"))),
            Err(error) => Ok(faults::of_submit(error)),
        }
    }

    /// Looks for what an earlier life of this proxy, or another proxy, may have sealed.
    pub(super) async fn find_seal(&self, key: [u8; 16], until: Until) -> Result<Reply, Fault> {
        let outlet = self.outlet(until).await?;
        let request = ReadSubmissionRequest {
            group: outlet.group,
            outlet_id: outlet.outlet_id.to_string(),
            operation: Operation::Seal.code().into(),
            key: key.to_vec().into(),
            consistency: LINEARIZABLE,
        };
        let found = self.shared.cluster.read_submission(request, until.left()).await;
        let found = found.map_err(|error| faults::of_read(&error))?;
        Ok(found.record.map_or(Reply::NotSealed, |record| self.sealed(&record)))
    }

    fn seal_command(&self, outlet_id: &str, prepared: &Prepared, key: [u8; 16]) -> Seal {
        Seal {
            submitted: Some(Submitted {
                outlet_id: outlet_id.to_owned(),
                key: key.to_vec().into(),
                fingerprint: payload_hash(&prepared.payload).to_vec().into(),
            }),
            terminal_id: prepared.terminal_id.clone(),
            device_id: Some(self.device_id.clone()),
            payload: prepared.payload.clone().into(),
        }
    }

    /// The answer to a commit. What cannot be read is sealed all the same.
    fn sealed(&self, sealed: &JournalRecord) -> Reply {
        let Ok(record) = Record::decode(&sealed.record) else {
            return Reply::InDoubt("it is sealed, but its record is not understood".to_owned());
        };
        let Some(printed) = self.printed(&record, &sealed.signature) else {
            return Reply::InDoubt("it is sealed, but its record has no receipt".to_owned());
        };
        let answer = ok()
            .count("invoice_seq", printed.sequence)
            .text("fiscal_number", record.fiscal_number)
            .text("auth_code", &printed.auth_code)
            .text("device_id", &self.device_id)
            .text("timestamp", &record.timestamp.to_string())
            .text("qr_payload", &printed.qr_payload);
        Reply::Sealed(answer.finish())
    }

    /// What is printed of an invoice; nothing for other records.
    pub(super) fn printed(&self, record: &Record<'_>, signature: &[u8]) -> Option<Printed> {
        let signature: [u8; 64] = signature.try_into().ok()?;
        let (_, sequence) = split_number(record.fiscal_number)?;
        let fields = QrFields::of_online_seal(&self.shared.verify_host, record, signature);
        Some(Printed {
            sequence,
            auth_code: AuthCode::of_signature(&signature).to_string(),
            qr_payload: QrPayload::new(fields).ok()?.to_url(),
        })
    }

    fn replay(&self, sealed: &JournalRecord) -> Fault {
        let record = Record::decode(&sealed.record);
        let number =
            record.map_or_else(|_| String::new(), |record| record.fiscal_number.to_owned());
        let detail = format!("this invoice is sealed already, as {number}; it is not sealed again");
        Fault::new(Code::ReplayDetected, detail)
    }
}
