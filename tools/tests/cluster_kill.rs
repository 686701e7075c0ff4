//! kill -9, in every combination, under load: nothing that was answered is lost, no number is missing
//! or given twice, and the same key gives the same bytes afterwards.

mod support;

use std::time::Duration;

use support::load::Load;
use support::{Demo, fresh, history, leader_of};

/// An unoptimised node needs seconds to open its keys, three of them on a busy machine many.
const UP_WAIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_nodes_lose_nothing() {
    let demo = Demo::start(&fresh("cluster-kill"));
    let client = demo.client().await;
    let load = Load::start(&client, 8, "kill");
    load.wait_for(200).await;
    for round in 0..6_u64 {
        match round % 3 {
            // The leader.
            0 => {
                let leader = leader_of(&demo.dir, 1).await;
                demo.kill(leader);
            }
            // Some node.
            1 => demo.kill(round % 3 + 1),
            // All of them.
            _ => {
                for node in &demo.nodes {
                    demo.kill(node.id);
                }
            }
        }
        load.wait_for(100).await;
        // The next round finds all three up again.
        let up = async {
            while demo.pids().len() < 3 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(UP_WAIT, up).await.unwrap();
    }
    let sales = load.finish().await;
    println!(
        "{} sales, {} of them with attempts in doubt",
        sales.len(),
        sales.iter().filter(|sale| sale.doubts > 0).count()
    );
    history::check(&client, &sales).await;
    // A cold start of everything finds the same.
    let dir = demo.dir.clone();
    demo.stop();
    let demo = Demo::start(&dir);
    let client = demo.client().await;
    history::check(&client, &sales).await;
    history::serves(&client, "afterwards").await;
    demo.stop();
}
