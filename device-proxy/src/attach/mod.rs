//! A real fiscal device behind the proxy: many terminals, one device, one command at a time.
//!
//! ```text
//! hosts ─► Session ─► Attached::call ─► jobs ─► FairQueue ─► Mediator ─► Link ─► the device
//!                                                   ▲           │ its journal
//!                                     import ───────┘           └──────► cluster: ImportDeviceSeal, in order
//! ```
//!
//! The device is the memory, the counter and the key; the proxy keeps nothing that the device has not. Invariants:
//! those of the mediator; a command that has not begun when its time is up is never done; what the device has
//! sealed is imported in its order, however long the cluster is away.

mod entry;
#[cfg(any(test, fuzzing))]
mod heard;
mod import;
mod kept;
mod link;
mod mediator;
mod queue;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::hash::payload_hash;
use fiscus_ledger::payload::Object;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};

#[cfg(any(test, fuzzing))]
pub use heard::hear;
pub(crate) use import::import;
pub(crate) use kept::KeptInvoices;
pub(crate) use link::Place;

use link::Link;

use entry::LogEntry;
use mediator::{LONG_LIMIT, Mediator, Outcome, QUERY_LIMIT, Status, TXN_LIMIT};
use queue::FairQueue;

use crate::protocol::{Call, Code, DumpFormat, Fault, Reply};

/// The importer's turn among the terminals.
const IMPORTER: u64 = 0;
/// Before a device that does not answer is looked for again.
const LINE_PAUSE: Duration = Duration::from_millis(250);
/// A command that has less time left is not begun.
const BEGIN_MIN: Duration = Duration::from_millis(500);
/// A silent device is asked whether it is there.
const IDLE: Duration = Duration::from_secs(5);
/// Entries of one chunk of a dump.
const CHUNK: u64 = 20;

/// Whether a device's journal tells invoices.
const TELLS: u8 = 1;
const TERSE: u8 = 2;

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

/// What is to be done at the device.
#[derive(Debug)]
enum Work {
    Prepare(Vec<u8>, [u8; 16]),
    Seal(Vec<u8>, [u8; 16]),
    Find([u8; 16]),
    Status,
    Entry(u64),
    Tell(String, Duration),
}

#[derive(Debug)]
struct Job {
    work: Work,
    until: Instant,
    state: Arc<AtomicU8>,
    reply: oneshot::Sender<Done>,
}

/// What became of a job.
#[derive(Debug)]
enum Done {
    Outcome(Outcome),
    Status(Status),
    Entry(Option<Box<LogEntry>>),
}

/// What is known of the device without asking it. Read and written by whoever looks.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Whether it answers.
    pub(crate) up: AtomicBool,
    /// Its next sequence; 0 when it was never met.
    pub(crate) next: AtomicU64,
    /// The last sequence that the ledger has.
    pub(crate) imported: AtomicU64,
    /// Whether the import has stopped at an entry that the ledger refuses.
    pub(crate) stopped: AtomicBool,
    pub(crate) queued: AtomicU64,
    /// Bytes of memory that it says are free.
    pub(crate) free_bytes: AtomicU64,
    /// How often it was met anew.
    pub(crate) met: AtomicU64,
    /// Whether it reports something else than the directory has of it.
    pub(crate) drift: AtomicBool,
    /// Whether its journal tells invoices: 0 not known, 1 it does, 2 it does not.
    pub(crate) tells: AtomicU8,
    /// What the outlet's group says of who seals: 0 not heard, 1 the ledger, 2 the device.
    pub(crate) mode: AtomicU8,
}

/// A device that is attached: where its terminals ask.
#[derive(Debug)]
pub(crate) struct Attached {
    device_id: String,
    jobs: mpsc::Sender<(u64, Job)>,
    pub(crate) figures: Arc<Figures>,
    /// Rises when the device has sealed.
    pub(crate) sealed: Arc<Notify>,
    pub(crate) status: watch::Receiver<Option<Status>>,
    /// What it was given to seal and the ledger does not have.
    pub(crate) kept: KeptInvoices,
}

/// The loop that owns the device.
#[derive(Debug)]
pub(crate) struct Owner {
    mediator: Mediator<Link>,
    jobs: mpsc::Receiver<(u64, Job)>,
    queue: FairQueue<Job>,
    figures: Arc<Figures>,
    sealed: Arc<Notify>,
    status: watch::Sender<Option<Status>>,
}

/// A device and its owner, who has to be run.
pub(crate) fn attach(
    device_id: &str,
    place: Place,
    terminals: usize,
    kept: KeptInvoices,
) -> (Attached, Owner) {
    let (to_owner, jobs) = mpsc::channel(terminals + 8);
    let (status, told) = watch::channel(None);
    let figures = Arc::new(Figures::default());
    let sealed = Arc::new(Notify::new());
    let attached = Attached {
        device_id: device_id.to_owned(),
        jobs: to_owner,
        figures: Arc::clone(&figures),
        sealed: Arc::clone(&sealed),
        status: told,
        kept,
    };
    let mediator = Mediator::new(Link::new(place), device_id);
    let queue = FairQueue::new(terminals + 8);
    (attached, Owner { mediator, jobs, queue, figures, sealed, status })
}

impl Owner {
    /// Serves the device until every terminal and the importer have gone.
    pub(crate) async fn run(mut self) {
        let mut away = false;
        loop {
            while let Ok((terminal, job)) = self.jobs.try_recv() {
                self.take(terminal, job);
            }
            self.figures
                .queued
                .store(u64::try_from(self.queue.len()).unwrap_or(0), Ordering::Relaxed);
            if !self.mediator.is_up() {
                let met = self.mediator.recover().await;
                if let Err(fault) = &met {
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!(
                            code = fault.code.as_str(),
                            detail = fault.detail,
                            "the device is away"
                        );
                    }
                    self.note();
                    // Whoever waits waits no longer than it may; a new look may find it.
                    self.give_up(&fault.clone());
                    tokio::select! {
                        () = sleep(LINE_PAUSE) => {}
                        job = self.jobs.recv() => match job {
                            Some((terminal, job)) => self.take(terminal, job),
                            None => return,
                        },
                    }
                    continue;
                }
                away = false;
                self.figures.met.fetch_add(1, Ordering::Relaxed);
                tracing::info!(next = self.mediator.next(), "the device is there");
                self.note();
            }
            match self.queue.pop() {
                Some(job) => self.work(job).await,
                None => tokio::select! {
                    job = self.jobs.recv() => match job {
                        Some((terminal, job)) => self.take(terminal, job),
                        None => return,
                    },
                    () = sleep(IDLE) => {
                        // Its answer, or its silence, is noted; there is nobody to tell.
                        let _ = self.mediator.how_are_you().await;
                        self.note();
                    }
                },
            }
        }
    }

    fn take(&mut self, terminal: u64, job: Job) {
        if let Err(job) = self.queue.push(terminal, job) {
            let busy = Fault::new(Code::DeviceBusy, "as many commands as may wait for the device");
            let _ = job.reply.send(Done::Outcome(Outcome::NotNow(busy)));
        }
    }

    /// Answers everything that waits: nothing of it was begun.
    fn give_up(&mut self, fault: &Fault) {
        while let Some(job) = self.queue.pop() {
            if job
                .state
                .compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                let fault = Fault::new(
                    if fault.code == Code::Unauthorized {
                        Code::Unauthorized
                    } else {
                        Code::Unavailable
                    },
                    format!("{}; nothing was done; ask again", fault.detail),
                );
                let _ = job.reply.send(Done::Outcome(Outcome::NotNow(fault)));
            }
        }
    }

    async fn work(&mut self, job: Job) {
        // What would come too late is told so by whoever waits for it, and never begun.
        let in_time = job.until > Instant::now() + BEGIN_MIN;
        let begun = in_time
            && job
                .state
                .compare_exchange(WAITING, BEGUN, Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
        if !begun {
            return;
        }
        let before = self.mediator.next();
        let done = match job.work {
            Work::Prepare(payload, key) => {
                Done::Outcome(self.mediator.prepare(&payload, key).await)
            }
            Work::Seal(payload, key) => Done::Outcome(self.mediator.seal(&payload, key).await),
            Work::Find(key) => Done::Outcome(self.mediator.find(&key).await),
            Work::Status => match self.mediator.how_are_you().await {
                Ok(status) => Done::Status(status),
                Err(fault) => Done::Outcome(Outcome::NotNow(fault)),
            },
            Work::Entry(sequence) => match self.mediator.read_entry(sequence).await {
                Ok(entry) => Done::Entry(entry.map(Box::new)),
                Err(fault) => Done::Outcome(Outcome::NotNow(fault)),
            },
            Work::Tell(body, limit) => Done::Outcome(self.mediator.tell(&body, limit).await),
        };
        self.note();
        if self.mediator.next() > before {
            self.sealed.notify_one();
        }
        // Whoever has hung up asks again.
        let _ = job.reply.send(done);
    }

    /// Tells the figures.
    fn note(&self) {
        self.figures.up.store(self.mediator.is_up(), Ordering::Relaxed);
        if let Some(next) = self.mediator.next() {
            self.figures.next.store(next, Ordering::Relaxed);
        }
        if let Some(tells) = self.mediator.tells_invoices() {
            self.figures.tells.store(if tells { TELLS } else { TERSE }, Ordering::Release);
        }
        if let Some(status) = self.mediator.status() {
            self.figures.free_bytes.store(status.free_memory_bytes, Ordering::Relaxed);
            self.status.send_if_modified(|known| {
                let changed = known.as_ref() != Some(status);
                *known = Some(status.clone());
                changed
            });
        }
    }
}

impl Attached {
    pub(crate) fn device_id(&self) -> &str {
        &self.device_id
    }

    /// Does work at the device, by a moment. Whatever has not begun by then is not done.
    async fn ask(&self, terminal: u64, work: Work, until: Instant) -> Done {
        let state = Arc::new(AtomicU8::new(WAITING));
        let (reply, done) = oneshot::channel();
        let job = Job { work, until, state: Arc::clone(&state), reply };
        let busy = |detail: &str| {
            let detail = format!("{detail}; nothing was done; ask again");
            Done::Outcome(Outcome::NotNow(Fault::new(Code::DeviceBusy, detail)))
        };
        if self.jobs.try_send((terminal, job)).is_err() {
            return busy("as many commands as may wait for the device");
        }
        match timeout_at(until, done).await {
            Ok(Ok(done)) => done,
            _ => {
                let given_up =
                    state.compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire);
                match given_up {
                    Ok(_) => busy("other terminals' commands took too long"),
                    // Given up by the device's owner, or begun and not ended.
                    Err(_) => Done::Outcome(Outcome::InDoubt("no answer came in time".to_owned())),
                }
            }
        }
    }

    /// One entry of the device's journal, for the importer.
    async fn entry(&self, sequence: u64) -> Result<Option<Box<LogEntry>>, Fault> {
        let until = Instant::now() + LONG_LIMIT;
        match self.ask(IMPORTER, Work::Entry(sequence), until).await {
            Done::Entry(entry) => Ok(entry),
            Done::Outcome(Outcome::NotNow(fault) | Outcome::Refused(fault)) => Err(fault),
            _ => Err(Fault::new(Code::Unavailable, "the entry was not read")),
        }
    }

    /// Does a terminal's call. Activation is the proxy's own business and does not come here.
    pub(crate) async fn call(&self, terminal: u64, call: Call, until: Instant) -> Reply {
        let work = match call {
            Call::Rehearse(prepared) => {
                if let Some(fault) = self.keeps_none() {
                    return Reply::NotNow(fault);
                }
                let key = key_of(&prepared.payload);
                Work::Prepare(prepared.payload, key)
            }
            Call::Seal(prepared, key) => {
                return self.seal(terminal, prepared.payload, key, until).await;
            }
            Call::FindSeal(key) => Work::Find(key),
            Call::Status { nonce_pool } => return self.status(terminal, nonce_pool, until).await,
            Call::Log { sequence } => Work::Tell(format!("QRY|LOG {sequence}"), LONG_LIMIT),
            Call::CloseDay { date } => {
                let payload = Object::new().text("date", &date).finish();
                Work::Tell(format!("RPT|Z {payload}"), LONG_LIMIT)
            }
            Call::Snapshot => Work::Tell("RPT|X {\"period\":\"day\"}".to_owned(), LONG_LIMIT),
            Call::Articles { since, until } => {
                let range = Object::new().text("since", &since.to_string());
                let payload = range.text("until", &until.to_string()).finish();
                Work::Tell(format!("RPT|A {payload}"), LONG_LIMIT)
            }
            Call::Dump { format, from, to } => {
                return self.dump(terminal, format, (from, to), until).await;
            }
            Call::Reset { authorization } => {
                let token = encode_standard(&authorization);
                let payload = Object::new().text("dgi_authorization", &token).finish();
                Work::Tell(format!("ADM|RESET {payload}"), LONG_LIMIT)
            }
            Call::SetTime { timestamp, signature } => {
                let time = Object::new().text("timestamp", &timestamp.to_string());
                let payload = time.text("signature", &encode_standard(&signature)).finish();
                Work::Tell(format!("CFG|TIME {payload}"), TXN_LIMIT)
            }
            Call::Init { activation_code, public_key } => {
                let code = Object::new().text("activation_code", &activation_code);
                let payload = code.text("public_key", &encode_standard(&public_key)).finish();
                Work::Tell(format!("CFG|INIT {payload}"), TXN_LIMIT)
            }
        };
        match self.ask(terminal, work, until).await {
            Done::Outcome(outcome) => self.reply(outcome),
            Done::Status(_) | Done::Entry(_) => {
                Reply::InDoubt("the device's owner answered something else".to_owned())
            }
        }
    }

    /// Why nothing more is sealed: what the device seals and does not tell would be gone with this process.
    fn keeps_none(&self) -> Option<Fault> {
        let terse = self.figures.tells.load(Ordering::Acquire) == TERSE;
        (terse && !self.kept.is_on_disk()).then(|| {
            let detail = "the device does not tell the invoices that it seals, and there is no directory to keep them \
                          in: name one (attach.invoices_dir); nothing was done";
            Fault::new(Code::StorageFull, detail)
        })
    }

    /// Lets the device seal. The invoice is kept before, for the ledger, until that has it; when it cannot be, nothing is
    /// sealed.
    async fn seal(&self, terminal: u64, payload: Vec<u8>, key: [u8; 16], until: Instant) -> Reply {
        let hash = payload_hash(&payload);
        let told = self.figures.tells.load(Ordering::Acquire) == TELLS;
        if let Err(error) = self.kept.keep(&payload, told).await {
            let detail =
                format!("the invoice cannot be kept for the ledger: {error}; nothing was done");
            return Reply::NotNow(Fault::new(Code::StorageFull, detail));
        }
        let done = self.ask(terminal, Work::Seal(payload, key), until).await;
        match done {
            Done::Outcome(outcome) => {
                if matches!(outcome, Outcome::NotSealed | Outcome::Refused(_)) {
                    self.kept.forget(&hash).await;
                }
                self.reply(outcome)
            }
            Done::Status(_) | Done::Entry(_) => {
                Reply::InDoubt("the device's owner answered something else".to_owned())
            }
        }
    }

    fn reply(&self, outcome: Outcome) -> Reply {
        match outcome {
            Outcome::Prepared => Reply::Fits,
            Outcome::Sealed(entry) => Reply::Sealed(entry.answer(&self.device_id)),
            Outcome::NotSealed => Reply::NotSealed,
            Outcome::InDoubt(detail) => Reply::InDoubt(detail),
            Outcome::NotNow(fault) => Reply::NotNow(fault),
            Outcome::Refused(fault) => Reply::Refused(fault),
            Outcome::Told(text) => Reply::Done(text),
        }
    }

    async fn status(&self, terminal: u64, nonce_pool: usize, until: Instant) -> Reply {
        let until = until.min(Instant::now() + QUERY_LIMIT);
        match self.ask(terminal, Work::Status, until).await {
            Done::Status(status) => {
                let own = u64::try_from(nonce_pool).unwrap_or(u64::MAX);
                let answer = crate::protocol::answer::ok()
                    .text("firmware_version", &status.firmware_version)
                    .text("device_id", &status.device_id)
                    .count("next_invoice_seq", status.next_invoice_seq)
                    .count("free_memory_bytes", status.free_memory_bytes)
                    .text("last_sync_timestamp", &status.last_sync_timestamp)
                    .count("nonce_pool", status.nonce_pool.min(own));
                Reply::Done(answer.finish())
            }
            Done::Outcome(Outcome::InDoubt(detail)) => {
                Reply::NotNow(Fault::new(Code::Unavailable, detail))
            }
            Done::Outcome(outcome) => self.reply(outcome),
            Done::Entry(_) => Reply::NotNow(Fault::new(Code::Unavailable, "no status")),
        }
    }

    async fn dump(
        &self,
        terminal: u64,
        format: DumpFormat,
        (from, to): (u64, Option<u64>),
        until: Instant,
    ) -> Reply {
        let last = self.figures.next.load(Ordering::Relaxed).saturating_sub(1);
        let to = to.unwrap_or(last);
        let mut records = Vec::new();
        for sequence in from..=to.min(from.saturating_add(CHUNK - 1)) {
            match self.ask(terminal, Work::Entry(sequence), until).await {
                Done::Entry(Some(entry)) => records.push(entry.record(format)),
                Done::Outcome(Outcome::NotNow(fault)) => return Reply::NotNow(fault),
                _ => {
                    let detail = format!("entry {sequence} could not be read; ask again");
                    return Reply::NotNow(Fault::new(Code::Unavailable, detail));
                }
            }
        }
        let told = u64::try_from(records.len()).unwrap_or(CHUNK);
        let next = (from + told <= to).then_some(from + told);
        Reply::Chunk { records, next, to }
    }
}

fn key_of(payload: &[u8]) -> [u8; 16] {
    crate::protocol::nonce::seal_key(&payload_hash(payload))
}
