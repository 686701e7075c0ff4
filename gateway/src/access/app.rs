//! What all handlers share. The cluster and the directory are open to `access` only: a handler reaches them
//! through the caller that it serves, or through what is public, and so cannot name another tenant's data.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::ClusterClient;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::authorities::Authorities;
use super::log::LastCheckpoints;
use super::places::{Place, Places};
use super::rates::Rates;
use super::strangers::Strangers;
use super::visitors::Visitors;
use crate::config::GatewayConfig;
use crate::delivery::Deliveries;
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::uploads::agent::Uploads;

/// A gateway's handles. Copies share them.
#[derive(Debug, Clone)]
pub struct App {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: GatewayConfig,
    cluster: ClusterClient,
    directory: Arc<Directory>,
    deliveries: Option<Arc<Deliveries>>,
    uploads: Option<Arc<Uploads>>,
    rates: Rates,
    visitors: Visitors,
    log_readers: Visitors,
    authorities: Authorities,
    last_checkpoints: LastCheckpoints,
    metrics: Metrics,
    places: Arc<Semaphore>,
    organisations: Arc<Places>,
    strangers: Strangers,
    batches: Arc<Semaphore>,
    batches_of_organisations: Arc<Places>,
    random: SystemRandom,
}

impl App {
    pub(crate) fn new(
        config: GatewayConfig,
        cluster: ClusterClient,
        directory: Arc<Directory>,
        deliveries: Option<Arc<Deliveries>>,
        uploads: Option<Arc<Uploads>>,
    ) -> Self {
        let places = Arc::new(Semaphore::new(config.limits.requests_max));
        let organisations = Places::new(config.limits.requests_per_organisation_max);
        let batches = Arc::new(Semaphore::new(config.limits.batches_max));
        let batches_of_organisations = Places::new(config.limits.batches_per_organisation_max);
        let rates = Rates::new(&config.rates);
        let visitors = Visitors::new(config.rates.public_per_minute);
        let log_readers = Visitors::new(config.rates.log_per_minute);
        let shared = Shared {
            config,
            cluster,
            directory,
            deliveries,
            uploads,
            rates,
            visitors,
            log_readers,
            authorities: Authorities::default(),
            last_checkpoints: LastCheckpoints::default(),
            metrics: Metrics::default(),
            places,
            organisations,
            strangers: Strangers::new(),
            batches,
            batches_of_organisations,
            random: SystemRandom::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What it was told.
    #[must_use]
    pub fn config(&self) -> &GatewayConfig {
        &self.shared.config
    }

    /// The cluster behind it.
    pub(in crate::access) fn cluster(&self) -> &ClusterClient {
        &self.shared.cluster
    }

    /// The directory as it was last heard of.
    pub(in crate::access) fn directory(&self) -> &Directory {
        &self.shared.directory
    }

    /// What uploads, when this gateway does.
    pub(crate) fn uploads(&self) -> Option<&Arc<Uploads>> {
        self.shared.uploads.as_ref()
    }

    /// What serves endpoints; none when this gateway is not configured for it.
    pub(crate) fn deliveries(&self) -> Option<&Arc<Deliveries>> {
        self.shared.deliveries.as_ref()
    }

    /// Follows the directory for as long as it is polled.
    pub(crate) async fn follow_directory(&self) {
        self.shared.directory.follow(&self.shared.cluster).await;
    }

    /// Whether the directory has been heard of once, and how long ago last.
    #[must_use]
    pub fn directory_state(&self) -> (bool, Duration) {
        (self.shared.directory.is_loaded(), self.shared.directory.age())
    }

    /// Who has asked how often.
    #[must_use]
    pub fn rates(&self) -> &Rates {
        &self.shared.rates
    }

    /// How often addresses came without a key.
    pub(in crate::access) fn visitors(&self) -> &Visitors {
        &self.shared.visitors
    }

    /// How often addresses read the logs.
    pub(in crate::access) fn log_readers(&self) -> &Visitors {
        &self.shared.log_readers
    }

    /// The checkpoints of the logs as they were last heard of.
    pub(in crate::access) fn last_checkpoints(&self) -> &LastCheckpoints {
        &self.shared.last_checkpoints
    }

    /// The authorities' keys as they were last heard of.
    pub(in crate::access) fn authorities(&self) -> &Authorities {
        &self.shared.authorities
    }

    /// Figures of this process.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// A place to be served in; none when all are taken.
    #[must_use]
    pub fn admit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.shared.places).try_acquire_owned().ok()
    }

    /// How many requests are served now, or are still being answered.
    #[must_use]
    pub fn places_taken(&self) -> usize {
        self.shared.config.limits.requests_max - self.shared.places.available_permits()
    }

    /// A place for a request of an organisation; none when it has as many as it may.
    pub(in crate::access) fn admit_organisation(&self, organisation: &str) -> Option<Place> {
        self.shared.organisations.take(organisation)
    }

    /// Keys that are not known.
    pub(in crate::access) fn strangers(&self) -> &Strangers {
        &self.shared.strangers
    }

    /// A place for a batch of an organisation; none when all are taken, or as many as it may have.
    pub(in crate::access) fn admit_batch(
        &self,
        organisation: &str,
    ) -> Option<(Place, OwnedSemaphorePermit)> {
        let place = self.shared.batches_of_organisations.take(organisation)?;
        Some((place, Arc::clone(&self.shared.batches).try_acquire_owned().ok()?))
    }

    /// This machine's time: for what a client leaves open and for rates, never for what is sealed.
    #[must_use]
    pub fn now(&self) -> UnixMs {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs::new(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }

    /// Random bytes.
    ///
    /// # Panics
    /// When the system has no randomness, without which no key and no id can be made.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.shared.random.fill(&mut bytes).expect("the system has randomness");
        bytes
    }
}
