//! Nodes that have lost, or never had, a part in the cluster say so, and are not believed.

use super::*;

fn set(node: &Fake, topology: TopologyResponse) {
    node.script.lock().unwrap().topology = topology;
}

/// What a node says that waits to be added.
fn of_no_cluster(node: u64) -> TopologyResponse {
    TopologyResponse { cluster: "test".into(), node, ..TopologyResponse::default() }
}

#[tokio::test]
async fn an_empty_node_among_the_seeds_keeps_nobody_from_the_cluster() {
    let nodes = cluster(3, 2);
    set(&nodes[0], of_no_cluster(9));
    let client = client(&nodes).await;
    assert_eq!(client.submit(GROUP, seal(), LONG).await, Ok(Answer::Done));
    assert_eq!(nodes[1].seen().len(), 1, "the leader got it, at the first attempt");

    let alone = vec![nodes[0].address.to_string()];
    let refused = ClusterClient::connect(ClientConfig::new(alone, None)).await;
    let Err(ClientError::Unreachable { detail }) = refused else { panic!("{refused:?}") };
    assert!(detail.contains("belongs to no cluster yet"), "{detail}");
}

#[tokio::test]
async fn a_node_that_was_emptied_takes_the_others_from_nobody() {
    let nodes = cluster(3, 1);
    let client = client(&nodes).await;
    assert_eq!(client.submit(GROUP, seal(), LONG).await, Ok(Answer::Done));
    // Node 1 answered last and is asked first; it has lost its directory since.
    set(&nodes[0], of_no_cluster(1));
    nodes[0].play([not_leader(0)]);
    for (id, node) in [(2, &nodes[1]), (3, &nodes[2])] {
        set(node, topology(&nodes, id, 3));
    }
    assert_eq!(client.submit(GROUP, seal(), LONG).await, Ok(Answer::Done));
    assert_eq!(nodes[2].seen().len(), 1);
    assert_eq!(client.routes().places().count(), 3);
}

#[tokio::test]
async fn a_removed_node_that_goes_on_running_does_not_hide_the_new_ones() {
    let nodes = cluster(3, 3);
    // Node 1 left when there were only itself and node 2. Nodes 2 and 3 have seen node 3 come.
    let mut old = topology(&nodes[..2], 1, 2);
    old.groups.iter_mut().for_each(|group| group.applied = 10);
    set(&nodes[0], old);
    for (id, node) in [(2, &nodes[1]), (3, &nodes[2])] {
        let mut new = topology(&nodes, id, 3);
        new.nodes.remove(0);
        new.groups.iter_mut().for_each(|group| group.applied = 20);
        set(node, new);
    }
    nodes[1].play([not_leader(3)]);
    let client = client(&nodes[..2]).await;
    assert_eq!(client.submit(GROUP, seal(), LONG).await, Ok(Answer::Done));
    assert_eq!(nodes[2].seen().len(), 1, "node 2 told of it");
    let left = nodes[0].address.to_string();
    assert!(!client.routes().places().any(|(address, _)| address == left));
    // Nobody leads for a moment: whoever is asked, node 1 does not come back.
    nodes[2].play([not_leader(0)]);
    assert_eq!(client.submit(GROUP, seal(), LONG).await, Ok(Answer::Done));
    assert!(!client.routes().places().any(|(address, _)| address == left));
}
