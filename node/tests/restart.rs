//! What a node takes up again after a restart, and what it must not.

mod cluster;

use cluster::Cluster;
use fiscus_proto::admin::StatusRequest;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_does_not_open_is_told_and_keeps_no_other_down() {
    let mut cluster = Cluster::start(3).await;
    cluster.sell(10).await;
    let id = cluster.follower(1).await;
    let at = usize::try_from(id - 1).expect("a few nodes");
    cluster.stop_node(id).await;
    std::fs::write(cluster.members[at].group_dir(1).join("RECOVERY"), "?").expect("it is written");
    cluster.start_node(id).await;
    cluster.wait(id, 0, |replica| replica.leader != 0 && replica.stopped.is_empty()).await;
    assert!(cluster.replica(id, 1).await.is_none(), "nobody knows how it voted");
    let status = cluster.admin(id).status(StatusRequest {}).await.expect("a status").into_inner();
    let alerts = status.alerts.join("\n");
    assert!(alerts.contains("group 1 is not open"), "{alerts}");
    cluster.sell(5).await;
}
