//! What a node takes up again after a restart, and what it must not.

mod cluster;

use cluster::Cluster;

/// It may have sent entries that its own log lost: in the same term it would give their places to others.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_restarts_does_not_resume_its_term() {
    let mut cluster = Cluster::start(3).await;
    cluster.sell(10).await;
    let leader = cluster.leader(1).await;
    let before = cluster.replica(leader, 1).await.expect("it is there").term;
    for id in 1..=3 {
        cluster.kill_node(id).await;
    }
    for id in 1..=3 {
        cluster.start_node(id).await;
    }
    let now = cluster.leader(1).await;
    let after = cluster.replica(now, 1).await.expect("it is there").term;
    assert!(after > before, "node {now} leads in term {after}, and node {leader} did in {before}");
    cluster.sell(10).await;
    cluster.wait_equal(1).await;
}
