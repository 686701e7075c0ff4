//! A founding that did not come to its end is begun again, and only that.

mod cluster;

use cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_founding_that_was_interrupted_goes_on() {
    let cluster = Cluster::unfounded(3, |_| {}).await;
    let all = cluster.addresses();
    // As far as it came: the second data group is missing.
    cluster.init(1, &all, 1).await.expect("two groups are founded");
    let fewer = cluster.init(1, &all[..2], 2).await.expect_err("other members");
    assert!(fewer.message().contains("is part of a cluster already"), "{fewer}");
    cluster.init(2, &all, 2).await.expect("another node may be asked");
    for id in 1..=3 {
        for group in 0..=2 {
            let whole = cluster.wait(id, group, |r| r.leader != 0 && r.voters == [1, 2, 3]).await;
            assert_eq!(whole.group, group);
        }
    }
    cluster.init(3, &all, 2).await.expect("nothing is left to do");
    let begun = cluster.init(1, &all, 1).await.expect_err("it has more groups");
    assert!(begun.message().contains("begun with 2 data groups"), "{begun}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founding_goes_on_as_soon_as_the_directory_has_a_leader() {
    // A node is back before the others miss it.
    let mut cluster = Cluster::unfounded(3, |config| {
        (config.raft.election_min_ms, config.raft.election_max_ms) = (4_000, 5_000);
    })
    .await;
    let all = cluster.addresses();
    cluster.init(1, &all, 1).await.expect("two groups are founded");
    // All nodes answer, and the one that the others take for the leader leads no more.
    let led = cluster.leader(0).await;
    let asked = cluster.follower(0).await;
    cluster.kill_node(led).await;
    cluster.start_node(led).await;
    cluster.init(asked, &all, 2).await.expect("the next leader is waited for");
    cluster.wait(asked, 2, |replica| replica.voters == [1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_made_gets_no_further_groups() {
    let mut cluster = Cluster::start(3).await;
    let all = cluster.addresses();
    cluster.init(2, &all, 1).await.expect("nothing is left to do");
    let more = cluster.init(2, &all, 2).await.expect_err("it is made");
    assert!(more.message().contains("never changes"), "{more}");
    assert!(cluster.replica(2, 2).await.is_none(), "no group was begun");
    cluster.sell(3).await;
}
