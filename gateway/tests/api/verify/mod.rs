//! Public verification as the public meets it: what holds, what is refused, and what nobody learns.

mod alike;
mod limits;
mod offline;
mod pages;
mod receipts;
mod unreachable;

use crate::support::http::Answer;
use crate::support::{Setup, World, sale};
use fiscus_gateway::config::GatewayConfig;
use serde_json::{Value, json};

/// Tests ask as often as they like.
fn unlimited(config: &mut GatewayConfig) {
    config.rates.public_per_minute = 0;
}

async fn world() -> World {
    World::start_with(Setup { configure: unlimited, ..Setup::default() }).await
}

/// A sealed sale, as the seal was answered.
async fn seal(world: &World, by: &str, outlet: &str, price: u32) -> Value {
    let key = format!("{outlet}-{price}");
    let call = world.post("/api/v1/invoices").by(by).idempotent(&key);
    call.json(&sale(outlet, price)).send().await.expect(201).json()
}

/// A text of an answer.
fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("there is no {name} in {value}"))
}

async fn by_number(world: &World, number: &str, code: &str) -> Answer {
    let plain = |text: &str| text.replace(' ', "%20");
    let path = format!("/api/v1/verify/{}?auth_code={}", plain(number), plain(code));
    world.get(&path).send().await
}

async fn by_qr(world: &World, qr: &str) -> Answer {
    world.post("/api/v1/verify/qr").json(&json!({ "qr": qr })).send().await
}

/// The page behind a QR code: its host is the test's gateway instead of the one on the paper.
fn page_of(qr: &str) -> String {
    let path = qr.splitn(4, '/').nth(3).expect("a path");
    format!("/{path}")
}
