//! A step: so many workers sell for so long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::check::Tally;
use super::figures::{Measured, StepFigures};
use super::till::{Answered, Sealed, Till, Tills};
use super::workload::{Chooser, Sale, Workload};

/// Before a sale without a clear answer is sent again.
const PAUSE: Duration = Duration::from_millis(20);
/// A sale that is not clear after so long ends the run.
const PATIENCE: Duration = Duration::from_secs(90);

/// When a worker sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// As soon as it was answered.
    Closed,
    /// When a submission is due, so many a second over all workers.
    Open { per_second: u64 },
}

/// What one step does.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) clients: usize,
    pub(super) pace: Pace,
    pub(super) batch: usize,
    pub(super) warm_up: Duration,
    pub(super) length: Duration,
}

/// What the workers share.
#[derive(Debug)]
struct Shift {
    step: Step,
    began: Instant,
    /// Submissions of an open loop that have a worker.
    due: AtomicU64,
}

impl Shift {
    fn measured_from(&self) -> Instant {
        self.began + self.step.warm_up
    }

    fn ends(&self) -> Instant {
        self.measured_from() + self.step.length
    }

    /// The moment of a worker's next submission; none when the step has ended before it.
    async fn next(&self) -> Option<Instant> {
        let at = match self.step.pace {
            Pace::Closed => Instant::now(),
            Pace::Open { per_second } => {
                let turn = self.due.fetch_add(1, Ordering::Relaxed);
                let nanos = u128::from(turn) * 1_000_000_000 / u128::from(per_second);
                self.began + Duration::from_nanos(u64::try_from(nanos).ok()?)
            }
        };
        if at >= self.ends() {
            return None;
        }
        sleep_until(at).await;
        Some(at)
    }
}

/// What one worker has seen.
#[derive(Debug, Default)]
struct Seen {
    measured: Measured,
    sold: Vec<(usize, Sealed)>,
}

pub(super) async fn run(
    tills: &Tills,
    workload: &Arc<Workload>,
    step: &Step,
    tally: Option<&mut Tally>,
) -> Result<StepFigures> {
    let shift = Shift { step: step.clone(), began: Instant::now(), due: AtomicU64::new(0) };
    let shift = Arc::new(shift);
    let mut workers = JoinSet::new();
    for _ in 0..step.clients {
        let worker = Worker {
            shift: shift.clone(),
            workload: workload.clone(),
            till: tills.open(),
            client: workload.next_client(),
            keeps: tally.is_some(),
            seen: Seen::default(),
        };
        workers.spawn(worker.work());
    }
    let mut measured = Measured::default();
    let mut sold = Vec::new();
    while let Some(ended) = workers.join_next().await {
        let seen = ended.context("a worker")??;
        measured.add(&seen.measured);
        sold.extend(seen.sold);
    }
    if let Some(tally) = tally {
        tally.add(sold);
    }
    Ok(StepFigures::new(step, measured))
}

struct Worker {
    shift: Arc<Shift>,
    workload: Arc<Workload>,
    till: Till,
    client: u64,
    /// Whether what was sold is compared at the end.
    keeps: bool,
    seen: Seen,
}

impl Worker {
    async fn work(mut self) -> Result<Seen> {
        let workload = self.workload.clone();
        let mut chooser = workload.chooser(self.client);
        while let Some(at) = self.shift.clone().next().await {
            let sales = choose(&mut chooser, self.shift.step.batch);
            let before = self.seen.measured.refused;
            self.sell(&workload, sales, at).await?;
            // What is refused once will be again: there is nothing to measure.
            if self.seen.measured.refused > before {
                break;
            }
        }
        Ok(self.seen)
    }

    /// Sells until everything is clear.
    async fn sell(&mut self, workload: &Workload, mut sales: Vec<Sale>, at: Instant) -> Result<()> {
        let count = sales.len() as u64;
        loop {
            let answers = self.till.sell(workload, &sales).await;
            let mut again = Vec::new();
            let mut last = String::new();
            for (sale, answer) in sales.iter().zip(answers) {
                match answer {
                    Answered::Sealed(sealed) if self.keeps => {
                        self.seen.sold.push((sale.outlet, sealed));
                    }
                    Answered::Sealed(_) => {}
                    Answered::Refused(why) => self.seen.measured.refuse(why),
                    Answered::Unclear(why) => {
                        last = why;
                        again.push(*sale);
                    }
                }
            }
            if again.is_empty() {
                break;
            }
            self.seen.measured.doubts += again.len() as u64;
            ensure!(at.elapsed() < PATIENCE, "a sale is not clear after {PATIENCE:?}: {last}");
            sales = again;
            sleep(PAUSE).await;
        }
        let ended = Instant::now();
        if ended >= self.shift.measured_from() && ended < self.shift.ends() {
            self.seen.measured.record(count, ended - at);
        }
        Ok(())
    }
}

fn choose(chooser: &mut Chooser<'_>, batch: usize) -> Vec<Sale> {
    (0..batch).map(|_| chooser.next()).collect()
}
