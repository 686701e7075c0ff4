//! Deliveries: what happens in the ledger reaches the outside, at least once, whatever happens to gateways, nodes
//! and destinations.
//!
//! ```text
//! nodes ── feed ──► pages (shared, bounded) ──► engine ── destination: what, when ──► adapter ──► outside
//!                                                │  ▲
//!                          shards: lease and cursors in one document, a write a second ──► directory
//! ```
//!
//! Invariants: an event that a destination wants is delivered or a dead letter, before its cursor passes it; a
//! destination is served by one gateway at a time, but for the length of a lease at most; a destination that cannot
//! be reached holds no events, only places of events.
//!
//! Non-goals: exactly once, which is the receiver's part, by the stable ids; what is sent, which is the adapter's.

mod adapter;
pub mod destination;
mod disable;
mod engine;
mod feed;
mod figures;
pub mod kept;
pub mod leases;
pub(crate) mod notices;
pub mod policy;
pub(crate) mod store;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fiscus_proto::client::ClusterClient;
use rustls::RootCertStore;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::alerts::incidents::Incidents;
use crate::config::WebhooksSection;
use crate::directory::Directory;
use crate::directory::webhooks::AttemptLine;
use crate::webhooks::guard::Guard;
use crate::webhooks::post::{Poster, RootsError, SystemResolver, roots};
use crate::webhooks::vault::{Vault, VaultError};
pub(crate) use adapter::Adapter;
use engine::{Engine, Settings};
pub(crate) use feed::{Feed, Found};
use figures::Figures;
use store::{NewLines, write_logs};

/// Where Linux distributions keep the certificates that they trust.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// A line that others are ahead of is written again so often.
const NOTE_ATTEMPTS: usize = 4;
/// Groups that were not known at the beginning are looked for this often.
const GROUPS_PAUSE: Duration = Duration::from_secs(2);

/// Why endpoints cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The keys for their secrets.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The certificates that vouch for them.
    #[error(transparent)]
    Roots(#[from] RootsError),
}

/// What serves destinations, for its one loop and for the handlers that ask about them.
#[derive(Debug)]
pub(crate) struct Deliveries {
    cluster: ClusterClient,
    adapter: Arc<Adapter>,
    feed: Arc<Feed>,
    figures: Arc<Figures>,
    settings: Settings,
    incidents: Arc<Incidents>,
    serving: watch::Sender<BTreeSet<usize>>,
}

impl Deliveries {
    /// Reads the keys and the certificates.
    pub(crate) fn open(
        section: &WebhooksSection,
        cluster: &ClusterClient,
        directory: &Arc<Directory>,
        leases_shared: bool,
    ) -> Result<Self, DeliveryError> {
        let files = std::iter::once(&section.key_file).chain(&section.former_key_files);
        let vault = Vault::load(files.map(|path| &**path))?;
        let trusted = match &section.ca_file {
            Some(path) => roots(path)?,
            // A machine without any reaches endpoints over plain HTTP only, where that is allowed.
            None => roots(Path::new(SYSTEM_ROOTS)).unwrap_or_else(|error| {
                tracing::warn!(%error, "no endpoint's certificate can be checked; set webhooks.ca_file");
                RootCertStore::empty()
            }),
        };
        let guard = Guard::new(section.allow.clone());
        let feed = Feed::new(cluster.clone(), Arc::clone(directory), section.feed_bytes_max);
        let feed = Arc::new(feed);
        let adapter = Adapter {
            directory: Arc::clone(directory),
            feed: Arc::clone(&feed),
            poster: Poster::new(guard, Arc::new(SystemResolver), trusted),
            vault,
            plain_http: section.plain_http,
            limit: Duration::from_millis(section.timeout_ms),
            delays_ms: section.retry_delays_ms.clone(),
        };
        let settings = Settings {
            lease_ms: section.lease_ms,
            in_flight_max: section.in_flight_max,
            log_kept_ms: section.log_kept_hours * 3_600_000,
            leases_shared,
            alert_after_ms: section.alert_after_ms,
        };
        let (adapter, figures) = (Arc::new(adapter), Arc::default());
        let serving = watch::Sender::new(BTreeSet::new());
        let (cluster, incidents) = (cluster.clone(), Arc::default());
        Ok(Self { cluster, adapter, feed, figures, settings, incidents, serving })
    }

    /// What messages are made with.
    pub(crate) fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// Writes a line of an attempt that was no event's into a destination's log.
    pub(crate) async fn note(&self, log_id: &str, line: AttemptLine) {
        let keep_from_ms = engine::wall_ms().saturating_sub(self.settings.log_kept_ms);
        for _ in 0..NOTE_ATTEMPTS {
            let (letters, healed) = (Vec::new(), Vec::new());
            let lines = vec![line.clone()];
            let new = NewLines { log_id: log_id.to_owned(), lines, letters, healed };
            let new = BTreeMap::from([(log_id.to_owned(), new)]);
            if write_logs(self.cluster.clone(), new, keep_from_ms).await.is_some() {
                return;
            }
        }
        tracing::warn!(log_id, "an attempt is not in the log");
    }

    /// By group, the next leaf to come.
    pub(crate) fn tails(&self) -> BTreeMap<u64, u64> {
        self.feed.tails()
    }

    /// The parts of all destinations that this gateway serves now; uploads share the leases.
    pub(crate) fn serving(&self) -> watch::Receiver<BTreeSet<usize>> {
        self.serving.subscribe()
    }

    /// The newest events of all groups.
    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// The figures as Prometheus reads them.
    pub(crate) fn exposition(&self, out: &mut String) {
        self.figures.exposition(out);
    }

    /// Serves until it is told to stop, and gives back what it serves.
    pub(crate) async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.engine().run(stop) => {}
            () = self.follow_groups() => {}
            () = self.incidents.follow(&self.cluster) => {}
        }
    }

    fn engine(&self) -> Engine {
        let adapter = Arc::clone(&self.adapter);
        let figures = Arc::clone(&self.figures);
        let (cluster, serving) = (self.cluster.clone(), self.serving.clone());
        let settings = (self.settings, Arc::clone(&self.incidents));
        Engine::new(adapter, cluster, figures, settings, serving)
    }

    /// Follows every group that there is.
    async fn follow_groups(&self) {
        let (mut followed, mut groups) = (BTreeMap::new(), JoinSet::new());
        loop {
            for group in self.cluster.groups() {
                let feed = Arc::clone(&self.feed);
                followed.entry(group).or_insert_with(|| {
                    groups.spawn(async move { feed.follow(group).await });
                });
            }
            sleep(GROUPS_PAUSE).await;
        }
    }
}
