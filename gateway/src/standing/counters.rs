//! Reads what stands in many groups, by one moment: a group that is away keeps no other from being read.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};

/// So much of one group is asked for at a time.
const AT_ONCE: usize = 4;

/// Reads everything that is wanted, by the group that it stands in, until `limit` has passed: what came until then. `read`
/// says `None` when its group does not answer; it is not asked any further.
pub async fn by_group<W, T, F>(
    wanted: impl IntoIterator<Item = (u64, W)>,
    limit: Duration,
    read: impl Fn(W) -> F,
) -> Vec<T>
where
    F: Future<Output = Option<Option<T>>>,
{
    let until = Instant::now() + limit;
    let mut groups: BTreeMap<u64, Vec<W>> = BTreeMap::new();
    for (group, wanted) in wanted {
        groups.entry(group).or_default().push(wanted);
    }
    let groups = groups.into_values().map(|wanted| {
        let read = stream::iter(wanted).map(&read).buffer_unordered(AT_ONCE);
        // A group that has failed is not asked again.
        Box::pin(read.take_while(|came| std::future::ready(came.is_some())))
    });
    let mut all = stream::select_all(groups);
    let mut found = Vec::new();
    while let Ok(Some(came)) = timeout_at(until, all.next()).await {
        found.extend(came.flatten());
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_group_that_is_away_costs_one_limit_and_nobody_else_anything() {
        let asked = AtomicUsize::new(0);
        let wanted = (0..300_u64).map(|at| (at % 3, at));
        let began = Instant::now();
        let found = by_group(wanted, Duration::from_secs(1), async |at: u64| match at % 3 {
            // Answers, fails at once, or not at all.
            0 => Some((at != 9).then_some(at)),
            1 => {
                asked.fetch_add(1, Ordering::Relaxed);
                None
            }
            _ => {
                sleep(Duration::from_secs(60)).await;
                Some(Some(at))
            }
        });
        let found = found.await;
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        assert_eq!(found.len(), 99, "all that the first group has");
        assert!(found.iter().all(|at| at % 3 == 0));
        assert!(asked.load(Ordering::Relaxed) <= AT_ONCE);
    }
}
