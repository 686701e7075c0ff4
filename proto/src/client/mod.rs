//! The typed client of the cluster.
//!
//! ```text
//! submit ─► routes (who leads?) ─► link (one stream a node) ─► Ledger.Submit
//!    ▲            ▲ hints, topology        │
//!    └────────────┴────── answer, NotLeader, Busy, or no answer: ask again, the same command
//! ```
//!
//! Invariants: an outcome is called unknown whenever any copy of a command may have been taken and
//! none was answered; it is never called failed. The command is never changed between attempts.
//! A node that belongs to no cluster, or that lags behind what is known, takes no node away. Over TLS,
//! commands and reads only go to the node that is meant, as its certificate says; whoever is at a seed's
//! address is only asked who the nodes are.
//! Every wait ends by the caller's deadline, every queue has a bound.
//!
//! Non-goals: idempotency keys, which the caller chooses, and what records mean.

mod ask;
mod config;
mod error;
mod feed;
mod incidents;
mod link;
mod read;
mod retry;
mod routes;
mod space;
mod submit;
mod watch;

#[cfg(test)]
mod tests;

pub use config::{ClientConfig, ClientLimits};
pub use error::{ClientError, ReadError, SubmitError};
pub use retry::retry_safe;
pub use submit::Answer;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Instant, timeout_at};

use crate::ledger::{TopologyRequest, TopologyResponse};
use link::Link;
use retry::Backoff;
use routes::Routes;

/// The odd number nearest to 2^64 divided by the golden ratio: multiples of it are far apart.
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where a connection leads, and which node must be there; at a seed's address it may be any.
type Place = (String, Option<u64>);

/// A client of one cluster. Copies share its connections.
#[derive(Debug, Clone)]
pub struct ClusterClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: ClientConfig,
    /// Held only to look up or to note something, never while waiting.
    routes: Mutex<Routes>,
    /// As the routes, never held while waiting.
    links: Mutex<BTreeMap<Place, Arc<Link>>>,
    /// One asks for the topology, the others wait for what it learns.
    refreshing: tokio::sync::Mutex<()>,
    next_seed: AtomicU64,
}

impl ClusterClient {
    /// Learns the topology from the first seed that tells it. Must be called in a Tokio runtime.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let client = Self::new(config)?;
        let limits = &client.shared.config.limits;
        let seeds = u32::try_from(client.shared.config.seeds.len()).unwrap_or(u32::MAX);
        let deadline = Instant::now() + limits.attempt_timeout.saturating_mul(seeds);
        match client.refresh(0, deadline).await {
            Ok(()) => Ok(client),
            Err(detail) => Err(ClientError::Unreachable { detail }),
        }
    }

    /// A client that asks nobody yet: the first request learns the topology, and so does a later one
    /// when no node answers now. Must be called in a Tokio runtime.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        if config.seeds.is_empty() {
            return Err(ClientError::NoSeeds);
        }
        let mut links = BTreeMap::new();
        for seed in &config.seeds {
            let channel = config.channel(seed, None)?;
            links.insert((seed.clone(), None), Arc::new(Link::new(channel, config.limits)));
        }
        let next_seed = AtomicU64::new(config.jitter_seed.unwrap_or_else(retry::process_seed));
        let shared = Shared {
            config,
            routes: Mutex::default(),
            links: Mutex::new(links),
            refreshing: tokio::sync::Mutex::default(),
            next_seed,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The groups that are known, that of the directory among them.
    #[must_use]
    pub fn groups(&self) -> Vec<u64> {
        self.routes().groups()
    }

    /// The groups that hold outlets, each with the region that it is led from when it can be.
    #[must_use]
    pub fn data_groups(&self) -> Vec<(u64, String)> {
        self.routes().data_groups()
    }

    /// Learns the topology again, unless somebody has since `seen`.
    async fn refresh(&self, seen: u64, deadline: Instant) -> Result<(), String> {
        let Ok(_one) = timeout_at(deadline, self.shared.refreshing.lock()).await else {
            return Err("the topology is being asked for".into());
        };
        if self.routes().generation > seen {
            return Ok(());
        }
        let mut failures = Vec::new();
        let mut places: Vec<Place> = self.routes().places().collect();
        // When none of the nodes that were known answers, others may have come in their stead.
        places.extend(self.shared.config.seeds.iter().map(|seed| (seed.clone(), None)));
        for place in places {
            let told = self.ask_topology(&place, deadline).await;
            match told.and_then(|told| self.learn(told)) {
                Ok(()) => return Ok(()),
                Err(detail) => failures.push(format!("{}: {detail}", place.0)),
            }
        }
        Err(failures.join("; "))
    }

    async fn ask_topology(
        &self,
        place: &Place,
        deadline: Instant,
    ) -> Result<TopologyResponse, String> {
        let link = self.link(place).map_err(|error| error.to_string())?;
        let deadline = deadline.min(Instant::now() + self.shared.config.limits.attempt_timeout);
        match timeout_at(deadline, link.client().topology(TopologyRequest {})).await {
            Ok(Ok(told)) => Ok(told.into_inner()),
            Ok(Err(status)) => Err(error::words_of(&status)),
            Err(_elapsed) => Err("no answer in time".into()),
        }
    }

    fn learn(&self, told: TopologyResponse) -> Result<(), String> {
        let node = told.node;
        let kept = {
            let mut routes = self.routes();
            if routes.learn(told).map_err(|not_learnt| not_learnt.to_string())? {
                routes.answered(node);
            }
            routes.places().collect::<Vec<Place>>()
        };
        // Links of nodes that are gone end, and with them what was asked on them; those of the seeds have
        // done what they are for.
        lock(&self.shared.links).retain(|place, _| kept.contains(place));
        Ok(())
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        lock(&self.shared.routes)
    }

    fn link(&self, place: &Place) -> Result<Arc<Link>, ClientError> {
        let mut links = lock(&self.shared.links);
        if let Some(link) = links.get(place) {
            return Ok(Arc::clone(link));
        }
        let (address, node) = place;
        let channel = self.shared.config.channel(address, *node)?;
        let link = Arc::new(Link::new(channel, self.shared.config.limits));
        links.insert(place.clone(), Arc::clone(&link));
        Ok(link)
    }

    fn node_link(&self, node: u64) -> Result<Arc<Link>, String> {
        let address = self.routes().address(node).map(str::to_owned);
        let address = address.ok_or_else(|| format!("node {node} is not in the topology"))?;
        self.link(&(address, Some(node))).map_err(|error| error.to_string())
    }

    fn backoff(&self) -> Backoff {
        let seed = self.shared.next_seed.fetch_add(SEED_STEP, Ordering::Relaxed);
        Backoff::new(&self.shared.config.limits, seed)
    }
}

/// What is locked here is whole at every step, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
