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

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use fiscus_proto::client::ClusterClient;
use fiscus_proto::ledger::document_event::Event;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use documents::kind;
pub use tables::{OutletEntry, Tables, Versioned};

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
    /// The last entry that is known of in full; whoever has changed something waits for it.
    applied: watch::Sender<u64>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            tables: RwLock::default(),
            loaded: AtomicBool::new(false),
            began: Instant::now(),
            heard_ms: AtomicU64::new(0),
            applied: watch::Sender::new(0),
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

    /// Waits until a predicate holds on what is known, for a bounded time; whether it came to hold.
    pub async fn wait_until(&self, limit: Duration, holds: impl Fn(&Tables) -> bool) -> bool {
        let mut changes = self.applied.subscribe();
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
            // While everything is told anew, requests go on with what was known before.
            let mut fresh_tables: Option<Tables> = None;
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        let applied = event.as_of.as_ref().map_or(0, |as_of| as_of.applied);
                        if let Some(event) = event.event {
                            self.take(event, applied, &mut fresh_tables);
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

    fn take(&self, event: Event, applied: u64, renewed: &mut Option<Tables>) {
        match event {
            Event::Reset(_) => *renewed = Some(Tables::default()),
            Event::Document(document) => match renewed {
                Some(tables) => tables.put(&document),
                None => {
                    let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
                    tables.put(&document);
                }
            },
            Event::Current(current) => {
                if let Some(tables) = renewed.take() {
                    *self.tables.write().unwrap_or_else(PoisonError::into_inner) = tables;
                    self.loaded.store(true, Ordering::Release);
                }
                if current.fresh {
                    let since = u64::try_from(self.began.elapsed().as_millis());
                    self.heard_ms.store(since.unwrap_or(u64::MAX), Ordering::Relaxed);
                }
                self.applied.send_replace(applied);
            }
        }
    }

    /// Takes in what was read or written here before the stream tells it.
    pub fn note(&self, document: &fiscus_proto::ledger::Document) {
        self.tables.write().unwrap_or_else(PoisonError::into_inner).put(document);
    }
}
