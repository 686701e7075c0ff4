//! A whole audit export: one pass, every core, memory that does not grow with it.
//!
//! ```text
//! this thread: read, split ──► worker: form, hash, tax, signatures, proofs ──► this thread: order, sums
//! ```
//!
//! Batches go round the workers and come back in the same order, so the first failure of the file is the one that
//! is told, however many cores there are.

use std::io::{Read, Seek};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::decimal::format_minor;
use crate::failure::Failure;
use crate::note::{self, Checkpoint};
use crate::outlet::Outlet;
use crate::policy::Policy;
use crate::record::{Checker, Facts};
use crate::stream::{Batch, Stream, VerifyError, checkpoint_at_the_end};

/// Batches that a worker may have, the one it works on included.
const BATCHES_PER_WORKER: usize = 2;

/// How an export is checked.
#[derive(Debug, Clone, Copy)]
pub struct ExportOptions {
    /// How many records are checked at the same time.
    pub threads: usize,
}

/// How far a check is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of the file.
    pub of_bytes: u64,
    /// Records checked.
    pub records: u64,
}

/// The sums of all invoices in one currency; credit notes are subtracted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrencyTotal {
    /// Three letters.
    pub currency: String,
    /// Without taxes.
    pub subtotal: String,
    /// The taxes.
    pub total_vat: String,
}

/// What was checked of a journal, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSummary {
    /// The outlet.
    pub outlet: String,
    /// The positions of the first and the last record.
    pub positions: (u64, u64),
    /// When they were made.
    pub times: (String, String),
    /// Records.
    pub records: u64,
    /// Invoices among them.
    pub invoices: u64,
    /// Daily closures among them.
    pub closures: u64,
    /// The series of its numbers.
    pub series: Option<String>,
    /// The last number given away.
    pub last_number: Option<u64>,
    /// Numbers that terminals may still give away.
    pub open: Vec<(u64, u64)>,
    /// Numbers flagged missing.
    pub missing: Vec<(u64, u64)>,
    /// Sums of the invoices.
    pub totals: Vec<CurrencyTotal>,
    /// Whether it begins with the outlet's first record, so that nothing came before.
    pub from_the_start: bool,
    /// Credit notes for invoices that are not in it.
    pub unchecked_credits: u64,
    /// A trial: no sale was made.
    pub sandbox: bool,
    /// The perpetual totals' digest, in hexadecimal, when it begins with the first record.
    pub perpetual_digest: Option<String>,
}

impl JournalSummary {
    pub(crate) fn of(outlet: &Outlet) -> Self {
        let time = |ms| crate::time::format(ms).unwrap_or_default();
        let totals = outlet.all.totals().map(|(currency, base, tax)| CurrencyTotal {
            currency,
            subtotal: format_minor(base),
            total_vat: format_minor(tax),
        });
        Self {
            outlet: outlet.id.clone(),
            positions: (outlet.first_position, outlet.position),
            times: (time(outlet.first_ms), time(outlet.time_ms)),
            records: outlet.position + 1 - outlet.first_position,
            invoices: outlet.all.invoices(),
            closures: outlet.closures,
            series: outlet.numbers.prefix().map(str::to_owned),
            last_number: outlet.numbers.last(),
            open: outlet.numbers.open(),
            missing: outlet.numbers.missing(),
            totals: totals.collect(),
            from_the_start: outlet.complete,
            unchecked_credits: outlet.unchecked_credits,
            sandbox: outlet.sandbox,
            perpetual_digest: outlet
                .complete
                .then(|| crate::encoding::to_hex(&outlet.all.digest())),
        }
    }
}

/// An export that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSummary {
    /// What it says.
    pub journal: JournalSummary,
    /// What its proofs lead to.
    pub checkpoint: Checkpoint,
    /// Bytes read.
    pub bytes: u64,
    /// Chunks.
    pub chunks: u64,
    /// Inclusion proofs followed.
    pub proofs: u64,
    /// Signatures checked, those of the checkpoint apart.
    pub signatures: u64,
}

/// Checks an export from its first byte to its last.
pub fn verify_export<R: Read + Seek>(
    mut file: R,
    policy: &Policy,
    options: ExportOptions,
    mut progress: impl FnMut(Progress),
) -> Result<ExportSummary, VerifyError> {
    let (note, of_bytes) = checkpoint_at_the_end(&mut file)?;
    let checkpoint = note::open(&note, policy.trusted())?;
    let mut stream = Stream::new(file);
    let mut journal = Journal { policy, outlet: None, records: 0 };
    let threads = options.threads.max(1);
    thread::scope(|scope| {
        let workers: Vec<Worker> = (0..threads)
            .map(|_| {
                let (to_worker, batches) = sync_channel(BATCHES_PER_WORKER);
                let (results, from_worker) = sync_channel(BATCHES_PER_WORKER);
                let checker = Checker::new(policy, &checkpoint, true);
                scope.spawn(move || work(checker, &batches, &results));
                Worker { to_worker, from_worker }
            })
            .collect();
        run(&workers, &mut stream, &mut journal, |bytes, records| {
            progress(Progress { bytes, of_bytes, records });
        })
    })?;
    if stream.checkpoint() != Some(&note) {
        let detail = "the file changed while it was read";
        return Err(Failure::new(crate::Kind::Format, "end of the file", detail).into());
    }
    let outlet = journal.outlet.ok_or_else(|| {
        Failure::new(crate::Kind::Gap, "export", "it holds no record: nothing is proved by it")
    })?;
    let records = journal.records;
    Ok(ExportSummary {
        journal: JournalSummary::of(&outlet),
        checkpoint,
        bytes: stream.bytes(),
        chunks: stream.chunks(),
        proofs: records,
        signatures: records,
    })
}

/// A thread that checks records alone.
struct Worker {
    to_worker: SyncSender<Batch>,
    from_worker: Receiver<Vec<Result<Facts, Failure>>>,
}

/// It ends when nobody sends any more, or when nobody wants to know any more.
fn work(
    mut checker: Checker<'_>,
    batches: &Receiver<Batch>,
    results: &SyncSender<Vec<Result<Facts, Failure>>>,
) {
    for batch in batches {
        if results.send(checker.check(batch.records())).is_err() {
            return;
        }
    }
}

fn run<R: Read>(
    workers: &[Worker],
    stream: &mut Stream<R>,
    journal: &mut Journal<'_>,
    mut progress: impl FnMut(u64, u64),
) -> Result<(), VerifyError> {
    let (mut sent, mut received) = (0, 0);
    let mut end = None;
    while end.is_none() || received < sent {
        if end.is_none() && sent - received < workers.len() * BATCHES_PER_WORKER {
            let mut batch = Batch::default();
            let filled = stream.fill(&mut batch);
            if filled.is_err() || batch.is_empty() {
                end = Some(filled);
            }
            if !batch.is_empty() {
                let worker = &workers[sent % workers.len()];
                worker
                    .to_worker
                    .send(batch)
                    .expect("a worker goes on as long as its sender is there");
                sent += 1;
            }
            continue;
        }
        let results = workers[received % workers.len()].from_worker.recv();
        received += 1;
        for facts in results.expect("a worker answers every batch") {
            journal.add(facts)?;
        }
        progress(stream.bytes(), journal.records);
    }
    end.unwrap_or(Ok(()))
}

/// The outlet of the first record, and its journal.
struct Journal<'p> {
    policy: &'p Policy,
    outlet: Option<Outlet>,
    records: u64,
}

impl Journal<'_> {
    fn add(&mut self, facts: Result<Facts, Failure>) -> Result<(), Failure> {
        let place = format!("record {} of the export", self.records + 1);
        let facts = facts.map_err(|failure| failure.within(&place))?;
        let outlet = match &mut self.outlet {
            Some(outlet) => outlet,
            none => none.insert(Outlet::starting_with(
                &facts,
                self.policy.reporting_currency(facts.time_ms),
            )),
        };
        outlet.add(facts)?;
        self.records += 1;
        Ok(())
    }
}
