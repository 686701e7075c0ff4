//! Deliveries by real gateways that are killed with SIGKILL, before a cluster whose leaders are killed: whoever is well
//! gets everything, in order where it asked for it, and twice only under the same id; whoever hangs or fails delays
//! nobody and takes no memory.
//!
//! The same with 500 endpoints: `cargo bench -p fiscus-tools --bench deliveries -- chaos 500 60`.

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use fiscus_ledger::time::UnixMs;
use serde_json::json;
use support::gateway::ready;
use support::webhooks::{Receiver, Trial, now_ms, run};
use support::{Demo, fresh, until};

const TOLD_WITHIN: Duration = Duration::from_secs(60);

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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_has_found_to_be_wrong_is_told_once_whatever_is_restarted() {
    let demo = Demo::start(&fresh("webhooks-integrity"));
    let receiver = Receiver::start().await;
    let (path, url) = ("/ok/integrity", format!("http://{}/ok/integrity", receiver.address));
    let body = json!({"url": url, "events": ["integrity.alert"]});
    let made = demo.ask("POST", "/api/v1/webhooks").idempotent("one").json(&body);
    made.send().await.expect(201);
    // As its monitor writes it.
    let find = |number: u64| {
        let at = UnixMs::new(now_ms()).to_string();
        let line = json!({
            "number": number, "at": at, "node": 2, "group": 1, "why": "a regular look", "findings": ["leaf 7"],
            "findings_more": 0, "repaired": ["leaf 7"], "left": null,
        });
        let file = demo.dir.join("n2/data/incidents.ndjson");
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(file).expect("it");
        writeln!(file, "{line}").expect("it is written");
        demo.kill(2);
    };
    find(0);
    // A gateway that is killed may send again what it sent last, under the same id.
    let ids = || -> BTreeSet<String> {
        let came = receiver.came(path).into_iter();
        came.map(|one| one.id.rsplit("_a_").next().unwrap_or_default().to_owned()).collect()
    };
    until("it is told", TOLD_WITHIN, || !ids().is_empty()).await;
    demo.kill_gateway();
    find(1);
    until("the next is told", TOLD_WITHIN, || ids().len() > 1).await;
    ready(demo.gateway_admin()).await;
    assert_eq!(ids(), BTreeSet::from(["0", "1"].map(str::to_owned)), "each is one message");
    demo.stop();
}
