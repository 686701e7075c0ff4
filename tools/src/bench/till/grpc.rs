//! Sales as a gateway sends them.

use std::time::Duration;

use anyhow::{Context, Result};
use fiscus_ledger::record::Record;
use fiscus_ledger::seal::{AuthCode, FiscalNumber};
use fiscus_proto::client::{Answer, ClusterClient, SubmitError};
use fiscus_proto::command::{self as proto, Command, command};
use fiscus_proto::ledger::JournalRecord;
use futures_util::future::join_all;

use super::{Answered, Sealed};
use crate::bench::workload::{Sale, Workload};

const ATTEMPT: Duration = Duration::from_secs(10);
const TERMINAL: &str = "till-1";

#[derive(Debug)]
pub(in crate::bench) struct GrpcTill {
    client: ClusterClient,
}

impl GrpcTill {
    pub(super) fn new(client: ClusterClient) -> Self {
        Self { client }
    }

    pub(super) async fn sell(&mut self, workload: &Workload, sales: &[Sale]) -> Vec<Answered> {
        join_all(sales.iter().map(|sale| self.sell_one(workload, sale))).await
    }

    async fn sell_one(&self, workload: &Workload, sale: &Sale) -> Answered {
        let group = workload.roster().group(sale.outlet);
        match self.client.submit(group, command_of(workload, sale), ATTEMPT).await {
            Ok(Answer::Recorded(record) | Answer::AlreadyRecorded(record)) => sealed(&record)
                .map_or_else(|error| Answered::Refused(format!("{error:#}")), Answered::Sealed),
            // An outlet that was registered just now takes a moment to be known to its group.
            Ok(Answer::Refused(refusal)) if refusal.code == "OUTLET_UNKNOWN" => {
                Answered::Unclear(refusal.detail)
            }
            Ok(Answer::Refused(refusal)) => {
                Answered::Refused(format!("{}: {}", refusal.code, refusal.detail))
            }
            Ok(answer) => Answered::Refused(format!("{answer:?}")),
            Err(SubmitError::Malformed { detail }) => Answered::Refused(detail),
            Err(error) => Answered::Unclear(error.to_string()),
        }
    }
}

fn command_of(workload: &Workload, sale: &Sale) -> Command {
    let sheet = workload.sheet(sale.outlet);
    let seal = proto::Seal {
        submitted: Some(proto::Submitted {
            outlet_id: workload.roster().outlets()[sale.outlet].id.clone(),
            key: sale.key.to_vec().into(),
            fingerprint: sheet.fingerprint.clone(),
        }),
        terminal_id: TERMINAL.to_owned(),
        device_id: None,
        payload: sheet.canonical.clone(),
    };
    Command { command: Some(command::Command::Seal(seal)) }
}

/// The number and the code of a record, whose hash is checked.
pub(in crate::bench) fn sealed(record: &JournalRecord) -> Result<Sealed> {
    let read = Record::decode(&record.record).context("the record")?;
    let number: FiscalNumber = read.fiscal_number.parse().context("the fiscal number")?;
    let signature: [u8; 64] =
        (&*record.signature).try_into().context("a signature has 64 bytes")?;
    Ok(Sealed { sequence: number.sequence(), auth_code: AuthCode::of_signature(&signature) })
}
