//! A client: it submits, asks again under the same key until there is an answer, and notes every attempt.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use fiscus_check::line::{Digest, Op, Outcome};
use fiscus_dice::Dice;
use fiscus_ledger::record::Record;
use fiscus_ledger::seal::FiscalNumber;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_proto::client::{Answer, ClusterClient};
use fiscus_proto::ledger::{Consistency, JournalRecord, ReadOutletRequest};
use tokio::time::{Instant, sleep};

use crate::cluster::GROUP;
use crate::record::Recorder;
use crate::sales::{Submission, key_name};

/// One attempt waits so long.
const ATTEMPT: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(20);
/// Acknowledged submissions that are kept to be asked for again, of all ages.
const KEPT_MAX: usize = 2_000;
/// A refusal that will not last: the outlet has not come to its group yet.
const LATER: [&str; 2] = ["OUTLET_UNKNOWN", "GRANT_PENDING"];

/// What became of an attempt.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    Recorded(JournalRecord),
    /// It was done, without a record of its own.
    Done,
    /// Never.
    Refused(String),
    /// Surely not, but perhaps later.
    NotNow,
    Unknown,
}

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Floor {
    stop: AtomicBool,
    kept: Mutex<Kept>,
    /// What was not answered when the load stopped, by its outlet, operation and key.
    open: Mutex<BTreeMap<(String, &'static str, String), Submission>>,
}

#[derive(Debug)]
struct Kept {
    submissions: Vec<Submission>,
    offered: u64,
    dice: Dice,
}

impl Floor {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let dice = Dice::new(seed, "kept");
        let kept = Kept { submissions: Vec::new(), offered: 0, dice };
        let (stop, kept) = (AtomicBool::new(false), Mutex::new(kept));
        Arc::new(Self { stop, kept, open: Mutex::default() })
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Keeps an acknowledged submission, so that all that were ever offered are kept with equal chances.
    fn offer(&self, submission: &Submission) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.offered += 1;
        if kept.submissions.len() < KEPT_MAX {
            kept.submissions.push(submission.clone());
            return;
        }
        let offered = kept.offered;
        let at = usize::try_from(kept.dice.below(offered)).unwrap_or(KEPT_MAX);
        if let Some(place) = kept.submissions.get_mut(at) {
            *place = submission.clone();
        }
    }

    /// One that was acknowledged at some time.
    pub(crate) fn earlier(&self, dice: &mut Dice) -> Option<Submission> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let count = u64::try_from(kept.submissions.len()).ok().filter(|count| *count > 0)?;
        kept.submissions.get(usize::try_from(dice.below(count)).ok()?).cloned()
    }

    /// All that are kept, and all that are open.
    pub(crate) fn to_ask_again(&self) -> (Vec<Submission>, Vec<Submission>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).submissions.clone();
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        (kept, open.values().cloned().collect())
    }

    fn note_open(&self, submission: &Submission) {
        let Submission { outlet, f, key, .. } = submission;
        let name = (outlet.clone(), *f, key.clone());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(name, submission.clone());
    }
}

/// A client, which does one thing after the other.
#[derive(Debug, Clone)]
pub(crate) struct Till {
    pub(crate) client: ClusterClient,
    pub(crate) recorder: Recorder,
    pub(crate) floor: Arc<Floor>,
    pub(crate) process: u64,
}

impl Till {
    pub(crate) fn new(client: &ClusterClient, recorder: &Recorder, floor: &Arc<Floor>) -> Self {
        let process = recorder.process();
        Self { client: client.clone(), recorder: recorder.clone(), floor: floor.clone(), process }
    }

    /// Another client with the same connections.
    pub(crate) fn other(&self) -> Self {
        Self::new(&self.client, &self.recorder, &self.floor)
    }

    fn op<'a>(&self, f: &'static str, outlet: &'a str, start: u64) -> Op<'a> {
        let end = Some(self.recorder.now());
        Op { end, ..Op::begun(self.process, f, GROUP, outlet, start) }
    }

    /// One attempt.
    pub(crate) async fn attempt(&self, submission: &Submission) -> Result<Told> {
        let start = self.recorder.now();
        let answer = self.client.submit(GROUP, submission.command.clone(), ATTEMPT).await;
        let mut op = self.op(submission.f, &submission.outlet, start);
        op.key = match submission.f {
            // The credential and the place are the key, and the journal has them.
            "reconcile" => Some(submission.key.clone().into()),
            "close_block" => None,
            _ => Some(key_name(&submission.key).into()),
        };
        op.payload = submission.payload;
        let now = matches!(answer, Ok(Answer::Recorded(_)));
        let told = match answer {
            Ok(Answer::Recorded(record) | Answer::AlreadyRecorded(record)) => {
                fill(&mut op, &record)?;
                Told::Recorded(record)
            }
            Ok(Answer::Done | Answer::Unchanged | Answer::Waiting) => {
                op.outcome = Outcome::Ok;
                Told::Done
            }
            Ok(Answer::Refused(refusal)) => {
                op.outcome = Outcome::Fail;
                op.error = Some(refusal.code.clone().into());
                match LATER.contains(&&*refusal.code) {
                    true => Told::NotNow,
                    false => Told::Refused(refusal.code),
                }
            }
            Err(error) => {
                op.error = Some(error.code().into());
                match error {
                    fiscus_proto::client::SubmitError::Unknown { .. } => Told::Unknown,
                    _ => {
                        op.outcome = Outcome::Fail;
                        Told::NotNow
                    }
                }
            }
        };
        self.recorder.op_of(op, now)?;
        Ok(told)
    }

    /// Attempts until it is clear, the load stops, or patience ends.
    pub(crate) async fn submit(&self, submission: &Submission, patience: Duration) -> Result<Told> {
        let began = Instant::now();
        let mut stopped = self.floor.stopped();
        loop {
            let told = self.attempt(submission).await?;
            match &told {
                Told::Recorded(_) => {
                    if matches!(submission.f, "seal" | "borrow" | "close_day") {
                        self.floor.offer(submission);
                    }
                    return Ok(told);
                }
                Told::Done | Told::Refused(_) => return Ok(told),
                Told::NotNow | Told::Unknown => {}
            }
            // In the end everything is asked for until patience ends; the load's end leaves it open.
            if self.floor.stopped() && !std::mem::replace(&mut stopped, true) {
                self.floor.note_open(submission);
                return Ok(told);
            }
            if began.elapsed() > patience {
                return Ok(told);
            }
            sleep(PAUSE).await;
        }
    }

    /// A linearizable look at an outlet.
    pub(crate) async fn look(&self, outlet: &str) -> Result<Option<Outlet>> {
        let start = self.recorder.now();
        let request = ReadOutletRequest {
            group: GROUP,
            outlet_id: outlet.to_owned(),
            consistency: Consistency::Linearizable.into(),
        };
        let read = self.client.read_outlet(request, ATTEMPT).await;
        let mut op = self.op("read", outlet, start);
        let row = match read {
            // Nobody has sold in it yet: whoever knows better finds that this read is stale.
            Ok(read) if read.row.is_empty() => {
                op.outcome = Outcome::Ok;
                (op.position, op.number) = (Some(0), Some(0));
                None
            }
            Ok(read) => {
                let row = Outlet::from_stored(&read.row)?;
                op.outcome = Outcome::Ok;
                (op.position, op.number) = (Some(row.chain.last_position), Some(row.series.last));
                Some(row)
            }
            Err(error) => {
                // A read that is not answered has changed nothing.
                op.outcome = Outcome::Fail;
                op.error = Some(error.code().into());
                None
            }
        };
        self.recorder.op(op)?;
        Ok(row)
    }

    /// Looks until there is an answer; when there is none, that is noted.
    pub(crate) async fn must_look(&self, outlet: &str, patience: Duration) -> Result<()> {
        let began = Instant::now();
        while self.look(outlet).await?.is_none() {
            if began.elapsed() > patience {
                let op = self.op("read", outlet, self.recorder.now());
                return self.recorder.op(op);
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Notes that a submission has no answer to the end.
    pub(crate) fn note_unanswered(&self, submission: &Submission) -> Result<()> {
        self.recorder.op(self.op(submission.f, &submission.outlet, self.recorder.now()))
    }

    /// Notes something that is only kept, or a proof.
    pub(crate) fn note(&self, f: &'static str, start: u64, wrong: Option<String>) -> Result<()> {
        let mut op = self.op(f, "-", start);
        op.outcome = if wrong.is_some() { Outcome::Fail } else { Outcome::Ok };
        op.error = wrong.map(Into::into);
        self.recorder.op(op)
    }
}

/// Writes what was answered into an operation.
fn fill(op: &mut Op<'_>, answered: &JournalRecord) -> Result<()> {
    let record = Record::decode(&answered.record)?;
    op.outcome = Outcome::Ok;
    op.position = Some(record.position);
    op.bytes = Some(digest(answered));
    if !record.fiscal_number.is_empty() {
        let (series, number) = split(record.fiscal_number)?;
        (op.series, op.number) = (Some(series.into()), Some(number));
    }
    Ok(())
}

/// The digest of an answer's bytes: the record and its signature.
pub(crate) fn digest(answered: &JournalRecord) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&answered.record).update(&answered.signature);
    Digest(hasher.finalize().into())
}

/// The series and the number of a fiscal number.
pub(crate) fn split(fiscal_number: &str) -> Result<(String, u64)> {
    let number: FiscalNumber = fiscal_number.parse()?;
    let series = fiscal_number.rsplit_once('-').map_or("", |(series, _)| series);
    Ok((series.to_owned(), number.sequence()))
}
