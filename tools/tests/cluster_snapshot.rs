//! A node with nothing joins while sales go on. The log that it lacks is gone everywhere, so it gets the
//! state as a snapshot and the rest as log, and ends with the state that the others have.

mod support;

use std::fs;
use std::time::Duration;

use support::load::Load;
use support::operator::{ExtraNode, until};
use support::{Demo, fresh, history};

/// Everything between the first and the last sale.
const TEST_WAIT: Duration = Duration::from_secs(240);
/// So few entries behind a snapshot that they never reach back to the beginning.
const KEEP_ENTRIES: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_node_gets_a_snapshot_while_sales_go_on() {
    let demo = Demo::start(&fresh("cluster-snapshot"));
    for node in &demo.nodes {
        let path = demo.path(&format!("n{}/node.toml", node.id));
        let config = fs::read_to_string(&path).unwrap();
        let short =
            config.replace("keep_entries = 1000", &format!("keep_entries = {KEEP_ENTRIES}"));
        assert_ne!(short, config, "the setting is there");
        fs::write(path, short).unwrap();
    }
    let dir = demo.dir.clone();
    demo.stop();
    let demo = Demo::start(&dir);
    let client = demo.client().await;
    let load = Load::paced(&client, 3, "snapshot", Duration::from_millis(50));
    let fourth = tokio::time::timeout(TEST_WAIT, a_node_joins(&demo, &load)).await.unwrap();
    let sales = load.finish().await;
    until("all hold the same", async || {
        let mut replicas = Vec::new();
        for id in 1..=4 {
            let replica = demo.replica(id, 1).await;
            replicas.push((replica.state, replica.leaves));
        }
        replicas.iter().all(|replica| *replica == replicas[0])
    })
    .await;
    println!("{} sales, the state is {:?}", sales.len(), demo.replica(4, 1).await);
    history::check(&client, &sales).await;
    fourth.stop().await;
    demo.stop();
}

/// It is a voter when this returns.
async fn a_node_joins(demo: &Demo, load: &Load) -> ExtraNode {
    load.wait_for(60).await;
    let mut least = u64::MAX;
    for node in &demo.nodes {
        demo.ok(&format!("snapshot 1 --node {}", node.id)).await;
        least = least.min(demo.replica(node.id, 1).await.snapshot);
    }
    assert!(least > KEEP_ENTRIES + 1, "the log behind entry {least} is gone");
    load.wait_for(60).await;
    let fourth = ExtraNode::start(demo, 4).await;
    demo.ok(&format!("nodes add {} --yes", fourth.address)).await;
    let joined = demo.replica(4, 1).await;
    assert!(joined.snapshot >= least, "it began with a snapshot: {joined:?}");
    load.wait_for(60).await;
    fourth
}
