//! The part of a group's leader that gathers submissions into entries and answers them.
//!
//! ```text
//! queue ──gather──► entry ──propose──► applied ──sign──► answers
//!   ▲ bounded        ≤ 1,000 commands, ≤ 1 MiB,            └─► signatures, attached to the next entry
//!                    ≤ 1 ms wait, none when idle
//! ```
//!
//! One task owns it all. It assigns nothing: numbers are made by apply, on every replica. Nothing is
//! signed before it is committed and applied, nothing is answered before it is signed, and what is not
//! known is answered as unknown.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fiscus_ledger::commands::HEADS_LEAF_INTERVAL_MS;
use fiscus_ledger::outcome::{Event, Outcome};
use fiscus_ledger::time::UnixMs;
use fiscus_proto::command::{self as proto, Command, command};
use fiscus_proto::ledger::submit_response::Result as Answer;
use fiscus_proto::ledger::{self as wire};
use fiscus_raft::consensus::{GroupHandle, ProposeError};
use fiscus_raft::entry::{encode_entry, refusal_to_proto};
use fiscus_raft::store::{AppliedEntry, ApplyReply, Progress};
use fiscus_raft::threads::aside;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Agreement;
use crate::context::NodeContext;
use crate::cuts::Cuts;
#[cfg(feature = "planted-bugs")]
use crate::planted;
use crate::records::{self, RecordError, SignedRecord};
use crate::scrub;

/// Between two looks at what a leader has to do of itself.
const HOUSEKEEPING: Duration = Duration::from_millis(50);
/// Signatures in one entry.
const ATTACH_MAX: usize = 8_192;
/// Records signed in one go after a change of leader.
const BACKFILL_MAX: u64 = 2_000;
/// How long a record may stay unsigned before it is signed a second time.
const UNSIGNED_PATIENCE: Duration = Duration::from_millis(200);
/// Signatures that wait for the log; about 100 bytes each.
const SIGNATURES_HELD_MAX: usize = 1 << 18;
/// Between two cuts, when there is something new.
const CUT_INTERVAL: Duration = Duration::from_secs(1);
/// So many new leaves are cut at once.
const CUT_LEAVES: u64 = 10_000;
/// An idle group's clock is moved this often.
const TICK_INTERVAL: Duration = Duration::from_secs(10);
/// So many signatures are made by the task that answers.
const SIGNED_HERE_MAX: usize = 4;
/// What a client is told to wait when there is no room.
const RETRY_AFTER_MS: u32 = 50;

/// A command that waits for its batch.
#[derive(Debug)]
pub struct Submission {
    /// What is asked.
    pub command: Command,
    /// Its encoded length.
    pub bytes: usize,
    /// When it came.
    pub received: Instant,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
}

/// The way into a group's batcher.
#[derive(Debug, Clone)]
pub struct Submit {
    queue: mpsc::Sender<Submission>,
    room: Arc<tokio::sync::Semaphore>,
    context: Arc<NodeContext>,
}

/// What an entry became.
#[derive(Debug, Default)]
struct Finished {
    signatures: Vec<(u64, [u8; 64])>,
    attached: bool,
}

/// The batcher of one group.
pub struct Batcher {
    context: Arc<NodeContext>,
    handle: Arc<GroupHandle>,
    queue: mpsc::Receiver<Submission>,
    room: Arc<tokio::sync::Semaphore>,
    cuts: Cuts,
    in_flight: FuturesOrdered<BoxFuture<'static, Finished>>,
    /// What did not fit into the batch before.
    carried: Option<Submission>,
    /// Signatures that the log does not have yet, by leaf.
    signatures: BTreeMap<u64, [u8; 64]>,
    attaching: bool,
    /// The first leaf without a signature, and since when it is the first.
    unsigned_since: Option<(u64, Instant)>,
    term: Option<u64>,
    last_cut: Instant,
    /// The tree's size at the last cut that this leader proposed.
    cut_leaves: u64,
    last_entry: Instant,
    #[cfg(feature = "planted-bugs")]
    planted: planted::Counters,
}

impl std::fmt::Debug for Batcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher").field("group", &self.handle.group()).finish_non_exhaustive()
    }
}

impl Submit {
    /// Queues a command, or says at once that there is no room.
    pub fn submit(
        &self,
        command: Command,
        bytes: usize,
    ) -> Result<oneshot::Receiver<Answer>, Answer> {
        let busy = |code: &str, detail: &str| {
            self.context.metrics.busy.add(1);
            Err(Answer::Busy(wire::Busy {
                retry_after_ms: RETRY_AFTER_MS,
                code: code.to_owned(),
                detail: detail.to_owned(),
            }))
        };
        if self.context.disk_full() {
            return busy("DISK_FULL", "the disk of this node is nearly full; free some space");
        }
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(room) = self.room.try_acquire_many(permits) else {
            return busy("QUEUE_FULL", "too many bytes wait; try again soon");
        };
        let (answer, receiver) = oneshot::channel();
        let submission = Submission { command, bytes, received: Instant::now(), answer };
        if self.queue.try_send(submission).is_err() {
            return busy("QUEUE_FULL", "too many commands wait; try again soon");
        }
        room.forget();
        Ok(receiver)
    }
}

impl Batcher {
    /// A batcher and the way into it. It runs until the last `Submit` is gone.
    pub(crate) fn new(
        context: Arc<NodeContext>,
        handle: Arc<GroupHandle>,
        cuts: Cuts,
    ) -> (Self, Submit) {
        let limits = &context.config.limits;
        let (sender, queue) = mpsc::channel(limits.queue_commands_max);
        let room = Arc::new(tokio::sync::Semaphore::new(limits.queue_bytes_max));
        let submit = Submit { queue: sender, room: room.clone(), context: context.clone() };
        let now = Instant::now();
        let batcher = Self {
            context,
            handle,
            queue,
            room,
            cuts,
            in_flight: FuturesOrdered::new(),
            carried: None,
            signatures: BTreeMap::new(),
            attaching: false,
            unsigned_since: None,
            term: None,
            last_cut: now,
            cut_leaves: 0,
            last_entry: now,
            #[cfg(feature = "planted-bugs")]
            planted: planted::Counters::default(),
        };
        (batcher, submit)
    }

    /// Works until nobody can submit any more.
    pub async fn run(mut self) {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let room = self.in_flight.len() < self.context.config.limits.batches_in_flight_max;
            tokio::select! {
                Some(finished) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    self.note(finished);
                }
                first = self.queue.recv(), if room && self.carried.is_none() => match first {
                    Some(first) => self.batch(first).await,
                    None => break,
                },
                () = std::future::ready(()), if room && self.carried.is_some() => {
                    if let Some(first) = self.carried.take() {
                        self.batch(first).await;
                    }
                }
                _ = housekeeping.tick() => self.keep_house(room).await,
            }
        }
        while self.in_flight.next().await.is_some() {}
    }

    fn note(&mut self, finished: Finished) {
        self.signatures.extend(finished.signatures);
        // Records that are let go here are signed again when their turn comes.
        while self.signatures.len() > SIGNATURES_HELD_MAX {
            self.signatures.pop_last();
        }
        if finished.attached {
            self.attaching = false;
        }
    }

    /// Gathers what waits behind `first`, and proposes it.
    async fn batch(&mut self, first: Submission) {
        let limits = &self.context.config.limits;
        let (commands_max, bytes_max) = (limits.batch_commands_max, limits.batch_bytes_max);
        let patience = Duration::from_micros(limits.batch_wait_us);
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        // When nothing is on its way, waiting for more only costs; otherwise it saves an entry.
        let until = (!self.in_flight.is_empty()).then(|| tokio::time::Instant::now() + patience);
        while batch.len() < commands_max {
            let next = match (self.queue.try_recv(), until) {
                (Ok(next), _) => next,
                (Err(_), None) => break,
                (Err(_), Some(until)) => {
                    match tokio::time::timeout_at(until, self.queue.recv()).await {
                        Ok(Some(next)) => next,
                        Ok(None) | Err(_) => break,
                    }
                }
            };
            if bytes + next.bytes > bytes_max {
                self.carried = Some(next);
                break;
            }
            bytes += next.bytes;
            batch.push(next);
        }
        self.room.add_permits(bytes);
        self.context.metrics.commands.add(batch.len() as u64);
        for submission in &batch {
            self.context.metrics.queue.observe(submission.received.elapsed());
        }
        self.propose_batch(batch).await;
    }

    async fn propose_batch(&mut self, batch: Vec<Submission>) {
        let Some(term) = self.leading() else {
            let leader = self.handle.status().leader.filter(|id| *id != self.context.identity.node);
            let answer = Answer::NotLeader(wire::NotLeader { leader: leader.unwrap_or(0) });
            return refuse_all(batch, &answer);
        };
        let wait = |code: &str, detail: &str| {
            self.context.metrics.busy.add(batch.len() as u64);
            let (code, detail) = (code.to_owned(), detail.to_owned());
            Answer::Busy(wire::Busy { retry_after_ms: 250, code, detail })
        };
        let Some(stamp) = self.stamp() else {
            let detail = "this node does not agree with a majority on the time";
            let answer = wait("CLOCK_UNSYNCED", detail);
            return refuse_all(batch, &answer);
        };
        if self.cuts.is_disputed(self.handle.replica().progress().borrow().decided.as_ref()) {
            let detail = "the voters' states differ, and no majority agrees on one yet";
            let answer = wait("STATE_DISPUTED", detail);
            return refuse_all(batch, &answer);
        }
        let mut own = Vec::new();
        let attached = self.attach(&mut own);
        let commands = batch.iter().map(|submission| submission.command.clone());
        let commands: Vec<Command> = own.iter().cloned().chain(commands).collect();
        #[cfg(feature = "planted-bugs")]
        let commands = self.planted.number(commands, &self.handle, self.in_flight.is_empty());
        self.propose(term, stamp, &commands, own.len(), batch, attached).await;
    }

    /// Proposes an entry: `own` commands of the leader first, then the batch's.
    async fn propose(
        &mut self,
        term: u64,
        stamp: UnixMs,
        commands: &[Command],
        own: usize,
        batch: Vec<Submission>,
        attached: bool,
    ) {
        let version = self.handle.replica().progress().borrow().apply_version;
        let mut seed = [0; 32];
        if self.context.random.fill(&mut seed).is_err() {
            let detail = "the operating system gives no randomness".to_owned();
            return refuse_all(batch, &Answer::Unknown(wire::Unknown { detail }));
        }
        let entry = Bytes::from(encode_entry(version, stamp, &seed, commands));
        #[cfg(feature = "planted-bugs")]
        if !batch.is_empty() && self.in_flight.is_empty() {
            planted::sign_early(&self.context, &self.handle, &entry);
        }
        let started = Instant::now();
        self.last_entry = started;
        self.context.metrics.entries.add(1);
        match self.handle.begin_propose(term, entry).await {
            Ok(answer) => {
                let context = self.context.clone();
                let handle = self.handle.clone();
                self.attaching |= attached;
                self.in_flight.push_back(Box::pin(async move {
                    let reply = answer.await;
                    context.metrics.commit.observe(started.elapsed());
                    let mut finished = finish(&context, &handle, reply, own, batch).await;
                    finished.attached = attached;
                    finished
                }));
            }
            Err(error) => refuse_all(batch, &failed(error)),
        }
    }

    /// The term that this node leads in. A new term begins with what the log has.
    fn leading(&mut self) -> Option<u64> {
        let term = self.handle.leading();
        if term != self.term {
            self.term = term;
            self.signatures.clear();
            self.attaching = false;
            self.cut_leaves = 0;
        }
        term
    }

    fn stamp(&self) -> Option<UnixMs> {
        let voters: Vec<u64> = self.handle.status().voters.into_iter().collect();
        match self.context.clock.agreement(self.context.identity.node, &voters) {
            Agreement::Agreed { stamp_ms } => Some(UnixMs::new(stamp_ms)),
            Agreement::Alone { .. } | Agreement::None => None,
        }
    }

    /// Puts the signatures that the log lacks before other commands; one such entry at a time.
    fn attach(&mut self, own: &mut Vec<Command>) -> bool {
        if self.attaching {
            return false;
        }
        let from = self.handle.replica().progress().borrow().signed_leaves;
        self.signatures = self.signatures.split_off(&from);
        let mut signatures = Vec::new();
        for (leaf, (known, signature)) in (from..).zip(self.signatures.range(from..)) {
            if *known != leaf || signatures.len() >= ATTACH_MAX * 64 {
                break;
            }
            signatures.extend_from_slice(signature);
        }
        if signatures.is_empty() {
            return false;
        }
        let attach = proto::AttachSignatures { first_leaf: from, signatures: signatures.into() };
        own.push(Command { command: Some(command::Command::AttachSignatures(attach)) });
        true
    }

    /// What a leader does of itself: signs what an earlier leader left, attaches signatures, cuts and
    /// decides checkpoints, moves an idle group's clock.
    async fn keep_house(&mut self, room: bool) {
        let Some(term) = self.leading() else { return };
        let progress = self.handle.replica().progress().borrow().clone();
        if progress.stopped.is_some() {
            return;
        }
        if let Some(missing) = self.unsigned(&progress) {
            self.backfill(missing).await;
        }
        if !room {
            return;
        }
        let mut own = Vec::new();
        let attached = self.attach(&mut own);
        if let Some(decided) = self.decide(&progress) {
            own.push(decided);
        }
        let now = Instant::now();
        if self.cut_is_due(&progress) || self.heads_are_due(&progress) {
            self.last_cut = now;
            self.cut_leaves = progress.leaves;
            let cut = proto::CheckpointCut { demand_heads: false };
            own.push(Command { command: Some(command::Command::CheckpointCut(cut)) });
        }
        if own.is_empty() && now.duration_since(self.last_entry) >= TICK_INTERVAL {
            own.push(Command { command: Some(command::Command::Tick(proto::Tick {})) });
        }
        if own.is_empty() {
            return;
        }
        // Without an agreed time the group's clock stands still; signatures and checkpoints go on.
        let stamp = self.stamp().unwrap_or_else(|| UnixMs::new(progress.time_ms));
        let count = own.len();
        self.propose(term, stamp, &own, count, Vec::new(), attached).await;
    }

    /// Whether there is a new record since the last cut. A heads leaf alone is nothing new: the cut
    /// that follows it would make the next one.
    fn cut_is_due(&self, progress: &Progress) -> bool {
        let last = progress.last_cut.as_ref().or(progress.decided.as_ref());
        let covered = last.map_or(0, |tuple| tuple.size).max(self.cut_leaves);
        let fresh = progress.leaves.saturating_sub(covered);
        fresh >= CUT_LEAVES || (fresh > 0 && self.last_cut.elapsed() >= CUT_INTERVAL)
    }

    /// Whether a root of the heads tree is due although no record has come since the last cut.
    fn heads_are_due(&self, progress: &Progress) -> bool {
        let fresh = progress.leaves > progress.heads_leaf_end;
        let due = progress.heads_leaf_time_ms.saturating_add(HEADS_LEAF_INTERVAL_MS);
        let now = fresh.then(|| self.stamp()).flatten();
        now.is_some_and(|now| now.get() >= due) && self.last_cut.elapsed() >= CUT_INTERVAL
    }

    fn decide(&self, progress: &Progress) -> Option<Command> {
        let agreed = self.cuts.to_decide(progress.decided.as_ref())?;
        let tuple = proto::CheckpointTuple {
            log_index: agreed.log_index,
            size: agreed.size,
            root: Bytes::copy_from_slice(&agreed.root),
            state_hash: Bytes::copy_from_slice(&agreed.state_hash),
        };
        let decided = proto::CheckpointDecided { tuple: Some(tuple) };
        Some(Command { command: Some(command::Command::CheckpointDecided(decided)) })
    }

    /// The first records that have no signature in the log and none here, unless theirs may be on the way: while
    /// entries are in flight, the log has to have stood still at the same leaf for a while.
    fn unsigned(&mut self, progress: &Progress) -> Option<Range<u64>> {
        let from = progress.signed_leaves;
        let held = self.signatures.range(from..).next().map_or(progress.leaves, |(leaf, _)| *leaf);
        let end = held.min(progress.leaves).min(from + BACKFILL_MAX);
        if end <= from {
            self.unsigned_since = None;
            return None;
        }
        let since = match self.unsigned_since {
            Some((leaf, since)) if leaf == from => since,
            _ => Instant::now(),
        };
        self.unsigned_since = Some((from, since));
        let waited = since.elapsed() >= UNSIGNED_PATIENCE;
        (waited || self.in_flight.is_empty()).then_some(from..end)
    }

    async fn backfill(&mut self, missing: Range<u64>) {
        let (context, replica) = (self.context.clone(), self.handle.replica().clone());
        let missing: Vec<u64> = missing.collect();
        let signing = move || records::sign_leaves(&context, &replica, &missing);
        match aside(signing).await {
            Ok(Ok(signed)) => self.signatures.extend(signed),
            Ok(Err(error)) => {
                tracing::error!(group = self.handle.group(), %error, "records stay unsigned");
            }
            Err(error) => tracing::error!(%error, "signing was interrupted"),
        }
    }
}

fn refuse_all(batch: Vec<Submission>, answer: &Answer) {
    for submission in batch {
        // Whoever asked may have gone.
        let _ = submission.answer.send(answer.clone());
    }
}

fn failed(error: ProposeError) -> Answer {
    match error {
        ProposeError::NotLeader { leader } => {
            Answer::NotLeader(wire::NotLeader { leader: leader.unwrap_or(0) })
        }
        ProposeError::Unknown(detail) => Answer::Unknown(wire::Unknown { detail }),
        // It was not taken; another node may lead.
        ProposeError::Stopped(_) => Answer::NotLeader(wire::NotLeader { leader: 0 }),
    }
}

/// Signs what an entry made, and answers.
async fn finish(
    context: &Arc<NodeContext>,
    handle: &Arc<GroupHandle>,
    reply: Result<ApplyReply, ProposeError>,
    own: usize,
    batch: Vec<Submission>,
) -> Finished {
    let applied = match reply {
        Ok(ApplyReply::Applied(applied)) => applied,
        // Nothing has happened: the client asks again, and meets the new rules.
        Ok(ApplyReply::Stale | ApplyReply::Internal) => {
            let detail = "the group has moved to newer rules".to_owned();
            let code = "RULES_CHANGED".to_owned();
            let busy = wire::Busy { retry_after_ms: 1, code, detail };
            refuse_all(batch, &Answer::Busy(busy));
            return Finished::default();
        }
        Err(error) => {
            if matches!(error, ProposeError::Unknown(_)) {
                context.metrics.unknown.add(batch.len() as u64);
            }
            refuse_all(batch, &failed(error));
            return Finished::default();
        }
    };
    report_events(context, handle.group(), &applied.events);
    let started = Instant::now();
    let (signing, entry) = (context.clone(), applied.clone());
    let sign = move || records::sign_entry(&signing, &entry);
    // Another thread would take longer to wake than a few signatures take to make.
    let few = applied.leaves.len() <= SIGNED_HERE_MAX;
    let signed = if few { Ok(sign()) } else { aside(sign).await };
    context.metrics.sign.observe(started.elapsed());
    let signed = match signed {
        Ok(Ok(signed)) => signed,
        Ok(Err(error)) => {
            tracing::error!(group = handle.group(), %error, "what was applied cannot be signed here");
            let detail = format!("it was recorded, and cannot be signed on this node: {error}");
            refuse_all(batch, &Answer::Unknown(wire::Unknown { detail }));
            return Finished::default();
        }
        Err(error) => {
            let detail = format!("signing was interrupted: {error}");
            refuse_all(batch, &Answer::Unknown(wire::Unknown { detail }));
            return Finished::default();
        }
    };
    let outcomes = applied.outcomes.iter().skip(own);
    for (outcome, submission) in outcomes.zip(batch) {
        let outlet_id = records::outlet_of(&submission.command).to_owned();
        let answer = answer(context, handle, &applied, &signed, outcome, &outlet_id).await;
        context.metrics.total.observe(submission.received.elapsed());
        // Whoever asked may have gone.
        let _ = submission.answer.send(answer);
    }
    let signatures = (applied.first_leaf..).zip(signed).collect();
    Finished { signatures, attached: false }
}

/// A command that was recorded before is answered with its record: this node's copy, and when that is
/// damaged, a copy that is proved against the leaf.
async fn already_recorded(
    context: &Arc<NodeContext>,
    handle: &GroupHandle,
    outlet_id: &str,
    position: u64,
) -> Answer {
    context.metrics.duplicates.add(1);
    let mut found = records::find_signed(context, handle.replica(), outlet_id, position);
    if matches!(&found, Err(RecordError::Store(error)) if error.is_damage()) {
        let elsewhere = scrub::sound_record(context, handle, outlet_id, position).await;
        found = elsewhere.transpose().unwrap_or(found);
    }
    match found {
        Ok(SignedRecord { leaf, record, signature }) => {
            Answer::AlreadyRecorded(wire::JournalRecord {
                // A repetition is answered with the bytes of the first time.
                upload: None,
                group: handle.group(),
                leaf,
                record: record.into(),
                signature: Bytes::copy_from_slice(&signature),
            })
        }
        Err(error) => {
            let group = handle.group();
            tracing::error!(group, outlet_id, position, %error, "a recorded command has no answer");
            let detail = format!("it was recorded before, and cannot be read: {error}");
            Answer::Unknown(wire::Unknown { detail })
        }
    }
}

async fn answer(
    context: &Arc<NodeContext>,
    handle: &GroupHandle,
    applied: &AppliedEntry,
    signed: &[[u8; 64]],
    outcome: &Outcome,
    outlet_id: &str,
) -> Answer {
    let group = handle.group();
    let metrics = &context.metrics;
    match outcome {
        Outcome::Recorded(recorded) => {
            metrics.recorded.add(1);
            let at = usize::try_from(recorded.leaf_index - applied.first_leaf);
            let place = at.ok().and_then(|at| Some((applied.leaves.get(at)?.1?, signed.get(at)?)));
            let ((from, to), signature) = place.expect("a recorded command has its record");
            Answer::Recorded(wire::JournalRecord {
                group,
                leaf: recorded.leaf_index,
                record: applied.records.slice(from..to),
                signature: Bytes::copy_from_slice(signature),
                upload: None,
            })
        }
        Outcome::AlreadyRecorded { position } => {
            already_recorded(context, handle, outlet_id, *position).await
        }
        Outcome::Waiting => Answer::Waiting(wire::Waiting {}),
        Outcome::Done => Answer::Done(wire::Done {}),
        Outcome::Unchanged => Answer::Unchanged(wire::Unchanged {}),
        Outcome::Refused(refusal) => {
            metrics.refused.add(1);
            Answer::Refused(refusal_to_proto(refusal))
        }
    }
}

fn report_events(context: &NodeContext, group: u64, events: &[Event]) {
    for event in events {
        match event {
            Event::CheckpointDecided(tuple) => {
                tracing::debug!(group, size = tuple.size, "a checkpoint is decided");
            }
            event => {
                context.metrics.alerts.add(1);
                tracing::warn!(group, ?event, "an event that people must hear of");
            }
        }
    }
}
