//! When answers leave: only at whole steps after the request came, so that what was found, which takes a moment
//! longer than what was not, cannot be told by the clock.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Far longer than a look-up takes, and hardly noticed by a person. Under load an answer that misses a step
/// leaves at the next one.
const STEP: Duration = Duration::from_millis(100);

/// Does the work and waits for the next step.
pub(super) async fn on_schedule<T>(work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = work.await;
    sleep_until(next_step(began, Instant::now())).await;
    done
}

fn next_step(began: Instant, now: Instant) -> Instant {
    let steps = now.duration_since(began).as_nanos() / STEP.as_nanos() + 1;
    began + STEP * u32::try_from(steps).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_leave_at_whole_steps() {
        for (work_ms, answered_ms) in [(0, 100), (1, 100), (99, 100), (100, 200), (250, 300)] {
            let began = Instant::now();
            on_schedule(tokio::time::sleep(Duration::from_millis(work_ms))).await;
            assert_eq!(began.elapsed(), Duration::from_millis(answered_ms), "{work_ms} ms");
        }
    }
}
