//! How much room the replicas of a group have left.

use std::time::Duration;

use tokio::time::Instant;

use super::ClusterClient;

impl ClusterClient {
    /// The smallest free space over the replicas of a group that answer in time; none when none does.
    pub async fn free_bytes(&self, group: u64, timeout: Duration) -> Option<u64> {
        let deadline = Instant::now() + timeout;
        let nodes = self.routes().readers(group, None);
        let mut asked = tokio::task::JoinSet::new();
        for node in nodes {
            let client = self.clone();
            asked.spawn(async move {
                let address = client.routes().address(node).map(str::to_owned)?;
                let told = client.ask_topology(&(address, Some(node)), deadline).await.ok()?;
                Some(told.disk_free_bytes)
            });
        }
        let mut least = None;
        while let Some(told) = asked.join_next().await {
            if let Ok(Some(free)) = told {
                least = Some(least.map_or(free, |known: u64| known.min(free)));
            }
        }
        least
    }
}
