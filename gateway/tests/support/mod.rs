//! A cluster, a directory with two tenants, and gateways in front of it: all real, all in this process.
//!
//! ```text
//! World::start() ─► cluster (a node) ─► seed (tenants, outlets, keys) ─► gateways that know them
//! world.post("/api/v1/invoices").by("owner").idempotent("sale-1").json(&sale).send().await
//! ```
//!
//! | outlet | tenant | numbers | | key | |
//! |---|---|---|---|---|---|
//! | `outlet-gombe` | Kivu | KIN-GOMBE, a shift is open | | `owner`, `manager`, `supervisor`, `auditor` | Kivu |
//! | `outlet-limete` | Kivu | KIN-LIMETE | | `cashier` | Kivu, `outlet-gombe` only |
//! | `outlet-goma` | Kivu | GOM-GOMA, region `goma` | | `goma` | Kivu, a manager of the region `goma` |
//! | `outlet-essai` | Kivu | KIN-ESSAI, sandbox | | `sealer` | Kivu, an integrator that seals and reads |
//! | `outlet-kenya` | Lualaba | LUB-KENYA | | `growth` | Kivu, an owner of the lowest tier |
//! | `outlet-bac` | Lualaba | LUB-BAC, sandbox | | `revoked`, `expired` | Kivu |
//! | | | | | `other` | Lualaba, an owner |
//! | | | | | `platform` | of no tenant |

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

#[path = "../../../node/tests/cluster/mod.rs"]
pub mod cluster;
pub mod http;
pub mod receiver;
pub mod seed;

use std::collections::BTreeMap;
use std::time::Duration;

use fiscus_gateway::Gateway;
use fiscus_gateway::config::{GatewayConfig, Tier, WebhooksSection};

use cluster::Cluster;
use http::Call;

/// Whatever a test waits for happens within this time.
pub const LIMIT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What there is to be.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub nodes: u64,
    /// With two, `outlet-limete` and `outlet-kenya` live in the second.
    pub data_groups: u64,
    pub gateways: usize,
    pub configure: fn(&mut GatewayConfig),
}

impl Default for Setup {
    fn default() -> Self {
        Self { nodes: 1, data_groups: 1, gateways: 1, configure: |_| {} }
    }
}

/// Everything that a test talks to.
pub struct World {
    pub cluster: Cluster,
    pub gateways: Vec<Gateway>,
    /// The texts of the keys by name.
    pub keys: BTreeMap<&'static str, String>,
    configure: fn(&mut GatewayConfig),
    /// The key of endpoints' secrets, the same for all gateways.
    webhook_key: tempfile::NamedTempFile,
}

impl World {
    /// A node, a gateway, and the tenants.
    pub async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    /// The same, of another size or with another configuration.
    pub async fn start_with(setup: Setup) -> Self {
        let mut cluster = Cluster::start_sized(setup.nodes, setup.data_groups).await;
        let client = cluster.client().await;
        let keys = seed::fill(&client, setup.data_groups).await;
        let configure = setup.configure;
        let webhook_key = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(webhook_key.path(), "5a".repeat(32)).expect("a key");
        let mut world = Self { cluster, gateways: Vec::new(), keys, configure, webhook_key };
        for _ in 0..setup.gateways {
            world.add_gateway().await;
        }
        world
    }

    /// One more gateway, which knows everything when this returns.
    pub async fn add_gateway(&mut self) {
        let gateway = Gateway::start(self.config()).await.expect("the gateway starts");
        until("the gateway is ready", || gateway.app().directory_state().0).await;
        self.gateways.push(gateway);
    }

    /// How gateways of this world are configured.
    pub fn config(&self) -> GatewayConfig {
        let mut config = GatewayConfig::minimal(self.cluster.addresses());
        // Tests ask as fast as they can; the key `growth` keeps its limit.
        config.rates.enterprise = Tier { per_minute: 0, per_day: 0 };
        config.limits.linger_ms = 0;
        let mut webhooks = WebhooksSection::new(self.webhook_key.path().to_owned());
        webhooks.plain_http = true;
        webhooks.allow = vec!["127.0.0.0/8".parse().expect("a network")];
        webhooks.lease_ms = 2_000;
        webhooks.timeout_ms = 3_000;
        webhooks.retry_delays_ms = Some(vec![100, 200]);
        webhooks.alert_after_ms = 0;
        config.webhooks = Some(webhooks);
        (self.configure)(&mut config);
        config
    }

    /// A request to the first gateway.
    pub fn call(&self, method: &str, path: &str) -> Call<'_> {
        self.call_at(0, method, path)
    }

    pub fn call_at(&self, gateway: usize, method: &str, path: &str) -> Call<'_> {
        Call::new(self.gateways[gateway].address(), method, path, &self.keys)
    }

    pub fn get(&self, path: &str) -> Call<'_> {
        self.call("GET", path)
    }

    pub fn post(&self, path: &str) -> Call<'_> {
        self.call("POST", path)
    }

    /// A request to a gateway's admin listener.
    pub fn admin(&self, gateway: usize, path: &str) -> Call<'_> {
        Call::new(self.gateways[gateway].admin_address(), "GET", path, &self.keys)
    }
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    let waited = tokio::time::timeout(LIMIT, waiting).await;
    assert!(waited.is_ok(), "not within {LIMIT:?}: {what}");
}

/// A sale of one line at an outlet, whose price tells it from others.
pub fn sale(outlet_id: &str, price: u32) -> serde_json::Value {
    let nif = if seed::of_lualaba(outlet_id) { seed::LUALABA_NIF } else { seed::KIVU_NIF };
    serde_json::json!({
        "merchant_nif": nif,
        "outlet_id": outlet_id,
        "pos_terminal_id": "till-1",
        "cashier_id": "cashier-7",
        "invoice_type": "sale",
        "currency": "CDF",
        "client": { "classification": "individual" },
        "items": [{
            "code": "FAR-1", "description": "Farine", "quantity": 1, "unit_price": format!("{price}.00"),
            "tax_group": "TG01"
        }],
        "payments": [{ "method": "cash", "amount": format!("{price}.00") }]
    })
}
