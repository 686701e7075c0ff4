//! Deliveries while gateways are killed and leaders die: whoever is well gets everything, in order where it asked for
//! it, and twice only under the same id; whoever hangs or fails delays nobody.
//!
//! `FISCUS_WEBHOOK_ENDPOINTS` has it done with another number of endpoints, as 500; a tenth of them hang, a tenth fail.

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;
use support::receiver::Receiver;
use support::{LIMIT, Setup, World, sale, until};

const ENDPOINTS: usize = 20;
const SALES: u32 = 60;
/// An organisation has at most so many endpoints.
const ENDPOINTS_OF_ONE: usize = 50;

fn endpoints() -> usize {
    let asked = std::env::var("FISCUS_WEBHOOK_ENDPOINTS").ok();
    asked.map_or(ENDPOINTS, |asked| asked.parse().expect("a number"))
}

/// What the endpoint of a number does.
fn path(at: usize) -> String {
    match at % 10 {
        0 => "/hang".to_owned(),
        1 => "/status/503".to_owned(),
        _ => format!("/ok/{at}"),
    }
}

async fn make(world: &World, receiver: &Receiver, at: usize) {
    let mode = ["parallel", "per_outlet", "ordered"][at % 3];
    let body = json!({
        "url": receiver.url(&path(at)), "mode": mode, "events": ["invoice.sealed"], "outlets": ["outlet-gombe"],
        "per_second": 500,
    });
    let call = world.post("/api/v1/webhooks").by("owner").idempotent(&format!("endpoint-{at}"));
    call.json(&body).send().await.expect(201);
}

/// Seals at the last gateway that is there; one that is being replaced is asked again.
async fn seal(world: &World, price: u32) -> String {
    let began = Instant::now();
    loop {
        let gateway = world.gateways.len() - 1;
        let call = world.call_at(gateway, "POST", "/api/v1/invoices").by("owner");
        let call = call.idempotent(&format!("sale-{price}")).json(&sale("outlet-gombe", price));
        match call.try_send().await {
            Ok(answer) if [200, 201].contains(&answer.status) => {
                return answer.json()["fiscal_number"].as_str().expect("a number").to_owned();
            }
            other => assert!(began.elapsed() < LIMIT, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_well_gets_everything_whoever_is_killed() {
    let endpoints = endpoints().min(ENDPOINTS_OF_ONE);
    let setup = Setup { nodes: 3, gateways: 3, ..Setup::default() };
    let mut world = World::start_with(setup).await;
    let receiver = Receiver::start().await;
    for at in 0..endpoints {
        make(&world, &receiver, at).await;
    }
    let mut numbers = Vec::new();
    for price in 1..=SALES {
        numbers.push(seal(&world, price).await);
        match price {
            // The first one that is there is killed: nothing of it is given back.
            15 | 35 => {
                drop(world.gateways.remove(0));
                world.add_gateway().await;
            }
            25 => {
                let leader = world.cluster.leader(0).await;
                world.cluster.kill_node(leader).await;
                world.cluster.start_node(leader).await;
            }
            // This one stops in order, and gives back what it serves.
            45 => {
                world.gateways.remove(0).stop().await;
                world.add_gateway().await;
            }
            _ => {}
        }
    }
    let well: Vec<usize> = (0..endpoints).filter(|at| at % 10 > 1).collect();
    for at in &well {
        let path = path(*at);
        until(&format!("{path} gets everything"), || receiver.ids(&path).len() >= numbers.len())
            .await;
        let came = receiver.came(&path);
        let number = |one: &support::receiver::Came| {
            one.json()["data"]["fiscal_number"].as_str().expect("a number").to_owned()
        };
        let mut firsts = Vec::new();
        let mut ids = BTreeSet::new();
        for one in &came {
            if ids.insert(one.id.clone()) {
                firsts.push(number(one));
            }
        }
        assert_eq!(
            firsts.iter().collect::<BTreeSet<_>>(),
            numbers.iter().collect(),
            "{path}: all of them"
        );
        assert_eq!(firsts.len(), numbers.len(), "{path}: an event has one id");
        if at % 3 != 0 {
            assert_eq!(firsts, numbers, "{path}: in their order");
        }
    }
    assert!(!receiver.came("/hang").is_empty(), "those that hang were tried");
}
