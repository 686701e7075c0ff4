//! What the nodes have found to be wrong with what they hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::ClusterClient;
use super::read::DIRECTORY;
use crate::ledger::{ListIncidentsRequest, ListIncidentsResponse};

impl ClusterClient {
    /// Asks every node for its incidents, each from a number on, which is 0 for a node that is not named. What a node
    /// that does not answer in time has found is heard of the next time.
    pub async fn incidents(
        &self,
        from: &BTreeMap<u64, u64>,
        timeout: Duration,
    ) -> Vec<ListIncidentsResponse> {
        let deadline = Instant::now() + timeout;
        let nodes = self.routes().readers(DIRECTORY, None);
        let mut asked = tokio::task::JoinSet::new();
        for node in nodes {
            let client = self.clone();
            let from_number = from.get(&node).copied().unwrap_or(0);
            asked.spawn(async move {
                let mut link = Arc::clone(&client.node_link(node).ok()?).client();
                let told = link.list_incidents(ListIncidentsRequest { from_number });
                let told = timeout_at(deadline, told).await.ok()?;
                // A node of an earlier release does not know the question.
                let told =
                    told.inspect_err(|status| tracing::debug!(node, %status, "no incidents"));
                told.ok().map(tonic::Response::into_inner).filter(|told| told.node == node)
            });
        }
        let mut all = Vec::new();
        while let Some(told) = asked.join_next().await {
            all.extend(told.ok().flatten());
        }
        all
    }
}
