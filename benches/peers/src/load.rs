//! Clients that repeat one action for some seconds, and how long it took them: the same loops as `fiscus bench` has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Runs before the measured time.
const WARM_UP: Duration = Duration::from_secs(2);

/// What fails is tried again for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// One client of a peer.
pub(crate) trait Client: Send + 'static {
    /// Does the work once, durably; `turn` is unique among all clients of a run.
    fn act(&mut self, turn: u64) -> impl Future<Output = Result<()>> + Send;
}

/// When clients act.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    Closed,
    Open { per_second: f64 },
}

/// How often, and how long each took in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

struct Shared {
    began: Instant,
    length: Duration,
    pace: Pace,
    turn: AtomicU64,
}

/// Lets the clients work for so long.
pub(crate) async fn run<C: Client>(
    clients: Vec<C>,
    pace: Pace,
    length: Duration,
) -> Result<Figures> {
    let shared = Shared { began: Instant::now(), length, pace, turn: AtomicU64::new(0) };
    let shared = Arc::new(shared);
    let mut workers = JoinSet::new();
    for client in clients {
        workers.spawn(work(client, shared.clone()));
    }
    let mut times = histogram()?;
    while let Some(ended) = workers.join_next().await {
        times.add(ended.context("a client")??)?;
    }
    let millis = |quantile| times.value_at_quantile(quantile) as f64 / 1_000.0;
    let per_second = times.len() as f64 / length.as_secs_f64();
    Ok(Figures { per_second, p50: millis(0.5), p99: millis(0.99) })
}

fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).context("a histogram")
}

async fn work<C: Client>(mut client: C, shared: Arc<Shared>) -> Result<Histogram<u64>> {
    let mut times = histogram()?;
    let from = shared.began + WARM_UP;
    let end = from + shared.length;
    loop {
        let turn = shared.turn.fetch_add(1, Ordering::Relaxed);
        let at = match shared.pace {
            Pace::Closed => Instant::now(),
            Pace::Open { per_second } => {
                shared.began + Duration::from_secs_f64(turn as f64 / per_second)
            }
        };
        if at >= end {
            return Ok(times);
        }
        sleep_until(at).await;
        // A peer that is overloaded may say so; what was due is done all the same, and has taken that long.
        while let Err(error) = client.act(turn).await {
            if at.elapsed() > PATIENCE {
                return Err(error);
            }
        }
        let ended = Instant::now();
        if ended >= from && ended < end {
            let micros = u64::try_from((ended - at).as_micros())?;
            times.saturating_record(micros.max(1));
        }
    }
}
