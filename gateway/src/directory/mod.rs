//! The directory as this gateway last heard of it: all documents that requests need, kept in memory and followed,
//! so that no sale waits for a second look-up.
//!
//! ```text
//! nodes ── WatchDocuments ──► follow ──► tables ──► handlers read, at once
//! ```
//!
//! A gateway that hears nothing goes on with what it knows, says so in its readiness, and learns everything anew
//! when it hears again.

pub mod documents;
mod tables;
pub mod uploads;
pub mod webhooks;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use fiscus_proto::client::ClusterClient;
use fiscus_proto::ledger::AsOf;
use fiscus_proto::ledger::document_event::Event;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use documents::kind;
pub use tables::{OutletEntry, Stored, Table, Tables, Versioned};

/// Before the directory is asked again when it ended.
const PAUSE: Duration = Duration::from_millis(200);

/// What is known of the directory.
#[derive(Debug)]
pub struct Directory {
    tables: RwLock<Tables>,
    loaded: AtomicBool,
    began: Instant,
    /// Milliseconds from `began` to when it was last heard of fresh.
    heard_ms: AtomicU64,
    /// The position up to which everything is known. Whoever has changed something waits for a change of it.
    as_of: watch::Sender<AsOf>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            tables: RwLock::default(),
            loaded: AtomicBool::new(false),
            began: Instant::now(),
            heard_ms: AtomicU64::new(0),
            as_of: watch::Sender::new(AsOf::default()),
        }
    }
}

impl Directory {
    /// What is known now. Held for look-ups only, never while waiting.
    pub fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything has been heard once.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Since when nothing fresh was heard.
    #[must_use]
    pub fn age(&self) -> Duration {
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(heard)
    }

    /// The position up to which everything is known.
    #[must_use]
    pub fn as_of(&self) -> AsOf {
        *self.as_of.borrow()
    }

    /// Changes with everything that is heard.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<AsOf> {
        self.as_of.subscribe()
    }

    /// Waits until a predicate holds on what is known, for a bounded time; whether it came to hold.
    pub async fn wait_until(&self, limit: Duration, holds: impl Fn(&Tables) -> bool) -> bool {
        let mut changes = self.as_of.subscribe();
        let deadline = Instant::now() + limit;
        loop {
            changes.borrow_and_update();
            if holds(&self.read()) {
                return true;
            }
            if !matches!(tokio::time::timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return holds(&self.read());
            }
        }
    }

    /// Follows the directory for as long as it is polled.
    pub(crate) async fn follow(&self, cluster: &ClusterClient) {
        let kinds: Vec<String> = kind::FOLLOWED.iter().map(|kind| (*kind).to_owned()).collect();
        loop {
            let mut events = Box::pin(cluster.watch_documents(kinds.clone()));
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        let as_of = event.as_of.unwrap_or_default();
                        if let Some(event) = event.event {
                            self.take(event, as_of);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the directory is not heard of");
                        break;
                    }
                }
            }
            sleep(PAUSE).await;
        }
    }

    fn take(&self, event: Event, as_of: AsOf) {
        match event {
            // Everything is told anew. Documents are never taken away and older versions are passed over, so requests
            // go on with what is known, and a revocation among what is told holds at once.
            Event::Reset(_) => {}
            Event::Document(document) => {
                self.note(&document);
                // Whoever waits for this document need not wait for the ones after it.
                self.as_of.send_modify(|_| {});
            }
            Event::Current(current) => {
                self.loaded.store(true, Ordering::Release);
                if current.fresh {
                    let since = u64::try_from(self.began.elapsed().as_millis());
                    self.heard_ms.store(since.unwrap_or(u64::MAX), Ordering::Relaxed);
                }
                self.as_of.send_replace(as_of);
            }
        }
    }

    /// Takes in what was read or written here before the stream tells it.
    pub fn note(&self, document: &fiscus_proto::ledger::Document) {
        self.tables.write().unwrap_or_else(PoisonError::into_inner).put(document);
    }
}
