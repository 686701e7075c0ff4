//! A cluster changes its members and restarts every one of them while points of sale go on selling:
//! nobody is turned away, and nothing that was answered is lost, missing or given twice.

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use support::load::Load;
use support::operator::{ExtraNode, until};
use support::{Demo, fresh, history, leader_of};

/// Everything between the first and the last sale.
const TEST_WAIT: Duration = Duration::from_secs(240);
/// Sales between two changes.
const BETWEEN: u64 = 30;
/// Between two sales of one point of sale. The machine has enough to do with starting nodes.
const PAUSE: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_go_and_restart_while_sales_go_on() {
    let began = Instant::now();
    let demo = Demo::start(&fresh("cluster-members"));
    println!("a cluster of three after {:?}", began.elapsed());
    let client = demo.client().await;
    let load = Load::paced(&client, 4, "members", PAUSE);
    load.wait_for(BETWEEN).await;
    let mut fourth = tokio::time::timeout(TEST_WAIT, async {
        let (fourth, fifth) = three_become_five(&demo, &load).await;
        println!("of five after {:?}", began.elapsed());
        five_become_three(&demo, &load, &fourth, fifth).await;
        fourth
    })
    .await
    .unwrap();
    tokio::time::timeout(TEST_WAIT, every_node_restarts(&demo, &load, &mut fourth)).await.unwrap();
    println!("of three others, each started anew, after {:?}", began.elapsed());
    let sales = load.finish().await;
    let longest = sales.iter().map(|sale| sale.ended - sale.began).max().unwrap();
    let doubtful = sales.iter().filter(|sale| sale.doubts > 0).count();
    println!("{} sales, {doubtful} with attempts in doubt, the longest {longest:?}", sales.len());
    history::check(&client, &sales).await;
    println!("everything is checked after {:?}", began.elapsed());
    assert_eq!(demo.members().await, BTreeSet::from([2, 3, 4]));
    fourth.stop().await;
    demo.stop();
}

async fn three_become_five(demo: &Demo, load: &Load) -> (ExtraNode, ExtraNode) {
    let fourth = ExtraNode::start(demo, 4).await;
    let fifth = ExtraNode::start(demo, 5).await;
    for node in [&fourth, &fifth] {
        demo.ok(&format!("nodes add {} --learner --yes", node.address)).await;
    }
    for node in [&fourth, &fifth] {
        demo.ok(&format!("nodes promote {} --yes", node.id)).await;
    }
    assert_eq!(demo.members().await, BTreeSet::from([1, 2, 3, 4, 5]));
    load.wait_for(BETWEEN).await;
    (fourth, fifth)
}

/// An original node that leads everything goes, and a later one. The first goes on running.
async fn five_become_three(demo: &Demo, load: &Load, fourth: &ExtraNode, fifth: ExtraNode) {
    for group in [0, 1] {
        demo.ok(&format!("groups transfer {group} --to 1 --yes")).await;
    }
    demo.ok("nodes remove 1 --yes").await;
    load.wait_for(BETWEEN).await;
    demo.ok("nodes remove 5 --yes").await;
    fifth.stop().await;
    demo.reach_by(&[&demo.nodes[1].rpc, &demo.nodes[2].rpc, &fourth.address]);
    assert_eq!(demo.members().await, BTreeSet::from([2, 3, 4]));
    demo.is_well().await;
    load.wait_for(BETWEEN).await;
}

/// SIGTERM to one after the other, each of them back and caught up before the next.
async fn every_node_restarts(demo: &Demo, load: &Load, fourth: &mut ExtraNode) {
    for id in [2, 3, 4] {
        let began = Instant::now();
        if id == fourth.id {
            fourth.restart().await;
        } else {
            restart_by_pid(demo, id).await;
        }
        demo.is_well().await;
        let leader = leader_of(&demo.dir, 1).await;
        let target = demo.replica(leader, 1).await.committed;
        until("it has caught up", async || demo.replica(id, 1).await.applied >= target).await;
        println!("node {id} is back after {:?}", began.elapsed());
        load.wait_for(BETWEEN).await;
    }
}

/// The demonstration starts a node again that has ended.
async fn restart_by_pid(demo: &Demo, id: u64) {
    let pid = |demo: &Demo| demo.pids().into_iter().find(|(node, _)| *node == id);
    let before = pid(demo).expect("it runs");
    support::signal("TERM", before.1);
    until("it runs again", async || pid(demo).is_some_and(|now| now != before)).await;
}
