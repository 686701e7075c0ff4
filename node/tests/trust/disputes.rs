//! Replicas that differ: one is taken anew; without a majority nothing is sealed.

use std::sync::Arc;
use std::time::Duration;

use fiscus_ledger::state::Id;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_raft::disk::{Disk, RealDisk};
use fiscus_raft::index::{Batch, Durability, Index as _, RedbIndex, RedbOptions};

use crate::cluster::{self, Cluster, OUTLET};
use crate::{GROUP, LOOK, published};

const SPLIT: &str = "the voters' states differ, and no majority agrees";
const DISPUTED: &str =
    "the voters' states differ; nothing is sealed until a majority agrees on one";
/// A sale that is not taken within this time is not taken,
const SALE_WAIT: Duration = Duration::from_secs(2);
/// and after so many that were not, in longer than an election takes, none will be.
const REFUSED_FOR_GOOD: u32 = 5;

/// Changes what a node that is stopped knows of the outlet.
fn plant(cluster: &Cluster, id: u64, by: u64) {
    let at = usize::try_from(id - 1).expect("a few nodes");
    let path = cluster.members[at].state_dir(GROUP).join("index.redb");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let index = RedbIndex::open(disk, path, RedbOptions::default()).expect("an index");
    let key = Outlet::stored_key(&Id::from(OUTLET));
    let row = index.get(&key).expect("it is read").expect("the outlet is there");
    let mut outlet = Outlet::from_stored(&row).expect("an outlet");
    outlet.last_z += by;
    let mut batch = Batch::new();
    batch.put(key, outlet.stored_row());
    index.write(&batch, Durability::Durable).expect("it is written");
}

/// What the nodes say is wrong, all of them.
async fn all_alerts(cluster: &Cluster) -> String {
    let mut all = String::new();
    for member in cluster.members.iter().filter(|member| member.is_running()) {
        all += &cluster.alerts(member.id).await;
        all.push('\n');
    }
    all
}

/// Sells, so that there is something to cut, until the nodes say all of this.
async fn sell_until_told(cluster: &mut Cluster, wanted: &[&str]) {
    let mut last = String::new();
    let selling = async {
        while !wanted.iter().all(|words| last.contains(words)) {
            // Whether it is taken depends on how far they have come.
            cluster.try_sell(SALE_WAIT).await;
            last = all_alerts(cluster).await;
        }
    };
    let told = tokio::time::timeout(cluster::LIMIT, selling).await;
    assert!(told.is_ok(), "it is told: {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_differs_is_found_by_the_next_checkpoint_and_taken_anew() {
    let mut cluster = Cluster::start_calm(3).await;
    cluster.sell(10).await;
    cluster.wait_equal(GROUP).await;
    let id = cluster.follower(GROUP).await;
    let at = usize::try_from(id - 1).expect("a few nodes");
    cluster.stop_node(id).await;
    plant(&cluster, id, 1);
    cluster.start_node(id).await;
    cluster.sell(3).await;
    let incidents = cluster.members[at].dir.join("incidents.ndjson");
    let waiting = async {
        loop {
            let text = std::fs::read_to_string(&incidents).unwrap_or_default();
            if text.contains("its state differs from the one that a majority agreed on") {
                return text;
            }
            cluster.sell(1).await;
            tokio::time::sleep(LOOK).await;
        }
    };
    let text = tokio::time::timeout(cluster::LIMIT, waiting).await.expect("an incident is noted");
    assert!(text.contains("rebuilt from its peers"), "{text}");
    cluster.wait(id, GROUP, |r| r.recovering.is_empty() && r.stopped.is_empty()).await;
    cluster.wait_equal(GROUP).await;
    assert_eq!(cluster.scrub(id, GROUP, false).await, (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn three_states_without_a_majority_end_sealing() {
    let mut cluster = Cluster::start_calm(3).await;
    cluster.sell(5).await;
    cluster.wait_equal(GROUP).await;
    let leader = cluster.leader(GROUP).await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    for (id, by) in others.iter().zip(1..) {
        cluster.stop_node(*id).await;
        plant(&cluster, *id, by);
    }
    let (before, _) = published(&cluster, leader).await.expect("what all agreed on");
    for id in &others {
        cluster.start_node(*id).await;
    }
    sell_until_told(&mut cluster, &[SPLIT]).await;
    // Another may lead now, and finds the same with its first cut, if it comes so far.
    let stopping = async {
        let mut refused = 0;
        while refused < REFUSED_FOR_GOOD {
            refused = if cluster.try_sell(SALE_WAIT).await { 0 } else { refused + 1 };
        }
    };
    tokio::time::timeout(cluster::LIMIT, stopping).await.expect("sealing comes to its end");
    let told = cluster.members.iter().any(|member| {
        let incidents = std::fs::read_to_string(member.dir.join("incidents.ndjson"));
        incidents.is_ok_and(|text| text.contains("no majority agrees"))
    });
    assert!(told, "it is an incident");
    for id in 1..=3 {
        let after = published(&cluster, id).await.map_or(0, |(size, _)| size);
        assert!(after <= before, "{after} leaves are signed, and a majority had {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_differ_seal_nothing_until_the_third_is_back() {
    let mut cluster = Cluster::start_calm(3).await;
    cluster.sell(5).await;
    cluster.wait_equal(GROUP).await;
    let leader = cluster.leader(GROUP).await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    let (wrong, away) = (others[0], others[1]);
    cluster.stop_node(away).await;
    cluster.stop_node(wrong).await;
    plant(&cluster, wrong, 1);
    cluster.start_node(wrong).await;
    sell_until_told(&mut cluster, &[DISPUTED]).await;
    for _ in 0..2 {
        assert!(!cluster.try_sell(SALE_WAIT).await, "something is sealed without a majority");
    }
    cluster.start_node(away).await;
    let selling = async {
        while !cluster.try_sell(SALE_WAIT).await {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(cluster::LIMIT, selling).await.expect("the majority seals again");
    cluster.wait(wrong, GROUP, |r| r.recovering.is_empty() && r.stopped.is_empty()).await;
    cluster.wait_equal(GROUP).await;
    assert_eq!(cluster.scrub(wrong, GROUP, false).await, (vec![], vec![]));
}
