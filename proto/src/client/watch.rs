//! The documents of the directory, and every change of them, for as long as the caller listens.

use std::time::Duration;

use futures_util::stream::{Stream, try_unfold};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::{Status, Streaming};

use super::ClusterClient;
use super::error::ReadError;
use super::read::{DIRECTORY, may_differ_elsewhere, rejected};
use super::retry::Backoff;
use crate::ledger::document_event::Event;
use crate::ledger::{DocumentEvent, WatchDocumentsRequest};

/// A node tells at least once a second that it is there; one that has been silent for so long is not.
const SILENCE_MAX: Duration = Duration::from_secs(5);

impl ClusterClient {
    /// Follows the documents of some kinds. Begins with a reset, and again with one whenever another
    /// node goes on: every document follows it. It only ends when the request is rejected.
    pub fn watch_documents(
        &self,
        kinds: Vec<String>,
    ) -> impl Stream<Item = Result<DocumentEvent, ReadError>> + Send + use<> {
        let watch =
            Watch { client: self.clone(), kinds, turn: 0, backoff: self.backoff(), open: None };
        try_unfold(watch, |mut watch| async move {
            let event = watch.next().await?;
            Ok(Some((event, watch)))
        })
    }
}

struct Watch {
    client: ClusterClient,
    kinds: Vec<String>,
    /// Counts the nodes that failed, so that each is left for the next one.
    turn: usize,
    backoff: Backoff,
    open: Option<Streaming<DocumentEvent>>,
}

impl Watch {
    async fn next(&mut self) -> Result<DocumentEvent, ReadError> {
        loop {
            let failure = match &mut self.open {
                None => self.reopen().await.err(),
                Some(events) => match timeout(SILENCE_MAX, events.message()).await {
                    Ok(Ok(Some(event))) => {
                        if matches!(event.event, Some(Event::Current(_))) {
                            self.backoff = self.client.backoff();
                        }
                        return Ok(event);
                    }
                    Ok(Ok(None)) => Some(Status::unavailable("the node ended the stream")),
                    Ok(Err(status)) => Some(status),
                    Err(_elapsed) => Some(Status::unavailable("the node is silent")),
                },
            };
            let Some(failure) = failure else { continue };
            if !may_differ_elsewhere(&failure) {
                return Err(rejected(&failure));
            }
            tracing::debug!(%failure, "the watch of documents moves");
            self.open = None;
            self.turn += 1;
            sleep(self.backoff.wait()).await;
        }
    }

    /// Opens the stream at the next node's in turn, and learns the topology again after each round.
    async fn reopen(&mut self) -> Result<(), Status> {
        let config = &self.client.shared.config;
        let deadline = Instant::now() + config.limits.attempt_timeout;
        let (nodes, generation) = {
            let routes = self.client.routes();
            (routes.readers(DIRECTORY, config.region.as_deref()), routes.generation)
        };
        if self.turn >= nodes.len() {
            self.turn = 0;
            self.client.refresh(generation, deadline).await.map_err(Status::unavailable)?;
        }
        let Some(node) = nodes.get(self.turn) else {
            return Err(Status::unavailable("no node is known"));
        };
        let link = self.client.node_link(*node).map_err(Status::unavailable)?;
        let mut client = link.client();
        let request = WatchDocumentsRequest { kinds: self.kinds.clone() };
        match timeout_at(deadline, client.watch_documents(request)).await {
            Ok(Ok(events)) => self.open = Some(events.into_inner()),
            Ok(Err(status)) => return Err(status),
            Err(_elapsed) => return Err(Status::unavailable("no answer in time")),
        }
        Ok(())
    }
}
