//! Names that are looked up. The system's resolver cannot be told to stop, and takes a thread until it answers: a
//! look-up keeps its place until then, whether somebody waits for it or not. A tenant has some of the places only.
//!
//! Invariant: there are never more look-ups under way than places, whatever names endpoints have.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use super::post::Resolving;

/// Names that are looked up at once.
const LOOKUPS_MAX: usize = 64;
/// Names of one tenant that are looked up at once: those that nobody answers for keep no other tenant waiting.
const LOOKUPS_OF_ONE_MAX: usize = 4;

/// The places.
#[derive(Debug)]
pub(super) struct Lookups {
    all: Arc<Semaphore>,
    /// By tenant; those that nothing is looked up for are swept away.
    of_one: Mutex<BTreeMap<String, Arc<Semaphore>>>,
    /// They end with this.
    under_way: Mutex<JoinSet<()>>,
}

impl Lookups {
    pub(super) fn new() -> Self {
        let all = Arc::new(Semaphore::new(LOOKUPS_MAX));
        Self { all, of_one: Mutex::default(), under_way: Mutex::default() }
    }

    fn of_one(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Semaphore>>> {
        self.of_one.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up when there is a place; whoever stops waiting does not free it.
    pub(super) async fn resolve(
        &self,
        tenant: &str,
        resolving: Resolving,
    ) -> io::Result<Vec<IpAddr>> {
        let own = {
            let mut of_one = self.of_one();
            let own = of_one.entry(tenant.to_owned());
            Arc::clone(own.or_insert_with(|| Arc::new(Semaphore::new(LOOKUPS_OF_ONE_MAX))))
        };
        let closed = |_| io::Error::other("nothing is looked up any more");
        // In this order: whoever waits for a place of its own tenant takes none of all.
        let own = own.acquire_owned().await.map_err(closed)?;
        let place = Arc::clone(&self.all).acquire_owned().await.map_err(closed)?;
        let (tell, told) = oneshot::channel();
        {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            while under_way.try_join_next().is_some() {}
            under_way.spawn(async move {
                let found = resolving.await;
                drop((own, place));
                // Nobody may wait for it any more.
                let _ = tell.send(found);
            });
        }
        told.await.unwrap_or_else(|_| Err(io::Error::other("the look-up broke")))
    }

    /// Forgets tenants that nothing is looked up for.
    pub(super) fn sweep(&self) {
        self.of_one().retain(|_, own| Arc::strong_count(own) > 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn silent() -> Resolving {
        Box::pin(std::future::pending())
    }

    fn found() -> Resolving {
        Box::pin(async { Ok(vec![IpAddr::from([192, 0, 2, 1])]) })
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_nobody_answers_for_keep_no_other_tenant_waiting() {
        let lookups = Arc::new(Lookups::new());
        let wait = Duration::from_secs(15);
        for tenant in 0..LOOKUPS_MAX / LOOKUPS_OF_ONE_MAX - 1 {
            for _ in 0..50 {
                let lookups = Arc::clone(&lookups);
                let tenant = format!("org-{tenant}");
                let given_up = timeout(wait / 50, lookups.resolve(&tenant, silent())).await;
                assert!(given_up.is_err());
            }
        }
        let other = timeout(wait, lookups.resolve("org-well", found())).await;
        assert_eq!(other.expect("it has a place").expect("an address").len(), 1);
        let same = timeout(wait, lookups.resolve("org-0", found())).await;
        assert!(same.is_err(), "what is looked up in vain keeps its place");
        let under_way = LOOKUPS_MAX - lookups.all.available_permits();
        assert_eq!(under_way, LOOKUPS_MAX - LOOKUPS_OF_ONE_MAX);
    }

    #[tokio::test]
    async fn tenants_are_forgotten() {
        let lookups = Lookups::new();
        lookups.resolve("org", found()).await.expect("an address");
        lookups.sweep();
        assert!(lookups.of_one().is_empty());
    }
}
