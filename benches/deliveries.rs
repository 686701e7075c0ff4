//! Webhooks of a real cluster of processes, measured: from the commit to the receiver, and with endpoints that hang
//! while gateways are killed.
//!
//! ```sh
//! cargo bench -p fiscus-tools --bench deliveries -- latency 500 30
//! cargo bench -p fiscus-tools --bench deliveries -- chaos 500 60
//! ```
//!
//! `latency` takes sales a second and seconds: p50 is to be at most 50 ms, p99 at most 500 ms. `chaos` takes endpoints
//! and the seconds of each of its three parts.

#[path = "../tools/tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use support::gateway::call;
use support::load::sell_in;
use support::webhooks::{Receiver, Trial, run, tenants};
use support::{Demo, fresh};

/// Events of so many tenants, each with one endpoint that gets all of them.
const TENANTS: usize = 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let number = |at: usize, fallback: u64| {
        arguments.get(at).map_or(fallback, |text| text.parse().expect("a number"))
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match arguments.first().map(String::as_str) {
        None | Some("latency") => runtime.block_on(latency(number(1, 500), number(2, 30))),
        Some("chaos") => {
            let trial = Trial {
                endpoints: usize::try_from(number(1, 500)).expect("few"),
                part: Duration::from_secs(number(2, 60)),
                pause: Duration::from_secs(1),
                blow: Duration::from_secs(6),
            };
            println!("{:#?}", runtime.block_on(run(trial, "bench-deliveries-chaos")));
        }
        Some(other) => panic!("{other}: latency PER_SECOND SECONDS, or chaos ENDPOINTS SECONDS"),
    }
}

/// Sales at an even rate; how long after its record's time each message has come.
async fn latency(per_second: u64, seconds: u64) {
    let demo = Demo::start(&fresh("bench-deliveries"));
    let client = demo.client().await;
    let tenants = Arc::new(tenants(&client, TENANTS).await);
    let receiver = Receiver::start().await;
    for (at, tenant) in tenants.iter().enumerate() {
        let url = format!("http://{}/ok/{at}", receiver.address);
        let body = json!({"url": url, "events": ["invoice.sealed"], "per_second": 500});
        let made = call(demo.gateway_address(), "POST", "/api/v1/webhooks").bearer(&tenant.key);
        made.idempotent("one").json(&body).send().await.expect(201);
    }
    // Connections, caches, and the lease of every shard.
    for tenant in tenants.iter() {
        sell_in(&client, &tenant.outlet, &tenant.nif, "warm").await;
    }
    while receiver.counts().len() < TENANTS {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = receiver.counts();
    let (count, began) = (per_second * seconds, Instant::now());
    let mut sales = tokio::task::JoinSet::new();
    for at in 0..count {
        let due = began + Duration::from_micros(at * 1_000_000 / per_second);
        tokio::time::sleep_until(due.into()).await;
        let (client, tenants) = (client.clone(), Arc::clone(&tenants));
        sales.spawn(async move {
            let tenant = &tenants[usize::try_from(at).expect("few") % TENANTS];
            sell_in(&client, &tenant.outlet, &tenant.nif, &format!("sale-{at}")).await;
        });
        while sales.try_join_next().is_some() {}
    }
    while sales.join_next().await.is_some() {}
    let sold = began.elapsed();
    let wanted = usize::try_from(count).expect("few");
    while receiver.took(&before).len() < wanted {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = receiver.took(&before);
    let quantile = |of_1000: usize| took[(took.len() - 1) * of_1000 / 1_000];
    println!(
        "{} messages of {count} sales in {sold:.1?}: p50 {} ms, p90 {} ms, p99 {} ms, longest {} ms",
        took.len(),
        quantile(500),
        quantile(900),
        quantile(990),
        quantile(1_000)
    );
    demo.stop();
}
