//! What a seal would be answered now: the very rules of apply, run on what is here, and thrown away.

use fiscus_ledger::commands::GroupCommand;
use fiscus_ledger::outcome::Outcome;
use fiscus_proto::command as proto;
use fiscus_proto::ledger as wire;
use fiscus_proto::ledger::rehearse_response::Result as Answer;
use fiscus_raft::entry::{data_command, refusal_to_proto};
use fiscus_raft::store::Reading;
use tonic::Status;

use super::ledger::{LedgerService, as_of, failed};
use super::uploads::Uploads;
use crate::groups::Hosted;

impl LedgerService {
    pub(super) async fn rehearsed(
        &self,
        request: wire::RehearseRequest,
    ) -> Result<wire::RehearseResponse, Status> {
        let seal = request.seal.ok_or_else(|| Status::invalid_argument("there is no seal"))?;
        let command = proto::Command { command: Some(proto::command::Command::Seal(seal)) };
        let command = match data_command(command) {
            Ok(command) => command,
            Err(error) => {
                let malformed = wire::Malformed { detail: error.to_string() };
                let result = Some(Answer::Malformed(malformed));
                return Ok(wire::RehearseResponse { as_of: None, result });
            }
        };
        let (group, consistency) = (request.group, request.consistency);
        let leader = self.group(group)?.handle.status().leader;
        // Nobody else leads, so nobody would take it; a full node that only follows has no say.
        if self.context.disk_full() && leader.is_none_or(|id| id == self.context.identity.node) {
            let busy = wire::Busy {
                retry_after_ms: 1_000,
                code: "DISK_FULL".to_owned(),
                detail: "the disk of this node is nearly full; free some space".to_owned(),
            };
            return Ok(wire::RehearseResponse { as_of: None, result: Some(Answer::Busy(busy)) });
        }
        self.search(group, consistency, move |service, hosted, reading| {
            let as_of = Some(as_of(reading.as_of()));
            let result = Some(service.rehearse(hosted, reading, command)?);
            Ok(wire::RehearseResponse { as_of, result })
        })
        .await
    }

    fn rehearse(
        &self,
        hosted: &Hosted,
        reading: &Reading,
        command: GroupCommand,
    ) -> Result<Answer, Status> {
        let GroupCommand::Seal(seal) = &command else {
            return Err(Status::internal("a seal was read as something else"));
        };
        let outlet_id = seal.submitted.outlet_id.clone();
        match reading.rehearse(command).map_err(|error| failed(&error))? {
            Outcome::Refused(refusal) => Ok(Answer::Refused(refusal_to_proto(&refusal))),
            Outcome::AlreadyRecorded { position } => {
                let leaf = reading.leaf_of_position(&outlet_id, position);
                let leaf = leaf.map_err(|error| failed(&error))?;
                let found = leaf.map(|leaf| reading.record(leaf)).transpose();
                let found = found.map_err(|error| failed(&error))?.flatten();
                let found = found.ok_or_else(|| Status::data_loss("a known record is missing"))?;
                let upload = Uploads::new(reading).of(&found.record);
                let upload = upload.map_err(|error| failed(&error))?;
                let signed = self.signed(hosted, found)?;
                Ok(Answer::AlreadyRecorded(wire::JournalRecord { upload, ..signed }))
            }
            _ => Ok(Answer::Taken(wire::Done {})),
        }
    }
}
