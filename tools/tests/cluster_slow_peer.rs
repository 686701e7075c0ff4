//! One peer that stands still, with its connections open, slows the others down by nothing that a till
//! would feel; when it goes on, it catches up.

mod support;

use std::time::Duration;

use fiscus_proto::client::ClusterClient;
use support::load::{Sale, sell};
use support::processes::Processes;
use support::{Demo, client, fresh, history, leader_of, replica_number, signal, until};

const LIMIT: Duration = Duration::from_secs(60);
const SALES: usize = 61;
/// A machine that does other things as well is not to fail this: a sale that is slower by as much counts only
/// when a till would feel it.
const SLOWER_MAX: f64 = 5.0;
const FELT: Duration = Duration::from_millis(500);
/// What a sale may take all the same: less than any time-out on a connection to a peer.
const LONGEST_MAX: Duration = Duration::from_secs(5);

/// How long sales take, one after the other, the shortest first.
async fn times(client: &ClusterClient, name: &str, sales: &mut Vec<Sale>) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..SALES {
        let sold = sell(client, number, &format!("{name}-{number}")).await.unwrap();
        times.push(sold.ended - sold.began);
        sales.push(sold);
    }
    times.sort_unstable();
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stands_still_holds_nobody_up() {
    let dir = fresh("cluster-slow-peer");
    let mut nodes = Processes::of(Demo::start(&dir));
    for id in nodes.ids() {
        nodes.start(id);
    }
    nodes.listening().await;
    let client = client(&dir, &nodes.nodes).await;
    let leading = [leader_of(&dir, 0).await, leader_of(&dir, 1).await];
    let still = nodes.ids().into_iter().find(|id| !leading.contains(id)).expect("a third");
    let mut sales = Vec::new();
    let before = times(&client, "before", &mut sales).await;

    signal("STOP", nodes.pid(still));
    let during = times(&client, "during", &mut sales).await;
    let behind = replica_number(&dir, leader_of(&dir, 1).await, 1, "committed");
    signal("CONT", nodes.pid(still));

    let (middle, longest) = (SALES / 2, *during.last().expect("there are some"));
    let ratio = during[middle].as_secs_f64() / before[middle].as_secs_f64();
    println!(
        "median of a sale: {:?} before, {:?} with a peer that stands still ({ratio:.2}x), longest {longest:?}",
        before[middle], during[middle]
    );
    assert!(ratio < SLOWER_MAX || during[middle] < FELT, "the others are slower: {ratio:.2}x");
    assert!(longest < LONGEST_MAX, "one sale took {longest:?}");
    until("it catches up", LIMIT, || replica_number(&dir, still, 1, "applied") >= behind).await;
    history::check(&client, &sales).await;
    nodes.stop_all().await;
}
