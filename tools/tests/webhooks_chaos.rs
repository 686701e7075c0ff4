//! Deliveries by real gateways that are killed with SIGKILL, before a cluster whose leaders are killed: whoever is well
//! gets everything, in order where it asked for it, and twice only under the same id; whoever hangs or fails delays
//! nobody and takes no memory.
//!
//! The same with 500 endpoints: `cargo bench -p fiscus-tools --bench deliveries -- chaos 500 60`.

mod support;

use std::time::Duration;

use support::webhooks::{Trial, run};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_well_gets_everything_beside_those_that_hang() {
    let trial = Trial {
        endpoints: 60,
        part: Duration::from_secs(5),
        pause: Duration::from_millis(100),
        blow: Duration::from_secs(2),
    };
    let seen = run(trial, "webhooks-chaos").await;
    println!("{seen:?}");
    assert!(seen.blows >= 2, "{seen:?}");
    // A busy machine is slow for everybody; an endpoint that hangs does so for 15 seconds.
    assert!(seen.median_beside_ms <= 5 * seen.median_alone_ms.max(100), "{seen:?}");
    assert!(seen.rss_after_kib <= seen.rss_before_kib + 64 * 1024, "{seen:?}");
}
