//! The documents of some kinds and every change of them, to one listener.
//!
//! ```text
//! replica ─ changes ─► Watch ─► reset, all documents ─► current ─► documents that changed ─► current …
//!                        ▲ a listener that fell behind, or a snapshot: everything again
//! ```
//!
//! Invariants: `current` with a place in the log comes after every document as it was there, or newer;
//! it is called fresh only when a majority has confirmed, within the last two seconds, that there was
//! nothing else. A slow listener holds nothing of the group.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use fiscus_proto::ledger as wire;
use fiscus_proto::ledger::document_event::Event;
use fiscus_raft::entry::DIRECTORY_GROUP;
use fiscus_raft::store::{AsOf, DocumentChange, DocumentQuery, Progress, Reading};
use futures_util::Stream;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::documents::{PAGE, message};
use super::ledger::{LedgerService, as_of, failed};
use super::still_open;
use crate::groups::Hosted;

/// Events that wait for the network.
const EVENTS_MAX: usize = 16;
/// Kinds that one listener may name.
const KINDS_MAX: usize = 64;
/// Between two events at most.
const BEAT: Duration = Duration::from_millis(900);
/// What was confirmed so long ago is not fresh.
const FRESH: Duration = Duration::from_secs(2);
/// Between two questions whether there is anything newer, and how long one takes at most.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
const PROBE_WAIT: Duration = Duration::from_secs(3);

type Sender = mpsc::Sender<Result<wire::DocumentEvent, Status>>;

/// Why a watch ends.
enum Ended {
    /// Nobody listens any more.
    Unheard,
    Failed(Status),
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

/// What has changed since the last look.
enum Changed {
    Documents(BTreeSet<(String, String)>),
    /// Nobody can say what: anything may have.
    All,
}

struct Watch {
    hosted: Weak<Hosted>,
    kinds: BTreeSet<String>,
    changes: broadcast::Receiver<DocumentChange>,
    progress: watch::Receiver<Progress>,
    /// When the question was asked to which what is applied here was the whole answer.
    confirmed: watch::Receiver<Option<Instant>>,
    sender: Sender,
}

impl LedgerService {
    /// Begins to watch.
    pub(super) fn watch(
        &self,
        kinds: Vec<String>,
    ) -> Result<impl Stream<Item = Result<wire::DocumentEvent, Status>> + Send + use<>, Status>
    {
        let kinds: BTreeSet<String> = kinds.into_iter().collect();
        if kinds.is_empty() || kinds.len() > KINDS_MAX {
            return Err(Status::invalid_argument("a watch names 1 to 64 kinds of documents"));
        }
        let hosted = self.group(DIRECTORY_GROUP)?;
        let replica = hosted.handle.replica();
        let (confirm, confirmed) = watch::channel(None);
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let watch = Watch {
            hosted: Arc::downgrade(&hosted),
            kinds,
            // Before the first look: what changes during it is looked at again.
            changes: replica.document_changes(),
            progress: replica.progress(),
            confirmed,
            sender: sender.clone(),
        };
        let (service, hosted) = (self.clone(), Arc::downgrade(&hosted));
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = watch.run() => ended,
                ended = service.confirm(&hosted, &confirm) => ended,
            };
            if let Err(Ended::Failed(status)) = ended {
                // The listener may have hung up.
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(ReceiverStream::new(events))
    }

    /// Asks again and again whether everything that was decided is applied here.
    async fn confirm(
        &self,
        hosted: &Weak<Hosted>,
        confirm: &watch::Sender<Option<Instant>>,
    ) -> Result<(), Ended> {
        loop {
            let asked = Instant::now();
            let open = still_open(hosted)?;
            if matches!(timeout(PROBE_WAIT, self.catch_up(&open)).await, Ok(Ok(()))) {
                confirm.send_replace(Some(asked));
            }
            drop(open);
            sleep(PROBE_INTERVAL).await;
        }
    }
}

impl Watch {
    async fn run(mut self) -> Result<(), Ended> {
        self.send_all().await?;
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let first = tokio::select! {
                change = self.changes.recv() => Some(change),
                _ = beat.tick() => None,
                () = self.sender.closed() => return Err(Ended::Unheard),
            };
            let now = self.progress.borrow().clone();
            // A group that has stopped is let go, so that it can be opened anew.
            if now.stopped.is_some() {
                return Err(Status::unavailable("the directory has stopped on this node").into());
            }
            // Whatever was applied until `now` is among the changes already.
            match self.drain(first)? {
                Changed::All => self.send_all().await?,
                Changed::Documents(changed) if changed.is_empty() => {}
                Changed::Documents(changed) => self.send_changed(changed).await?,
            }
            let fresh = self.confirmed.borrow().is_some_and(|asked| asked.elapsed() <= FRESH);
            let current = Event::Current(wire::DocumentsCurrent { fresh });
            self.send(moment(&now), current).await?;
        }
    }

    /// Takes every change that waits.
    fn drain(
        &mut self,
        first: Option<Result<DocumentChange, RecvError>>,
    ) -> Result<Changed, Status> {
        let closed = || Status::unavailable("the directory was closed on this node; ask again");
        let (mut changed, mut all) = (BTreeSet::new(), false);
        let mut next = match first {
            None => self.changes.try_recv(),
            Some(first) => first.map_err(|error| match error {
                RecvError::Closed => TryRecvError::Closed,
                RecvError::Lagged(missed) => TryRecvError::Lagged(missed),
            }),
        };
        loop {
            match next {
                Ok(DocumentChange::Changed { kind, id }) => {
                    if self.kinds.contains(&kind) {
                        changed.insert((kind, id));
                    }
                }
                Ok(DocumentChange::All) | Err(TryRecvError::Lagged(_)) => all = true,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed) => return Err(closed()),
            }
            next = self.changes.try_recv();
        }
        Ok(if all { Changed::All } else { Changed::Documents(changed) })
    }

    fn reading(&self) -> Result<Reading, Status> {
        still_open(&self.hosted)?.handle.replica().read().map_err(|error| failed(&error))
    }

    async fn send_changed(&self, changed: BTreeSet<(String, String)>) -> Result<(), Ended> {
        for (kind, id) in changed {
            let (read, document) = {
                let reading = self.reading()?;
                let found = reading.document(&kind, &id).map_err(|error| failed(&error))?;
                (reading.as_of(), found)
            };
            if let Some(document) = document {
                let document = message(&kind, &id.into(), document);
                self.send(as_of(read), Event::Document(document)).await?;
            }
        }
        Ok(())
    }

    async fn send_all(&self) -> Result<(), Ended> {
        let moment = self.reading()?.as_of();
        self.send(as_of(moment), Event::Reset(wire::DocumentsReset {})).await?;
        for kind in &self.kinds {
            let mut after: Option<String> = None;
            loop {
                let (read, page) = self.page(kind, after.as_deref())?;
                let Some(last) = page.last() else { break };
                after = Some(last.id.clone());
                for document in page {
                    self.send(as_of(read), Event::Document(document)).await?;
                }
            }
        }
        Ok(())
    }

    fn page(&self, kind: &str, after: Option<&str>) -> Result<(AsOf, Vec<wire::Document>), Status> {
        let reading = self.reading()?;
        let query = DocumentQuery { kind, prefix: "", after, descending: false };
        let page = reading.find_documents(query, PAGE).map_err(|error| failed(&error))?;
        let page = page.into_iter().map(|(id, document)| message(kind, &id, document));
        Ok((reading.as_of(), page.collect()))
    }

    async fn send(&self, as_of: wire::AsOf, event: Event) -> Result<(), Ended> {
        let event = wire::DocumentEvent { as_of: Some(as_of), event: Some(event) };
        self.sender.send(Ok(event)).await.map_err(|_| Ended::Unheard)
    }
}

fn moment(now: &Progress) -> wire::AsOf {
    wire::AsOf {
        group: DIRECTORY_GROUP,
        applied: now.applied.map_or(0, |id| id.index),
        time_ms: now.time_ms,
        leaves: now.leaves,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(capacity: usize) -> (broadcast::Sender<DocumentChange>, Watch) {
        let (changes, receiver) = broadcast::channel(capacity);
        let (_, confirmed) = watch::channel(None);
        let progress = Progress {
            applied: None,
            time_ms: 0,
            leaves: 0,
            signed_leaves: 0,
            apply_version: 1,
            heads_leaf_end: 0,
            heads_leaf_time_ms: 0,
            last_cut: None,
            copied: false,
            decided: None,
            stopped: None,
        };
        let watch = Watch {
            hosted: Weak::new(),
            kinds: BTreeSet::from(["merchant".to_owned()]),
            changes: receiver,
            progress: watch::channel(progress).1,
            confirmed,
            sender: mpsc::channel(1).0,
        };
        (changes, watch)
    }

    fn changed(kind: &str, id: &str) -> DocumentChange {
        DocumentChange::Changed { kind: kind.to_owned(), id: id.to_owned() }
    }

    #[test]
    fn changes_of_other_kinds_are_left_out_and_each_document_is_looked_at_once() {
        let (changes, mut watch) = watch(8);
        for (kind, id) in [("merchant", "a"), ("user", "u"), ("merchant", "b"), ("merchant", "a")] {
            changes.send(changed(kind, id)).expect("it listens");
        }
        let Ok(Changed::Documents(found)) = watch.drain(None) else { panic!("it knows them") };
        let found: Vec<&str> = found.iter().map(|(_, id)| id.as_str()).collect();
        assert_eq!(found, ["a", "b"]);
        assert!(matches!(watch.drain(None), Ok(Changed::Documents(none)) if none.is_empty()));
    }

    #[test]
    fn who_falls_behind_or_gets_a_snapshot_looks_at_everything() {
        let (changes, mut watch) = watch(2);
        for id in ["a", "b", "c", "d"] {
            changes.send(changed("user", id)).expect("it listens");
        }
        assert!(matches!(watch.drain(None), Ok(Changed::All)), "whatever the kinds were");
        let snapshot = Some(Ok(DocumentChange::All));
        assert!(matches!(watch.drain(snapshot), Ok(Changed::All)));
        drop(changes);
        assert!(watch.drain(None).is_err(), "what was closed is not current");
    }
}
