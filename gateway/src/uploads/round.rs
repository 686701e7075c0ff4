//! One outlet's turn: what comes next is read from its journal, sent, and the answer is recorded there.
//!
//! Nothing is kept between two turns but how often an invoice could not be taken. What was sent and not recorded is
//! read and sent again under the same ids, so that it does not matter where a gateway dies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fiscus_ledger::commands::{UPLOAD_ITEMS_MAX, UPLOAD_REFUSED_MAX};
use fiscus_ledger::hash::hex;
use fiscus_ledger::record::Record;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_proto::client::{Answer, ClusterClient, ReadError, SubmitError};
use fiscus_proto::command::{Command, RecordUpload, UploadItem, UploadVerdict, command};
use fiscus_proto::ledger::{
    Consistency, JournalRecord, ListUploadsRequest, OutletNumber, ReadOutletRequest,
    ReadRecordRequest, ReadRecordsRequest, UploadState, read_record_request,
};
use futures_util::StreamExt;

use super::adapter::{Adapter, Sent};
use super::contract::{Answered, Batch, Item, Said, batch_id, item_id};

const READ_WAIT: Duration = Duration::from_secs(10);
const SUBMIT_WAIT: Duration = Duration::from_secs(10);
/// Bytes of a batch at most, though there is room for one invoice.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Records that are looked at for one batch.
const LOOKED_AT_MAX: usize = 5_000;
/// Rows of refused invoices that are looked at for one batch.
const ROWS_MAX: u32 = 500;

/// Whose turn it is.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) outlet_id: String,
    pub(crate) merchant_nif: String,
    pub(crate) group: u64,
    /// How often invoices could not be taken, by position.
    pub(crate) later: BTreeMap<u64, u32>,
}

/// What a turn needs.
#[derive(Debug, Clone)]
pub(crate) struct Means {
    pub(crate) cluster: ClusterClient,
    pub(crate) adapter: Arc<dyn Adapter>,
    pub(crate) destination: String,
    pub(crate) batch_max: usize,
    pub(crate) attempts_max: u32,
}

/// What is to be sent, read at one moment.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) batch: Batch,
    /// When the oldest of them was sealed.
    pub(crate) oldest_ms: u64,
    /// Up to where everything was settled.
    after: u64,
    /// Up to where it will be when all of them are answered.
    through: u64,
}

/// What an answered turn has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) acknowledged: usize,
    pub(crate) rejected: usize,
    pub(crate) failed: usize,
    /// What could not be taken now, and how often.
    pub(crate) later: BTreeMap<u64, u32>,
}

/// Why a turn cannot be taken now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error("a record or a row cannot be read: {0}")]
    Unreadable(String),
    #[error("the ledger does not take the answer: {0}")]
    Refused(String),
}

/// An invoice to be sent, and where it stands.
struct Next {
    item: Item,
    timestamp_ms: u64,
}

fn next_of(sealed: &JournalRecord) -> Result<Next, TurnError> {
    let unreadable = |detail: String| TurnError::Unreadable(detail);
    let record = Record::decode(&sealed.record).map_err(|error| unreadable(error.to_string()))?;
    let invoice = record.kind.invoice_in(record.payload);
    let invoice = invoice.and_then(|bytes| std::str::from_utf8(bytes).ok());
    let invoice = invoice.ok_or_else(|| unreadable("it is no invoice".to_owned()))?;
    let item = Item {
        id: item_id(&record.entry_hash),
        fiscal_number: record.fiscal_number.to_owned(),
        position: record.position,
        kind: record.kind.as_str().to_owned(),
        timestamp: record.timestamp.to_string(),
        record_hash: hex(&record.entry_hash),
        fiscal_authority_id: record.authority_id.to_owned(),
        signature: hex(&sealed.signature),
        invoice: invoice.to_owned(),
    };
    Ok(Next { item, timestamp_ms: record.timestamp.get() })
}

impl Means {
    /// Reads what comes next; nothing when nothing does.
    pub(crate) async fn prepare(&self, turn: &Turn) -> Result<Option<Prepared>, TurnError> {
        let request = ReadOutletRequest {
            group: turn.group,
            outlet_id: turn.outlet_id.clone(),
            consistency: Consistency::Linearizable.into(),
        };
        let row = self.cluster.read_outlet(request, READ_WAIT).await?.row;
        if row.is_empty() {
            return Ok(None);
        }
        let outlet =
            Outlet::from_stored(&row).map_err(|error| TurnError::Unreadable(error.to_string()))?;
        if outlet.upload_queue() == 0 {
            return Ok(None);
        }
        let after = outlet.uploads.through;
        if outlet.uploads.again > 0 {
            let again = self.again(turn).await?;
            if !again.is_empty() {
                return Ok(Some(self.prepared(turn, again, after, after)));
            }
        }
        let (next, through) = self.next(turn, after, self.batch_max).await?;
        Ok((!next.is_empty()).then(|| self.prepared(turn, next, after, through)))
    }

    /// When the oldest invoice that comes next was sealed.
    pub(crate) async fn oldest_ms(
        &self,
        turn: &Turn,
        through: u64,
    ) -> Result<Option<u64>, TurnError> {
        let (next, _) = self.next(turn, through, 1).await?;
        Ok(next.first().map(|next| next.timestamp_ms))
    }

    fn prepared(&self, turn: &Turn, next: Vec<Next>, after: u64, through: u64) -> Prepared {
        let oldest_ms = next.iter().map(|next| next.timestamp_ms).min().unwrap_or(0);
        let invoices: Vec<Item> = next.into_iter().map(|next| next.item).collect();
        let batch = Batch {
            batch_id: batch_id(&invoices),
            outlet_id: turn.outlet_id.clone(),
            merchant_nif: turn.merchant_nif.clone(),
            invoices,
        };
        Prepared { batch, oldest_ms, after, through }
    }

    /// Invoices behind `after` that wait, in order, and up to where the journal was looked at.
    async fn next(
        &self,
        turn: &Turn,
        after: u64,
        count: usize,
    ) -> Result<(Vec<Next>, u64), TurnError> {
        let request = ReadRecordsRequest {
            group: turn.group,
            outlet_id: turn.outlet_id.clone(),
            from_position: after + 1,
            to_position: 0,
            consistency: Consistency::Local.into(),
        };
        let mut records = Box::pin(self.cluster.read_records(request, READ_WAIT));
        let (mut next, mut through, mut bytes) = (Vec::new(), after, 0);
        for _ in 0..LOOKED_AT_MAX {
            let Some(sealed) = records.next().await.transpose()? else { break };
            if sealed.upload.as_ref().is_some_and(|it| it.state() == UploadState::Queued) {
                bytes += sealed.record.len();
                if bytes > BATCH_BYTES_MAX && !next.is_empty() {
                    break;
                }
                next.push(next_of(&sealed)?);
            }
            through += 1;
            if next.len() == count {
                break;
            }
        }
        Ok((next, through))
    }

    /// Refused invoices that somebody wants to be sent again, in the order of their positions.
    async fn again(&self, turn: &Turn) -> Result<Vec<Next>, TurnError> {
        let mut request = ListUploadsRequest {
            group: turn.group,
            outlet_id: turn.outlet_id.clone(),
            after: String::new(),
            limit: ROWS_MAX,
            consistency: Consistency::Local.into(),
        };
        let mut found: Vec<(u64, String)> = Vec::new();
        while found.len() < self.batch_max {
            let page = self.cluster.list_uploads(request.clone(), READ_WAIT).await?;
            let Some(last) = page.uploads.last() else { break };
            request.after.clone_from(&last.fiscal_number);
            let queued = page.uploads.into_iter().filter(|row| {
                row.status.as_ref().is_some_and(|it| it.state() == UploadState::Queued)
            });
            found.extend(queued.map(|row| (row.position, row.fiscal_number)));
            if !page.more {
                break;
            }
        }
        found.sort_unstable();
        found.truncate(self.batch_max);
        let (mut next, mut bytes) = (Vec::new(), 0);
        for (_, fiscal_number) in found {
            let outlet_id = turn.outlet_id.clone();
            let which =
                read_record_request::Which::Number(OutletNumber { outlet_id, fiscal_number });
            let request = ReadRecordRequest {
                group: turn.group,
                which: Some(which),
                consistency: Consistency::Local.into(),
            };
            let Some(sealed) = self.cluster.read_record(request, READ_WAIT).await?.record else {
                continue;
            };
            bytes += sealed.record.len();
            if bytes > BATCH_BYTES_MAX && !next.is_empty() {
                break;
            }
            next.push(next_of(&sealed)?);
        }
        Ok(next)
    }

    /// Sends what was prepared.
    pub(crate) async fn send(&self, prepared: &Prepared) -> Sent {
        self.adapter.send(&prepared.batch).await
    }

    /// Records an answer: refusals first, then what is acknowledged, which moves the outlet on. What comes behind an
    /// invoice that could not be taken is sent again with it, so that order is kept.
    pub(crate) async fn record(
        &self,
        turn: &Turn,
        prepared: &Prepared,
        answered: Answered,
    ) -> Result<Settled, TurnError> {
        let judged = judge(prepared, &answered, &turn.later, self.attempts_max);
        let moved = if judged.is_whole { prepared.through } else { judged.through(prepared) };
        let mut records = Vec::new();
        for (verdict, items) in
            [(UploadVerdict::Rejected, &judged.rejected), (UploadVerdict::Failed, &judged.failed)]
        {
            records.extend(items.chunks(UPLOAD_REFUSED_MAX).map(|some| (verdict, some)));
        }
        let acknowledged = judged.acknowledged.chunks(UPLOAD_ITEMS_MAX);
        records.extend(acknowledged.map(|some| (UploadVerdict::Acknowledged, some)));
        let last = records.len();
        for (at, (verdict, items)) in records.into_iter().enumerate() {
            let command = RecordUpload {
                outlet_id: turn.outlet_id.clone(),
                verdict: verdict.into(),
                destination: self.destination.clone(),
                batch_id: prepared.batch.batch_id.clone(),
                receipt: answered.receipt.clone(),
                after_position: prepared.after,
                through_position: if at + 1 == last { moved } else { prepared.after },
                items: items.to_vec(),
            };
            self.submit(turn.group, command).await?;
        }
        Ok(judged.settled())
    }

    async fn submit(&self, group: u64, upload: RecordUpload) -> Result<(), TurnError> {
        let command = Command { command: Some(command::Command::RecordUpload(upload)) };
        match self.cluster.submit(group, command, SUBMIT_WAIT).await? {
            Answer::Recorded(_) | Answer::AlreadyRecorded(_) | Answer::Unchanged => Ok(()),
            Answer::Refused(refusal) => {
                Err(TurnError::Refused(format!("{}: {}", refusal.code, refusal.detail)))
            }
            other => Err(TurnError::Refused(format!("it was answered with {other}"))),
        }
    }
}

/// What an answer comes to: everything up to the first invoice that could not be taken.
#[derive(Debug, Default)]
struct Judged {
    acknowledged: Vec<UploadItem>,
    rejected: Vec<UploadItem>,
    failed: Vec<UploadItem>,
    later: BTreeMap<u64, u32>,
    /// The position of the last one that is settled.
    last: u64,
    is_whole: bool,
}

impl Judged {
    /// Up to where the outlet is settled with a part of a batch.
    fn through(&self, prepared: &Prepared) -> u64 {
        // What is sent again stands behind what is settled already.
        self.last.clamp(prepared.after, prepared.through)
    }

    fn settled(self) -> Settled {
        Settled {
            acknowledged: self.acknowledged.len(),
            rejected: self.rejected.len(),
            failed: self.failed.len(),
            later: self.later,
        }
    }
}

fn judge(
    prepared: &Prepared,
    answered: &Answered,
    later: &BTreeMap<u64, u32>,
    attempts_max: u32,
) -> Judged {
    let mut judged = Judged { is_whole: true, ..Judged::default() };
    for (item, said) in prepared.batch.invoices.iter().zip(&answered.said) {
        let as_item = |code: &str, reason: &str| UploadItem {
            fiscal_number: item.fiscal_number.clone(),
            code: code.to_owned(),
            // A refusal always says something.
            reason: if reason.is_empty() { code } else { reason }.to_owned(),
        };
        match said {
            Said::Acknowledged => judged.acknowledged.push(as_item("", "")),
            Said::Rejected { code, reason } => judged.rejected.push(as_item(code, reason)),
            Said::Later { code, reason } => {
                let attempts = later.get(&item.position).copied().unwrap_or(0) + 1;
                if attempts < attempts_max {
                    judged.later.insert(item.position, attempts);
                    judged.is_whole = false;
                    break;
                }
                judged.failed.push(as_item(code, reason));
            }
        }
        judged.last = item.position;
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(positions: &[u64], after: u64, through: u64) -> Prepared {
        let item = |position: &u64| Item {
            id: format!("inv_{position}"),
            fiscal_number: format!("K-G-{position}"),
            position: *position,
            kind: "sale".to_owned(),
            timestamp: String::new(),
            record_hash: String::new(),
            fiscal_authority_id: String::new(),
            signature: String::new(),
            invoice: String::new(),
        };
        let batch = Batch {
            batch_id: "b".to_owned(),
            outlet_id: "o".to_owned(),
            merchant_nif: "n".to_owned(),
            invoices: positions.iter().map(item).collect(),
        };
        Prepared { batch, oldest_ms: 0, after, through }
    }

    fn later() -> Said {
        Said::Later { code: "BUSY".to_owned(), reason: String::new() }
    }

    fn rejected() -> Said {
        Said::Rejected { code: "NIF".to_owned(), reason: String::new() }
    }

    #[test]
    fn what_comes_behind_an_invoice_that_is_to_wait_waits_as_well() {
        let prepared = prepared(&[3, 5, 6, 9], 2, 11);
        let said = vec![Said::Acknowledged, rejected(), later(), Said::Acknowledged];
        let answered = Answered { receipt: String::new(), said };
        let judged = judge(&prepared, &answered, &BTreeMap::new(), 3);
        assert_eq!((judged.acknowledged.len(), judged.rejected.len()), (1, 1));
        assert_eq!(judged.later, BTreeMap::from([(6, 1)]));
        assert_eq!((judged.is_whole, judged.through(&prepared)), (false, 5));
    }

    #[test]
    fn what_could_not_be_taken_often_enough_has_failed_and_the_next_goes_on() {
        let prepared = prepared(&[3, 5], 2, 7);
        let answered = Answered { receipt: String::new(), said: vec![later(), Said::Acknowledged] };
        let judged = judge(&prepared, &answered, &BTreeMap::from([(3, 2)]), 3);
        assert_eq!((judged.failed.len(), judged.acknowledged.len()), (1, 1));
        assert!(judged.is_whole && judged.later.is_empty());
    }

    #[test]
    fn nothing_moves_when_the_first_is_to_wait_or_is_sent_again() {
        let answered = Answered { receipt: String::new(), said: vec![later()] };
        let first = prepared(&[3], 2, 3);
        assert_eq!(judge(&first, &answered, &BTreeMap::new(), 3).through(&first), 2);
        let again = prepared(&[3], 40, 40);
        let answered = Answered { receipt: String::new(), said: vec![Said::Acknowledged] };
        assert_eq!(judge(&again, &answered, &BTreeMap::new(), 3).through(&again), 40);
    }
}
