//! Who is given the lead, and what is said when it cannot be given.

mod cluster;

use std::time::Duration;

use cluster::{Cluster, LIMIT};
use fiscus_proto::admin::TransferRequest;
use tonic::Code;

/// A voter that lags takes the lead when it has caught up: whoever asks may ask again.
#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_lags_gets_the_lead_later() {
    let mut cluster = Cluster::start_calm(3).await;
    cluster.sell(3).await;
    let (leader, to) = (cluster.leader(1).await, cluster.follower(1).await);
    cluster.kill_node(to).await;
    // One sale after the other, each an entry of its own.
    for _ in 0..80 {
        cluster.sell(1).await;
    }
    let transfer = TransferRequest { group: 1, to };
    let refused = cluster.admin(leader).transfer(transfer).await.expect_err("it is not there");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("entries behind"), "{refused}");
    cluster.start_node(to).await;
    let leads = async {
        while let Err(status) = cluster.admin(leader).transfer(transfer).await {
            let passes = [Code::Unavailable, Code::Aborted];
            assert!(passes.contains(&status.code()), "{status}");
            if cluster.leader(1).await == to {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LIMIT, leads).await.expect("it takes the lead");
    cluster.wait(to, 1, |replica| replica.role == "leader").await;
    cluster.sell(3).await;
}
