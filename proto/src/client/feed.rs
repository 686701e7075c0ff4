//! The feed of a group: every signed leaf in order, for as long as the caller listens.

use std::sync::Arc;

use futures_util::stream::{Stream, try_unfold};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Status, Streaming};

use super::ClusterClient;
use super::error::ReadError;
use super::read::{may_differ_elsewhere, rejected};
use super::retry::Backoff;
use crate::ledger::{FeedItem, FeedRequest};

impl ClusterClient {
    /// Follows a group from a leaf on. Leaves come in order, none twice and none left out: when a node
    /// is lost, another one goes on at the next leaf. It only ends when the request is rejected.
    pub fn feed(
        &self,
        group: u64,
        from_leaf: u64,
    ) -> impl Stream<Item = Result<FeedItem, ReadError>> + Send + use<> {
        let feed = Feed {
            client: self.clone(),
            group,
            next_leaf: from_leaf,
            turn: 0,
            backoff: self.backoff(),
            open: None,
        };
        try_unfold(feed, |mut feed| async move {
            let item = feed.next().await?;
            Ok(Some((item, feed)))
        })
    }
}

struct Feed {
    client: ClusterClient,
    group: u64,
    next_leaf: u64,
    /// Counts the nodes that failed, so that each is left for the next one.
    turn: usize,
    backoff: Backoff,
    open: Option<Streaming<FeedItem>>,
}

impl Feed {
    async fn next(&mut self) -> Result<FeedItem, ReadError> {
        loop {
            let failure = match &mut self.open {
                None => self.reopen().await.err(),
                Some(items) => match items.message().await {
                    Ok(Some(item)) if item.leaf == self.next_leaf => {
                        self.next_leaf += 1;
                        self.backoff = self.client.backoff();
                        return Ok(item);
                    }
                    // A leaf that was told already is left out.
                    Ok(Some(item)) if item.leaf < self.next_leaf => None,
                    Ok(Some(item)) => {
                        let detail = format!("leaf {} came instead", item.leaf);
                        Some(Status::data_loss(detail))
                    }
                    Ok(None) => Some(Status::unavailable("the node ended the feed")),
                    Err(status) => Some(status),
                },
            };
            let Some(failure) = failure else { continue };
            if !may_differ_elsewhere(&failure) {
                return Err(rejected(&failure));
            }
            tracing::debug!(group = self.group, leaf = self.next_leaf, %failure, "the feed moves");
            self.open = None;
            self.turn += 1;
            sleep(self.backoff.wait()).await;
        }
    }

    /// Opens the feed at the next node's in turn, and learns the topology again after each round.
    async fn reopen(&mut self) -> Result<(), Status> {
        let config = &self.client.shared.config;
        let deadline = Instant::now() + config.limits.attempt_timeout;
        let (nodes, generation) = {
            let routes = self.client.routes();
            (routes.readers(self.group, config.region.as_deref()), routes.generation)
        };
        if self.turn >= nodes.len() {
            self.turn = 0;
            self.client.refresh(generation, deadline).await.map_err(Status::unavailable)?;
        }
        let Some(node) = nodes.get(self.turn) else {
            return Err(Status::unavailable("no node is known"));
        };
        let link = self.client.node_link(*node).map_err(Status::unavailable)?;
        let request = FeedRequest { group: self.group, from_leaf: self.next_leaf };
        let mut client = Arc::clone(&link).client();
        let opening = client.feed(request);
        match timeout_at(deadline, opening).await {
            Ok(Ok(items)) => self.open = Some(items.into_inner()),
            Ok(Err(status)) => return Err(status),
            Err(_elapsed) => return Err(Status::unavailable("no answer in time")),
        }
        Ok(())
    }
}
